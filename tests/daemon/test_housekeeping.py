from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daemon import disk
from daemon.context import Market
from daemon.disk import free_bytes, has_room, watch_disk
from daemon.housekeeping import Housekeeper
from daemon.process import Process
from daemon.reconcile import Reconciler
from daemon.reminers import ChildReminer, InlineReminer
from storage import alerts, jobs
from storage.backups import backups, changed_rows, write_backup
from storage.database import Database
from storage.tables import RemineJob
from tests.daemon.small import FIRST, MARKET, SESSIONS, Home, Living, alphad, living, small_settings

#: More than any disk has.
HUGE = 10**18
#: A session's evening is not yet the hour of the backup, the next morning is.
MORNING = timedelta(hours=8)


@pytest.fixture
def alive(tmp_path: Path) -> Iterator[Living]:
    """Yield a market with one published session, in the night after it."""
    with living(tmp_path) as opened:
        Reconciler(opened.context, InlineReminer(opened.context)).tick(opened.market)
        opened.clock.set(opened.clock.now() + MORNING)
        yield opened


def keeper(alive: Living) -> Housekeeper:
    return Housekeeper(alive.context, pause=lambda _seconds: None)


def limited(alive: Living, **limits: int) -> Living:
    """Return the same with other limits of the disk."""
    settings = alive.context.settings
    changed = settings.model_copy(update={"disk": settings.disk.model_copy(update=limits)})
    return replace(alive, context=replace(alive.context, process=Process(changed)))


def open_alerts(alive: Living) -> dict[str, tuple[str, str]]:
    with alive.context.database.read() as conn:
        found = alerts.open_alerts(conn, MARKET)
    return {alert.key: (alert.severity, alert.message) for alert in found}


def copies(alive: Living) -> list[str]:
    folder, now = alive.context.settings.state_dir / "backups", alive.context.clock.now()
    return [path.name for path in backups(folder, now.date())]


def test_backup_is_made_once_a_day_from_its_hour_on(alive: Living) -> None:
    """Before the hour there is none, after it one a day, and only the newest are kept."""
    keep = keeper(alive)
    day = datetime(2023, 6, 1, tzinfo=UTC)
    alive.clock.set(day.replace(hour=2, minute=59))
    keep.run()
    assert copies(alive) == []
    for number in range(10):
        alive.clock.set(day.replace(hour=3) + timedelta(days=number))
        keep.run()
        keep.run()
    assert copies(alive) == [f"alphad-2023-06-{n:02d}.db" for n in range(10, 3, -1)]
    assert open_alerts(alive).keys() <= {"degraded"}


def test_what_is_broken_is_told_and_no_backup_replaces_a_good_one(alive: Living) -> None:
    """A value that has changed since the backup is found the next day; the backup stays alone."""
    keep = keeper(alive)
    keep.run()
    [good] = copies(alive)
    path = alive.context.database.path
    assert path is not None
    with closing(sqlite3.connect(path)) as live, live:
        live.execute("UPDATE factor_ics SET rank_ic = rank_ic + 1 WHERE rank_ic IS NOT NULL")
    alive.clock.set(alive.clock.now() + timedelta(days=1))
    keep.run()
    keep.run()
    severity, message = open_alerts(alive)["integrity"]
    assert severity == "error"
    assert "rows of factor_ics are not what" in message
    assert copies(alive) == [good]


def test_damaged_publication_is_told_and_the_alert_ends_with_the_damage(alive: Living) -> None:
    """The nightly audit proves published files, too; the database is backed up all the same."""
    keep = keeper(alive)
    [table] = alive.context.settings.publish_dir.rglob("signals.csv")
    data = table.read_bytes()
    table.write_bytes(data[:-1])
    keep.run()
    message = open_alerts(alive)["integrity"][1]
    assert "signals.csv is not what the manifest says" in message
    assert "No backup" not in message
    assert len(copies(alive)) == 1
    table.write_bytes(data)
    alive.clock.set(alive.clock.now() + timedelta(days=1))
    keep.run()
    assert "integrity" not in open_alerts(alive)
    assert len(copies(alive)) == 2


