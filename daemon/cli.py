"""The command line: `alphad COMMAND`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

from signals.errors import AlphadError, ConfigError

#: Exit code of an interrupted command, as shells give it.
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; an error is told on stderr, with its way out."""
    options = build_parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except AlphadError as error:
        from daemon.redaction import REDACTOR

        sys.stderr.write(f"alphad: {REDACTOR.text(str(error))}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("alphad: interrupted; the same command goes on from here\n")
        return INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; every command and option is in docs/commands.md."""
    parser = argparse.ArgumentParser(
        prog="alphad", description="The daemon that keeps alpha factors alive."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, command: Callable[[argparse.Namespace], int], text: str, *extra: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        if "config" in extra:
            sub.add_argument(
                "--config",
                type=Path,
                help="settings file (default: $ALPHAD_CONFIG, else ./alphad.toml if it is there)",
            )
        if "market" in extra:
            sub.add_argument("--market", help="one market (default: the only one, or all)")
        if "json" in extra:
            sub.add_argument("--json", action="store_true", help="print JSON")
        return sub

    add("run", run, "run the daemon until it is told to stop", "config")
    demo = add("demo", run_demo, "live through three simulated years in about a minute")
    demo.add_argument("--out", type=Path, default=Path("out"), help="directory (default: out)")
    demo.add_argument("--seed", type=int, default=7, help="seed of the simulated market")
    replay = add("replay", run_replay, "run the daemon over history, resumable")
    replay.add_argument("--market", required=True, help="us, cn, or a name of your own")
    replay.add_argument("--bars", type=Path, required=True, help="Parquet or CSV, file or folder")
    replay.add_argument("--membership", type=Path, help="CSV or Parquet of constituent spells")
    replay.add_argument("--from", dest="first", type=day, required=True, help="first session")
    replay.add_argument("--to", dest="last", type=day, required=True, help="last session")
    replay.add_argument("--out", type=Path, required=True, help="directory of state and output")
    replay.add_argument("--calendar", help="exchange code (default: of the market, XNYS or XSHG)")
    replay.add_argument("--config", type=Path, help="settings file with [markets.<market>] tables")
    add("status", status, "what was published when, and how the book stands", "config", "json")
    explain = add("explain", explain_, "why a factor stands where it stands",
                  "config", "market", "json")  # fmt: skip
    explain.add_argument("factor", help="id of the factor, or a session (YYYY-MM-DD)")
    add("factors", factors, "the book, the shadows and the retired", "config", "market", "json")
    mine = add("mine", mine_, "search for factors now, and show what would be accepted",
               "config", "market", "json")  # fmt: skip
    mine.add_argument("--seed", type=int, default=11, help="seed of the search")
    add_requests(add)
    add_notify(add)
    health = add("health", health_, "is the daemon alive, and progressing?", "config", "json")
    health.description = "Exit code 0 when alive and up to date, 1 when not."
    health.add_argument("--state", type=Path, metavar="DIR", help="read only the heartbeat in a "
                        "state directory, which is quick: exit code 0 when alive")  # fmt: skip
    verify = add("verify", verify_, "prove what was published and stored whole", "config", "json")
    verify.add_argument("directory", type=Path, nargs="?", help="a published tree to verify alone")
    add_backups(add)
    backfill = add("backfill", backfill_, "fetch a live market's history, resumable", "config")
    backfill.add_argument("--market", required=True, help="the market")
    backfill.add_argument("--from", dest="first", type=day, help="first day (default: feed.start)")
    add_data(add("data", data_, "what bars there are, and what is missing or was restated",
                 "config", "market", "json"))  # fmt: skip
    add("kernels", kernels, "compile the kernels into the on-disk cache")
    add_remine(commands.add_parser("remine"))
    return parser


def add_requests(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add what an operator asks for, and what lists it."""
    for name, text in (
        ("rollback", "undo a factor's last move: a replacement, a retirement or a revival"),
        ("revive", "put a retired factor to the test again, in shadow"),
        ("retire", "take a factor out of the book, or out of shadow"),
        ("approve", "let a factor that has won in shadow go live, where that needs a person"),
    ):
        asked = add(name, request_, text, "config", "market")
        asked.description = f"{text}; the next observation does it. Nothing is deleted."
        asked.add_argument("factor", help="id of the factor")
        asked.add_argument("--reason", required=True, help="why, for the registry")
        asked.set_defaults(request=name)
    add("requests", requests_, "what operators asked for, and what came of it",
        "config", "market", "json")  # fmt: skip
    for name, text in (
        ("pause", "begin no stage in a market; what is published stands"),
        ("resume", "let a market go on, and put back what a halt has withdrawn"),
        ("halt", "the kill switch: begin no stage and withdraw latest.json"),
    ):
        stop = add(name, control_, text, "config", "market")
        stop.description = f"{text}. In effect at once, whether the daemon runs or not."
        stop.add_argument("--all", action="store_true", help="every market of the settings")
        stop.add_argument("--reason", required=True, help="why, for the record and for consumers")
        stop.set_defaults(control=name)
    now = add("run-now", run_now_, "do not wait after a fetch that failed: try with the next tick",
              "config", "market")  # fmt: skip
    now.add_argument("--reason", default="an immediate pass", help="why, for the record")
    add("dry-run", dry_run_, "what would be published now; nothing is written",
        "config", "market", "json")  # fmt: skip


def add_notify(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add what shows and tests the channels."""
    notify = add("notify", notify_, "what channels were told, and what waits", "config", "json")
    notify.add_argument("--test", action="store_true", help="send a test message now")
    notify.add_argument("--channel", help="one channel to test (default: all but dead-man)")


def add_backups(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add what copies the database, and what puts a copy in its place."""
    backup = add("backup", backup_, "write a backup of the database now", "config")
    backup.add_argument("--to", type=Path, help="file (default: that of the day in the state)")
    restore = add("restore", restore_, "put a backup in place of the database", "config")
    restore.description = "What was there is set aside, and what was published since counts again."
    whence = restore.add_mutually_exclusive_group()
    whence.add_argument("--from", dest="source", type=Path, help="file (default: newest good one)")
    whence.add_argument("--from-published", action="store_true",
                        help="without any: begin a ledger with what is published")  # fmt: skip


def add_remine(parser: argparse.ArgumentParser) -> None:
    """Add what the daemon's own child process is told."""
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--market", required=True)
    parser.add_argument("--job", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--epoch", type=int)
    parser.add_argument("--run")
    parser.set_defaults(command=remine_)


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands of `alphad data`."""
    parts = parser.add_subparsers(metavar="PART")
    diff = parts.add_parser("diff", help="which bars differ between what was known at two times")
    diff.set_defaults(command=data_diff)
    diff.add_argument("--as-of", dest="times", action="append", type=moment, required=True,
                      help="a time in UTC; given twice, the earlier one first")  # fmt: skip
    diff.add_argument("--from", dest="first", type=day, help="first session")
    diff.add_argument("--to", dest="last", type=day, help="last session")
    members = parts.add_parser("confirm-members", help="let a held change of members be made")
    members.set_defaults(command=confirm_members)
    members.add_argument("digest", help="what the alert names")
    for sub in (diff, members):  # given before or after the part
        sub.add_argument("--config", type=Path, default=argparse.SUPPRESS, help="settings file")
        sub.add_argument("--market", default=argparse.SUPPRESS, help="the market")
    diff.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")


def moment(text: str) -> datetime:
    """Return a time given as YYYY-MM-DDTHH:MM, in UTC where it names no zone."""
    from daemon.data_commands import as_time

    try:
        return as_time(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write YYYY-MM-DDTHH:MM") from exc


def day(text: str) -> date:
    """Return a date given as YYYY-MM-DD."""
    try:
        return date.fromisoformat(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is no date; write YYYY-MM-DD") from exc


def settings_path(options: argparse.Namespace) -> Path | None:
    """Return the settings file that is meant, if any."""
    if options.config is not None:
        return Path(options.config)
    here = Path("alphad.toml")
    return here if here.exists() and "ALPHAD_CONFIG" not in os.environ else None


def run(options: argparse.Namespace) -> int:
    """`alphad run`."""
    from daemon import supervisor
    from daemon.kernel_cache import drop_stale_kernels
    from daemon.logs import configure_logging, log_uncaught
    from daemon.settings import load_settings

    drop_stale_kernels()
    path = settings_path(options)
    settings = load_settings(path, os.environ)
    if not settings.markets:
        raise ConfigError(
            "no market is configured",
            rule="the daemon runs the markets of its settings",
            hint="name one in alphad.toml (README, “Your own bars”), or try: alphad demo",
        )
    run_id = configure_logging(settings)
    log_uncaught()
    return supervisor.run(settings, partial(load_settings, path, os.environ), os.environ, run_id)


def run_demo(options: argparse.Namespace) -> int:
    """`alphad demo`."""
    from daemon import demo, terminal
    from daemon.kernel_cache import drop_stale_kernels
    from daemon.logs import configure_logging

    drop_stale_kernels()
    configure_logging(quiet=True)
    with terminal.progress("demo") as (on_session, on_round):
        story, pointer, report = demo.run_demo(options.out, options.seed, on_session, on_round)
    terminal.tell_story(story, {"latest signals": pointer, "report": report})
    return 0


def run_replay(options: argparse.Namespace) -> int:
    """`alphad replay`."""
    from daemon import replay, terminal
    from daemon.kernel_cache import drop_stale_kernels
    from daemon.logs import configure_logging
    from daemon.settings import load_settings

    drop_stale_kernels()
    configure_logging(quiet=True)
    base = load_settings(options.config, os.environ)
    stated = options.config is not None or options.market in base.markets
    settings = replay.replay_settings(
        base if stated else None,
        market=options.market,
        bars=options.bars,
        membership=options.membership,
        calendar=options.calendar,
        out=options.out,
    ).model_copy(update={"test": base.test})
    replay.claim_directory(options.out, settings)
    with terminal.progress(f"replay {options.market}") as (on_session, on_round):
        summary = replay.run_replay(
            settings, options.market, options.first, options.last, on_session, on_round
        )
    data, page = replay.write_summary(options.out, summary)
    terminal.show_summary(summary, {"summary": data, "report": page})
    return 0 if summary.sessions_published == summary.sessions_due else 1


def status(options: argparse.Namespace) -> int:
    """`alphad status`."""
    from daemon import inspection

    return inspection.status(settings_path(options), as_json=options.json)


def explain_(options: argparse.Namespace) -> int:
    """`alphad explain`."""
    from daemon import explain
    from daemon.kernel_cache import drop_stale_kernels

    drop_stale_kernels()
    return explain.explain(
        settings_path(options), options.market, options.factor, as_json=options.json
    )


def factors(options: argparse.Namespace) -> int:
    """`alphad factors`."""
    from daemon import inspection

    return inspection.factors(settings_path(options), options.market, as_json=options.json)


def mine_(options: argparse.Namespace) -> int:
    """`alphad mine`."""
    from daemon import mining
    from daemon.kernel_cache import drop_stale_kernels

    drop_stale_kernels()
    return mining.mine(settings_path(options), options.market, options.seed, as_json=options.json)


def request_(options: argparse.Namespace) -> int:
    """`alphad rollback`, `alphad revive`, `alphad retire` and `alphad approve`."""
    from daemon import operator

    return operator.request(
        settings_path(options), options.market, options.request, options.factor, options.reason
    )


def control_(options: argparse.Namespace) -> int:
    """`alphad pause`, `alphad resume` and `alphad halt`."""
    from daemon import operator
    from daemon.logs import configure_logging
    from storage.tables import ControlState

    configure_logging(quiet=True)
    states = {
        "pause": ControlState.PAUSED,
        "resume": ControlState.RUNNING,
        "halt": ControlState.HALTED,
    }
    return operator.control(
        settings_path(options),
        options.market,
        states[options.control],
        options.reason,
        everything=options.all,
    )


def run_now_(options: argparse.Namespace) -> int:
    """`alphad run-now`."""
    from daemon import operator

    return operator.run_now(settings_path(options), options.market, options.reason)


def dry_run_(options: argparse.Namespace) -> int:
    """`alphad dry-run`."""
    from daemon import dry_run
    from daemon.kernel_cache import drop_stale_kernels

    drop_stale_kernels()
    return dry_run.dry_run(settings_path(options), options.market, as_json=options.json)


def requests_(options: argparse.Namespace) -> int:
    """`alphad requests`."""
    from daemon import operator

    return operator.show_requests(settings_path(options), options.market, as_json=options.json)


def notify_(options: argparse.Namespace) -> int:
    """`alphad notify`."""
    from daemon import notify_command

    if options.test:
        return notify_command.test(settings_path(options), options.channel, as_json=options.json)
    return notify_command.show(settings_path(options), as_json=options.json)


def health_(options: argparse.Namespace) -> int:
    """`alphad health`."""
    if options.state is not None:  # asked every half minute: nothing large is imported
        from daemon.heartbeat import tell

        return tell(options.state, datetime.now(UTC), as_json=options.json)
    from daemon import inspection

    return inspection.health(settings_path(options), as_json=options.json)


def verify_(options: argparse.Namespace) -> int:
    """`alphad verify`."""
    from daemon import inspection

    return inspection.verify(settings_path(options), options.directory, as_json=options.json)


def backup_(options: argparse.Namespace) -> int:
    """`alphad backup`."""
    from daemon import backup_commands

    return backup_commands.back_up(settings_path(options), options.to)


def restore_(options: argparse.Namespace) -> int:
    """`alphad restore`."""
    from daemon import backup_commands
    from daemon.logs import configure_logging

    configure_logging(quiet=True)
    return backup_commands.restore(
        settings_path(options), options.source, from_published=options.from_published
    )


def backfill_(options: argparse.Namespace) -> int:
    """`alphad backfill`."""
    from daemon import data_commands
    from daemon.logs import configure_logging

    configure_logging(quiet=True)
    return data_commands.run_backfill(settings_path(options), options.market, options.first)


def data_(options: argparse.Namespace) -> int:
    """`alphad data`."""
    from daemon import data_commands

    return data_commands.show(settings_path(options), options.market, as_json=options.json)


def data_diff(options: argparse.Namespace) -> int:
    """`alphad data diff`."""
    from daemon import data_commands

    if len(options.times) != 2:
        raise ConfigError(
            f"--as-of is given {len(options.times)} times",
            rule="a difference is between two times",
            hint="write alphad data diff --as-of 2026-11-20T22:00 --as-of 2026-11-23T22:00",
        )
    return data_commands.show_diff(
        settings_path(options),
        options.market,
        (options.times[0], options.times[1]),
        (options.first, options.last),
        as_json=options.json,
    )


def confirm_members(options: argparse.Namespace) -> int:
    """`alphad data confirm-members`."""
    from daemon import data_commands

    return data_commands.confirm(settings_path(options), options.market, options.digest)


def kernels(_options: argparse.Namespace) -> int:
    """`alphad kernels`."""
    from daemon import terminal
    from daemon.kernel_cache import drop_stale_kernels

    drop_stale_kernels()
    return terminal.compile_kernels()


def remine_(options: argparse.Namespace) -> int:
    """`alphad remine`: the daemon's child process."""
    from daemon.logs import configure_logging, log_uncaught
    from daemon.reminers import carry_out, end_with, handed_on

    settings = handed_on(options.config)
    configure_logging(settings, run=options.run)
    log_uncaught()
    end_with(options.parent)
    return carry_out(settings, options.market, options.job, options.epoch)


if __name__ == "__main__":
    sys.exit(main())
