"""Notifications: what arrives through real channels, whatever happens to them meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from daemon.alerts import raise_alert, resolve_alert
from daemon.clock import ReplayClock
from daemon.context import Context, open_context
from daemon.notify import Notifier, compose
from daemon.notify_channels import load_channels
from daemon.notify_child import redact
from daemon.notify_command import as_row
from daemon.settings import build_settings, load_settings, settings_toml
from daemon.supervisor import GuardedScheduler
from signals.errors import ConfigError
from storage import alerts, outbox
from storage.outbox import DEAD_MAN
from storage.tables import Notification
from tests.daemon.hooks import PASSWORD, Hook
from tests.daemon.small import FIRST, MARKET, SESSIONS, Living, alphad, living, small_settings
from tests.daemon.test_stages import live_on

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Telling:
    """A state directory whose alerts are told."""

    context: Context
    notifier: Notifier
    clock: ReplayClock

    def opened(self, key: str, message: str = "it broke", severity: str = "error") -> None:
        raise_alert(self.context, MARKET, key, severity, message)

    def closed(self, key: str) -> None:
        resolve_alert(self.context, MARKET, key)

    def later(self, **span: float) -> None:
        self.clock.advance(timedelta(**span))

    def tend(self, name: str = "ops") -> int:
        return self.notifier.tend(name)

    def rows(self) -> list[Notification]:
        with self.context.database.read() as conn:
            return outbox.notifications(conn)


@contextmanager
def telling(path: Path, **notify: object) -> Iterator[Telling]:
    """Open a state directory with channels."""
    settings = build_settings(
        {"state_dir": path / "state", "publish_dir": path / "published", "notify": notify}
    )
    clock = ReplayClock(datetime(2026, 1, 5, 22, tzinfo=UTC))
    with open_context(settings, clock) as context:
        notifier = Notifier(context)
        notifier.take(load_channels(settings.notify))
        yield Telling(context, notifier, clock)


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as hook:
        yield hook


def test_message_arrives(tmp_path: Path, hook: Hook) -> None:
    """It says what is the matter, how to look and where the runbook is; once; then the recovery."""
    with telling(tmp_path, channels={"ops": hook.address}) as alive:
        alive.opened("decayed:reversal", "reversal has decayed", "warning")
        assert [alive.tend(), alive.tend()] == [1, 0]
        [taken] = hook.taken
        assert taken["title"] == "[alphad] us decayed:reversal: warning"
        assert taken["message"].splitlines() == [
            "reversal has decayed",
            "Look: alphad status",
            "Runbook: docs/operations.md#decayed",
        ]
        assert taken["type"] == "warning"
        alive.later(hours=2)
        alive.closed("decayed:reversal")
        alive.tend()
        assert hook.titles[1:] == ["[alphad] us decayed:reversal: resolved"]
        assert hook.taken[1]["type"] == "success"
        assert all(row.sent_at is not None for row in alive.rows())


def test_channel_that_is_down_for_hours(tmp_path: Path, hook: Hook) -> None:
    """Everything arrives once, in its order, as soon as it is back; a failure is kept and said."""
    with telling(tmp_path, channels={"ops": hook.address}) as alive, capture_logs() as logs:
        hook.mode = "error"
        alive.opened("feed-late")
        assert alive.tend() == 0
        alive.later(hours=2)
        alive.closed("feed-late")
        alive.opened("degraded", severity="warning")
        assert alive.tend() == 0
        assert hook.begun == 2
        assert alive.rows()[0].attempts == 2
        assert "error=500" in str(alive.rows()[0].error)
        hook.mode = "ok"
        alive.later(hours=2)
        assert alive.tend() == 3
        assert [title.removeprefix("[alphad] us ") for title in hook.titles] == [
            "feed-late: error", "feed-late: resolved", "degraded: warning",
        ]  # fmt: skip
        assert alive.tend() == 0
        with alive.context.database.read() as conn:
            assert outbox.failures(conn) == {"ops": 2}
            assert outbox.pending_count(conn) == 0
    failed = [entry for entry in logs if entry["event"] == "a notification failed"]
    assert failed[0]["about"] == ["us feed-late raised"]


@pytest.mark.parametrize("mode", ["hang", "drip"])
def test_channel_that_never_ends(tmp_path: Path, hook: Hook, mode: str) -> None:
    """A service that takes its time is given up at the deadline, and tried again."""
    hook.mode = mode
    notify = {"channels": {"ops": hook.address + "?rto=60"}, "deadline_seconds": 0.5}
    with telling(tmp_path, **notify) as alive:
        alive.opened("feed-late")
        assert alive.tend() == 0
        assert alive.rows()[0].error == "no answer within 0.5 s"
        assert alive.rows()[0].next_attempt_at == alive.clock.now() + outbox.FIRST_PAUSE


def test_refused_connection(tmp_path: Path) -> None:
    """Nobody listening is a failure with its reason, not an exception."""
    with Hook() as gone:
        address = gone.address
    with telling(tmp_path, channels={"ops": address}) as alive:
        alive.opened("feed-late")
        assert alive.tend() == 0
        assert "onnection error" in str(alive.rows()[0].error)


def test_message_given_up_is_said(tmp_path: Path, hook: Hook) -> None:
    """After its hours a message is given up and the log says so; an open alert is told anew."""
    hook.mode = "error"
    notify = {"channels": {"ops": hook.address}, "give_up_hours": 1}
    with telling(tmp_path, **notify) as alive, capture_logs() as logs:
        alive.opened("feed-late")
        alive.later(hours=1)
        alive.tend()
        [gone] = [entry for entry in logs if entry["event"] == "a notification is given up"]
        assert (gone["channel"], gone["key"], gone["log_level"]) == ("ops", "feed-late", "error")
        hook.mode = "ok"
        assert alive.tend() == 1
        assert [as_row(row)["outcome"].split()[0] for row in alive.rows()] == ["given", "sent"]


def test_storm_is_one_message(tmp_path: Path, hook: Hook) -> None:
    """A hundred alerts at once are a list, not a hundred calls; all of them count as told."""
    with telling(tmp_path, channels={"ops": hook.address}) as alive:
        with alive.context.database.transaction() as conn:
            for number in range(100):
                alerts.raise_alert(
                    conn, MARKET, f"decayed:f{number}", "error", f"f{number} has decayed\nand more",
                    alive.clock.now(),
                )  # fmt: skip
        assert alive.tend() == 1
        [taken] = hook.taken
        assert taken["title"] == "[alphad] 100 messages"
        lines = taken["message"].splitlines()
        assert lines[0] == "[alphad] us decayed:f0: error: f0 has decayed"
        assert "and 80 more" in lines
        assert all(row.sent_at is not None for row in alive.rows())
        assert alive.tend() == 0


def test_severities_of_a_channel(tmp_path: Path, hook: Hook) -> None:
    """A channel of errors is not told of warnings."""
    notify = {
        "channels": {"ops": hook.address, "pager": hook.address},
        "min_severity": {"pager": "error"},
    }
    with telling(tmp_path, **notify) as alive:
        alive.opened("degraded", severity="warning")
        assert [row.channel for row in alive.rows()] == ["ops"]


KILLED = """
import sys
from pathlib import Path
from tests.daemon.test_notify import telling
with telling(Path(sys.argv[1]), channels={"ops": sys.argv[2]}) as alive:
    alive.opened("feed-late")
    alive.tend()