def test_publication_under_way_is_no_damage(alive: Living) -> None:
    """What is gone at the second look was a publication that had not been finished."""
    [folder] = alive.context.settings.publish_dir.glob(f"{MARKET}/v1/sessions/*/*")
    half = folder.with_name("00000002")
    half.mkdir()
    keep = Housekeeper(alive.context, pause=lambda _seconds: half.rmdir())
    assert keep.audit() == []
    assert "integrity" not in open_alerts(alive)


def test_chore_that_fails_is_told_and_stops_no_other(alive: Living) -> None:
    """A backup that cannot be written is a warning; the next round that works ends it."""
    folder = alive.context.settings.state_dir / "backups"
    folder.write_text("in the way")
    keep = keeper(alive)
    keep.run()
    severity, message = open_alerts(alive)["housekeeping"]
    assert severity == "warning"
    assert message.startswith("housekeeping did not get done")
    folder.unlink()
    keep.run()
    assert "housekeeping" not in open_alerts(alive)
    assert len(copies(alive)) == 1


class Clumsy(Housekeeper):
    """One whose tidying fails in a way nobody foresaw."""

    def tidy(self) -> None:
        raise PermissionError(13, "Permission denied")


def test_chore_that_fails_unexpectedly_is_told_and_stops_no_other(alive: Living) -> None:
    """An error nobody foresaw is a warning like any other, and the backup is made."""
    Clumsy(alive.context, pause=lambda _seconds: None).run()
    assert "tidy: PermissionError" in open_alerts(alive)["housekeeping"][1]
    assert len(copies(alive)) == 1
    keeper(alive).run()
    assert "housekeeping" not in open_alerts(alive)


def test_disk_alert_warns_then_stops_then_ends(alive: Living) -> None:
    """The message names the limit and not the figure, so that each step is told once."""
    watch_disk(limited(alive, warn_bytes=HUGE, stop_bytes=0).context)
    assert open_alerts(alive)["disk-low"][0] == "warning"
    full = limited(alive, warn_bytes=HUGE, stop_bytes=HUGE)
    watch_disk(full.context)
    severity, message = open_alerts(alive)["disk-low"]
    assert severity == "error"
    assert "publishing goes on as long as it can" in message
    watch_disk(full.context)
    assert open_alerts(alive)["disk-low"][1] == message
    watch_disk(limited(alive, warn_bytes=0, stop_bytes=0).context)
    assert "disk-low" not in open_alerts(alive)


def test_disk_alert_does_not_come_and_go_at_its_limit(alive: Living) -> None:
    """With barely more space than the limit the alert stays as it is."""
    least = min(free_bytes(alive.context.settings).values())
    watch_disk(limited(alive, warn_bytes=least * 2, stop_bytes=0).context)
    watch_disk(limited(alive, warn_bytes=int(least * 0.97), stop_bytes=0).context)
    assert "disk-low" in open_alerts(alive)


def never(path: Path, market: Market, job: RemineJob) -> subprocess.Popen[bytes]:
    raise AssertionError(f"job {job.id} of {market.name} was started by {path}")


def test_publishing_goes_on_where_everything_else_waits(alive: Living) -> None:
    """Below the last limit there is no backup and no re-mining, and the session is published."""
    full = limited(alive, warn_bytes=HUGE, stop_bytes=HUGE)
    keeper(full).run()
    assert copies(alive) == []
    with alive.context.database.transaction() as conn:
        jobs.open_job(conn, MARKET, SESSIONS[FIRST], {"decayed": []}, 1, alive.clock.now())
    reminer = ChildReminer(full.context, alive.context.settings.state_dir / "x", never)
    full.until(FIRST + 1)
    Reconciler(full.context, reminer).tick(full.market)
    folders = alive.context.settings.publish_dir.glob(f"{MARKET}/v1/sessions/*/*")
    assert len(list(folders)) == 2


def test_space_is_asked_where_a_folder_will_be(tmp_path: Path) -> None:
    """A folder that is not there yet has the space of the one it will be made in."""
    settings = small_settings(tmp_path)
    assert set(free_bytes(settings)) == {"state", "published"}
    assert has_room(settings.model_copy(update={"state_dir": tmp_path / "a" / "b" / "c"}))


def test_size_is_told_in_a_unit_people_read() -> None:
    """Limits are told in bytes, MiB or GiB."""
    told = [disk._size(size) for size in (1000, 512 * 1024**2, 2 * 1024**3)]
    assert told == ["1000 bytes", "512 MiB", "2.0 GiB"]


def test_restored_alert_ends_after_a_day_when_all_is_observed(alive: Living) -> None:
    """It stands for a day at least, so that somebody reads it."""
    with alive.context.database.transaction() as conn:
        alerts.raise_alert(conn, MARKET, "restored", "error", "lost", alive.clock.now())
    keep = keeper(alive)
    keep.close_restored()
    assert "restored" in open_alerts(alive)
    alive.clock.set(alive.clock.now() + timedelta(days=1))
    keep.close_restored()
    assert "restored" not in open_alerts(alive)


def test_backup_and_restore_are_commands(tmp_path: Path) -> None:
    """`alphad backup` says where the copy is; `alphad restore` puts one in place and says so."""
    with living(tmp_path) as opened:
        Reconciler(opened.context, InlineReminer(opened.context)).tick(opened.market)
    config = tmp_path / "settings.toml"
    target = tmp_path / "mine.db"
    done = alphad("backup", "--config", config, "--to", target)
    assert done.code == 0, done.err
    assert done.out.startswith(f"{target}: ")
    assert alphad("backup", "--config", config).code == 0
    assert alphad("backup", "--config", config, "--to", tmp_path).code == 78
    with living(tmp_path) as opened:
        opened.until(FIRST + 1)
        Reconciler(opened.context, InlineReminer(opened.context)).tick(opened.market)
    for extra in ((), ("--from", target), ("--from-published",)):
        done = alphad("restore", "--config", config, *extra)
        assert done.code == 0, done.err
        assert "count again" in done.out
    assert "2 publications" in done.out
    target.write_bytes(b"no database, and long enough to be looked at" * 20)
    refused = alphad("restore", "--config", config, "--from", target)
    assert refused.code == 65
    assert "it is not what was sealed" in refused.err
    assert alphad("verify", "--config", config).out.strip().endswith("whole")


def test_restore_without_any_backup_names_the_way_out(tmp_path: Path) -> None:
    """Where no backup is, nothing is moved, and the error says what can be done."""
    with living(tmp_path):
        pass
    refused = alphad("restore", "--config", tmp_path / "settings.toml")
    assert refused.code == 65
    assert "--from-published" in refused.err
    assert (tmp_path / "state" / "alphad.db").exists()


def test_limits_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    """The warning comes before the stop."""
    small_settings(tmp_path)
    file = tmp_path / "settings.toml"
    text = file.read_text().replace("[markets.us]", "[disk]\nwarn_bytes = 5\n\n[markets.us]", 1)
    file.write_text(text)
    refused = alphad("status", "--config", file)
    assert refused.code == 78
    assert "the warning comes first" in refused.err


def test_eventful_sessions_change_nothing_that_is_settled(dead_home: Home, tmp_path: Path) -> None:
    """After ten more sessions with decay and re-mining every settled row is what it was."""
    home = dead_home.copy(tmp_path / "home")
    database = Database.file(home.out / "state" / "alphad.db")
    copy = tmp_path / "copy.db"
    write_backup(database, copy)
    assert home.replay(FIRST, FIRST + 49).code == 0
    assert changed_rows(database, copy) == []
    database.close()