"""


def test_kill_between_sending_and_marking(tmp_path: Path, hook: Hook) -> None:
    """A message that arrived and was not marked arrives a second time, and never a third."""
    command = [sys.executable, "-W", "ignore", "-c", KILLED, str(tmp_path), hook.address]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as sender:
        hook.on_request = lambda: os.kill(sender.pid, signal.SIGKILL)
        assert sender.wait() == -signal.SIGKILL
    hook.on_request = lambda: None
    assert len(hook.taken) == 1
    with telling(tmp_path, channels={"ops": hook.address}) as alive:
        [row] = alive.rows()
        assert row.sent_at is None
        alive.later(minutes=1)
        assert [alive.tend(), alive.tend()] == [1, 0]
        assert len(hook.taken) == 2


def test_no_secret_is_written_or_said(tmp_path: Path, hook: Hook) -> None:
    """Addresses are in no log, row, settings file or text of a settings object."""
    hook.mode = "error"
    notify = {"channels": {"ops": hook.address}, "dead_man_url": hook.dead_man}
    with telling(tmp_path, **notify) as alive, capture_logs() as logs:
        alive.opened("feed-late")
        alive.tend()
        told = [str(logs), repr(alive.notifier), repr(alive.context.settings)]
        told += [settings_toml(alive.context.settings), str(alive.rows()[0].error)]
    told += [path.read_bytes().decode(errors="replace") for path in tmp_path.rglob("*.db*")]
    assert len(told) > 5
    assert not any(PASSWORD in text for text in told)


def test_reasons_hold_nothing_of_the_address() -> None:
    """Whatever a service says of itself is told without any part of its address."""
    address = "slack://T1JJ3/B0AAA/uL5%40x?token=abcdef"
    said = f"failed at {address} for T1JJ3, uL5@x and abcdef\n twice"
    assert redact(said, address) == "failed at … for …, … and … twice"


def test_ping_after_a_publication(tmp_path: Path, hook: Hook) -> None:
    """The dead-man URL is asked for once, and not before consumers can see the publication."""
    with living(tmp_path) as alive:
        notifier = dead_man(alive, hook)
        live_on(alive, FIRST)
        pointer = alive.context.settings.publish_dir / MARKET / "v1" / "latest.json"
        content = pointer.read_bytes()
        pointer.unlink()
        assert notifier.tend(DEAD_MAN) == 0
        assert hook.begun == 0
        pointer.write_bytes(content)
        assert [notifier.tend(DEAD_MAN), notifier.tend(DEAD_MAN)] == [1, 0]
        assert hook.pinged == [f"/ping/{PASSWORD}"]
        hook.mode = "error"
        live_on(alive, FIRST + 1)
        assert notifier.tend(DEAD_MAN) == 0
        with alive.context.database.read() as conn:
            [_, row] = outbox.notifications(conn)
    assert (row.kind, row.error) == ("published", "HTTP 500")
    assert row.message.startswith(f"us {SESSIONS[FIRST + 1]} published as 00000002")


def dead_man(alive: Living, hook: Hook) -> Notifier:
    """Return a notifier that pings a hook."""
    notifier = Notifier(alive.context)
    settings = build_settings({"notify": {"dead_man_url": hook.dead_man}})
    notifier.take(load_channels(settings.notify))
    return notifier


def test_publishing_never_waits(tmp_path: Path, hook: Hook) -> None:
    """While a channel hangs the other jobs run; told to stop, what is being sent is broken off."""
    hook.mode = "hang"
    address = hook.address + "?rto=60&cto=60"
    notify = {"channels": {"ops": address}, "deadline_seconds": 60}
    done = threading.Event()
    with telling(tmp_path, **notify) as alive:
        alive.clock.set(datetime.now(UTC))  # the scheduler's
        alive.notifier.attach()
        alive.opened("feed-late")
        defaults = {"misfire_grace_time": None, "coalesce": True}  # as the daemon's own
        scheduler = GuardedScheduler(timezone="UTC", job_defaults=defaults)
        alive.notifier.start(scheduler)
        scheduler.start()
        assert hook.asked.wait(60)
        scheduler.add_job(done.set)
        assert done.wait(60)
        assert alive.rows()[0].attempts == 0
        alive.notifier.stopping.set()
        scheduler.shutdown()
        assert alive.rows()[0].sent_at is None


def test_channels_follow_a_reload(tmp_path: Path, hook: Hook) -> None:
    """Settings that were loaded again count with the next look; broken ones change nothing."""
    file = addresses(tmp_path, ops=hook.address)
    with telling(tmp_path / "home", urls_file=file) as alive, capture_logs() as logs:
        scheduler = GuardedScheduler(timezone="UTC")
        scheduler.start(paused=True)
        alive.notifier.attach()
        alive.notifier.start(scheduler)
        addresses(tmp_path, pager=hook.address)
        reload(alive)
        alive.notifier.follow(scheduler)
        names = {job.id for job in scheduler.get_jobs()}
        assert names == {"notify", "notify pager"}
        assert alive.notifier.tend("ops") == 0
        file.write_text("pager = 3")
        reload(alive)
        alive.notifier.follow(scheduler)
        alive.notifier.follow(scheduler)
        scheduler.shutdown()
        assert set(alive.notifier.channels.addresses) == {"pager"}
    assert [entry["event"] for entry in logs].count("the channels stay as they are") == 1


def test_new_channels_outlast_a_failing_database(tmp_path: Path, hook: Hook) -> None:
    """A database that fails after a reload is tried again until the new channels are served."""
    with telling(tmp_path / "home") as alive, capture_logs() as logs:
        scheduler = GuardedScheduler(timezone="UTC")
        scheduler.start(paused=True)
        alive.notifier.attach()
        alive.notifier.start(scheduler)
        reload(alive, urls_file=addresses(tmp_path, ops=hook.address))
        rename(alive, "notifications", "elsewhere")
        alive.notifier.follow(scheduler)
        assert alive.notifier.channels.addresses == {}
        rename(alive, "elsewhere", "notifications")
        alive.notifier.follow(scheduler)
        assert {job.id for job in scheduler.get_jobs()} == {"notify", "notify ops"}
        scheduler.shutdown()
        alive.opened("feed-late")
        assert alive.tend() == 1
    assert "new channels wait for the database" in [entry["event"] for entry in logs]


def rename(alive: Telling, old: str, new: str) -> None:
    """Give a table another name, as a disk that fails would take it away."""
    with alive.context.database.transaction() as conn:
        conn.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")


def test_refused_address_of_a_reload_is_an_alert(tmp_path: Path, hook: Hook) -> None:
    """The old channels are told, once, that the new ones were refused."""
    file = addresses(tmp_path, ops=hook.address)
    with telling(tmp_path / "home", urls_file=file) as alive:
        alive.context.markets[MARKET] = None  # type: ignore[assignment]  # its name is all it takes
        alive.notifier.attach()
        addresses(tmp_path, pager="nonsense://h")
        reload(alive)
        for _ in range(2):
            alive.notifier.follow(None)
        [row] = alive.rows()
        assert (row.channel, row.key, row.kind) == ("ops", "config-reload", "raised")
        assert "the address of channel pager cannot be used" in row.message


def reload(alive: Telling, **changed: object) -> None:
    settings = alive.context.settings
    alive.context.process.settings = settings.model_copy(
        update={"notify": settings.notify.model_copy(update=changed)}
    )


def addresses(path: Path, **given: str) -> Path:
    """Write a file of addresses."""
    file = path / "urls.toml"
    file.write_text("".join(f'{name} = "{url}"\n' for name, url in given.items()))
    file.chmod(0o600)
    return file


def test_command_tests_every_channel(tmp_path: Path, hook: Hook) -> None:
    """It says of each whether it works and why not; 1 if one fails; no ping unless it is named."""
    small_settings(tmp_path)
    file = addresses(
        tmp_path,
        good=hook.address,
        bad=hook.address.replace("json://", "nonsense://"),
        **{DEAD_MAN: hook.dead_man},
    )
    config = tmp_path / "settings.toml"
    config.write_text(config.read_text() + f'[notify]\nurls_file = "{file}"\n')
    done = alphad("notify", "--test", "--json", "--config", config)
    assert done.code == 1
    assert done.json() == [
        {"channel": "bad", "sent": False, "error": "apprise does not know such an address"},
        {"channel": "good", "sent": True, "error": ""},
    ]
    assert hook.titles == ["[alphad] test"]
    assert hook.pinged == []
    named = alphad("notify", "--test", "--channel", DEAD_MAN, "--config", config)
    assert (named.code, len(hook.pinged)) == (0, 1)
    assert "dead-man" in named.out
    wrong = alphad("notify", "--test", "--channel", "god", "--config", config)
    assert wrong.code == 78
    assert "did you mean good?" in wrong.err


def test_command_without_channels(tmp_path: Path) -> None:
    """Nothing to test is said, with the way to a channel."""
    small_settings(tmp_path)
    done = alphad("notify", "--test", "--config", tmp_path / "settings.toml")
    assert done.code == 78
    assert "ALPHAD_NOTIFY__CHANNELS__OPS" in done.err


def test_command_lists_what_was_told(tmp_path: Path) -> None:
    """What was sent, waits or was given up, and the counts."""
    with living(tmp_path) as alive:
        outbox.attach(alive.context.database, outbox.Policy(channels=(outbox.Channel("ops"),)))
        raise_alert(alive.context, MARKET, "feed-late", "error", "no bars")
    config = tmp_path / "settings.toml"
    shown = alphad("notify", "--json", "--config", config)
    assert shown.code == 0, shown.err
    assert shown.json()["pending"] == 1
    [message] = shown.json()["messages"]
    assert (message["channel"], message["key"], message["outcome"]) == ("ops", "feed-late", "waits")
    assert "1 wait, 0 attempts failed, 0 given up" in alphad("notify", "--config", config).out


@pytest.mark.parametrize(
    ("text", "environ", "says"),
    [
        ('channels.ops = "json://u:s3kret@h"', {}, "notify.channels stands in"),
        ('dead_man_url = "https://h/s3kret"', {}, "notify.dead_man_url stands in"),
        ("", {"CHANNELS__OPS": "s3kret"}, "an address is a URL"),
        ("", {"CHANNELS__OPS__X": "s3kret"}, "an address is a URL"),
        ("", {"CHANNELS": '["s3kret"]'}, "no table of addresses"),
        ("", {"CHANNELS": '{"ops": 3}'}, "an address is a URL"),
        ("", {"CHANNELS": "json://s3kret"}, "cannot be read"),
        ("", {"CHANNELS__DEAD-MAN": "json://s3kret"}, "no channel of alerts"),
        ("", {"DEAD_MAN_URL": "json://s3kret"}, "no http or https URL"),
        ("", {"DEAD_MAN_URL": "http://[s3kret"}, "no http or https URL"),
        ('min_severity.ops = "loud"', {}, "min_severity.ops = 'loud'"),
    ],
)
def test_refused_settings(tmp_path: Path, text: str, environ: dict[str, str], says: str) -> None:
    """An address in the file, or none that could be one, is refused without being repeated."""
    file = tmp_path / "alphad.toml"
    file.write_text(f"[notify]\n{text}\n")
    given = {f"ALPHAD_NOTIFY__{name}": value for name, value in environ.items()}
    with pytest.raises(ConfigError) as caught:
        load_settings(file, given)
    assert says in str(caught.value)
    assert "s3kret" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        ('ops = "json://u:s3kret@h"', 0o640, "may be read or written by others (mode 0640)"),
        ("ops = 's3kret'", 0o600, "ops in"),
        ("ops = s3kret", 0o600, "is no TOML"),
        ('dead-man = "json://s3kret"', 0o600, "dead-man in"),
        ('pager = "json://u:s3kret@h"', 0o600, "did you mean pager?"),
        (None, 0o600, "cannot be read"),
    ],
)
def test_refused_file_of_addresses(
    tmp_path: Path, content: str | None, mode: int, says: str
) -> None:
    """One that others may read, that is none, or that lacks a channel that is named."""
    file = tmp_path / "urls.toml"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    severity = {"pagr": "error"} if content and "pager" in content else {}
    notify = build_settings({"notify": {"urls_file": file, "min_severity": severity}}).notify
    with pytest.raises(ConfigError) as caught:
        load_channels(notify)
    assert says in str(caught.value)
    assert "s3kret" not in str(caught.value)


def test_channels_of_environment_and_file(tmp_path: Path) -> None:
    """Both count; the same name in both is refused; names are in small letters."""
    file = addresses(tmp_path, mail="mailto://u:p@h")
    environ = {"ALPHAD_NOTIFY__CHANNELS__OPS": "json://h", "ALPHAD_NOTIFY__URLS_FILE": str(file)}
    settings = load_settings(None, environ)
    assert sorted(load_channels(settings.notify).addresses) == ["mail", "ops"]
    assert settings.notify.secrets() == ["json://h"]
    environ["ALPHAD_NOTIFY__CHANNELS__MAIL"] = "json://h"
    with pytest.raises(ConfigError, match="channel mail is in the environment and in"):
        load_channels(load_settings(None, environ).notify)


def test_daemon_refuses_an_address_apprise_cannot_read(tmp_path: Path) -> None:
    """Not with the first alert, but at the start; the channel is named and the address is not."""
    with (
        telling(tmp_path, channels={"ops": "nonsense://s3kret"}) as alive,
        pytest.raises(ConfigError, match="the address of channel ops cannot be used") as caught,
    ):
        alive.notifier.attach()
    assert "s3kret" not in str(caught.value)


def test_long_messages_are_cut(tmp_path: Path) -> None:
    """A traceback does not bury the way out."""
    with telling(tmp_path, channels={"ops": "json://h"}) as alive:
        alive.opened("unexpected", "x" * 9000)
        [message] = compose(alive.rows(), "https://h/operations")
    assert len(message.body) < 3200
    assert message.body.endswith("Runbook: https://h/operations#unexpected")
