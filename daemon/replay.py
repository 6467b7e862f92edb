"""Replay: the same stages, driven by a passed clock, session by session over history."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from daemon.clock import ReplayClock
from daemon.context import Context, Market, open_context
from daemon.inputs import check_inputs
from daemon.reconcile import Reconciler
from daemon.recovery import recover
from daemon.reminers import InlineReminer
from daemon.report import Truth, render_report
from daemon.service_settings import FaultSettings
from daemon.settings import Settings, build_settings, settings_toml
from daemon.stages.remine import OnRound
from daemon.summary import Summary, summarise
from signals.errors import ConfigError
from storage import ledger
from storage.files import write_atomic

#: Called after every session: the session, its number, how many there are.
OnSession = Callable[[date, int, int], None]


#: Calendar and seed book of the markets that are known by name.
KNOWN_MARKETS = {"us": "XNYS", "cn": "XSHG"}


def replay_settings(
    base: Settings | None,
    *,
    market: str,
    bars: Path,
    membership: Path | None,
    calendar: str | None,
    out: Path,
) -> Settings:
    """Return the settings of a replay: those of the market in `base`, on a file of bars.

    Raises
    ------
    ConfigError
        When the market is not known by name and no calendar is given, or a file is missing.
    """
    of = base.market(market) if base is not None else None
    known = KNOWN_MARKETS.get(market)
    if of is not None and (known is None or "calendar" in of.model_fields_set):
        known = of.calendar
    if membership is None and of is not None:
        membership = of.membership
    if calendar is None and known is None:
        raise ConfigError(
            f"the calendar of market {market!r} is not known",
            rule=f"known by name are {', '.join(KNOWN_MARKETS)}",
            hint="name its exchange with --calendar, as in --calendar XLON",
        )
    for path in filter(None, (bars, membership)):
        if not path.exists():
            raise ConfigError(
                f"{path} does not exist",
                rule="a replay reads bars and constituents from disk",
                hint="correct the path",
            )
    stated = {"seed_book": market if market in KNOWN_MARKETS else "us"}
    if of is not None:
        stated |= of.model_dump(exclude_unset=True)
    changed = {
        **stated,
        "calendar": calendar or known,
        "feed": {"kind": "parquet", "path": bars.absolute()},
        "membership": membership.absolute() if membership else None,
    }
    return build_settings(
        {
            "state_dir": out.absolute() / "state",
            "publish_dir": out.absolute() / "published",
            "markets": {market: changed},
            **({"llm": base.llm} if base is not None and base.llm.in_replay else {}),
        }
    )


def run_replay(
    settings: Settings,
    market: str,
    first: date,
    last: date,
    on_session: OnSession,
    on_round: OnRound | None = None,
) -> Summary:
    """Live through every session from `first` to `last` and return what happened.

    The state directory may hold an interrupted replay of the same settings: it goes on from the
    last complete stage and ends in the same bytes as an undisturbed one.

    Raises
    ------
    ConfigError
        When the span holds no session, or does not go on from what is there.
    ExpressionError, MembershipError
        When the seed book or the constituents cannot be used.
    """
    clock = ReplayClock(datetime(1990, 1, 1, tzinfo=UTC))
    with open_context(settings, clock) as context:
        of = context.markets[market]
        sessions = of.calendar.sessions(first, last)
        if not sessions:
            raise ConfigError(
                f"{of.calendar.name} has no session from {first} to {last}",
                rule="a replay needs at least one session",
                hint="widen --from and --to",
            )
        check_inputs(of)
        check_start(context, of, sessions[0])
        drive(context, of, sessions, clock, on_session, on_round)
        return summarise(context, market, sessions)


def check_start(context: Context, market: Market, first: date) -> None:
    """Refuse a span that would leave sessions before or between what is published unpublished.

    Raises
    ------
    ConfigError
        When `first` lies before the first session there is, or after the next one.
    """
    with context.database.read() as conn:
        begun = ledger.first_session(conn, market.name, "ingest")
        last = ledger.last_session(conn, market.name, "publish")
    following = market.calendar.next_session(last) if last is not None else begun
    if begun is not None and following is not None and not begun <= first <= following:
        raise ConfigError(
            f"the replay in {context.settings.state_dir.parent} began at {begun} and stands at "
            f"{last or begun}; --from {first} would leave a gap",
            rule="a replay publishes every session of its span, in order",
            hint=f"give --from {begun}, or another --out",
        )


def drive(
    context: Context,
    market: Market,
    sessions: Sequence[date],
    clock: ReplayClock,
    on_session: OnSession,
    on_round: OnRound | None,
) -> None:
    """Move the clock to each session's finality and let the reconcile loop do what is due."""
    with context.database.read() as conn:
        newest = ledger.history(conn, market.name, limit=1)
    left = [session for session in sessions if not newest or session >= newest[0].session]
    reconciler = Reconciler(context, InlineReminer(context, on_round), first_session=sessions[0])
    minutes = market.settings.ingest.finality_minutes
    for number, session in enumerate(left, start=len(sessions) - len(left) + 1):
        clock.set(market.calendar.finality(session, minutes))
        if session == left[0]:
            recover(context)
        reconciler.step(market)
        on_session(session, number, len(sessions))


def claim_directory(out: Path, settings: Settings) -> None:
    """Write the settings beside the output, or check that they are those of the output there.

    What has been ingested stays as it was ingested: a file of bars may be corrected in between.

    Raises
    ------
    ConfigError
        When `out` holds the output of other settings.
    """
    path = out / "alphad.toml"
    # a fault on purpose is of one run, not of its output
    wanted = settings_toml(settings.model_copy(update={"test": FaultSettings()}))
    if out.exists() and not out.is_dir():
        raise ConfigError(
            f"{out} is a file",
            rule="state and output are written into a directory",
            hint="choose another --out",
        )
    if not path.exists():
        write_atomic(path, wanted.encode())
    elif path.read_text(encoding="utf-8") != wanted:
        raise ConfigError(
            f"{out} holds the output of other settings ({path})",
            rule="a replay resumes only what it began itself",
            hint="choose another --out, or delete that directory",
        )


def write_summary(
    out: Path, summary: Summary, *, story: Sequence[str] = (), truths: Sequence[Truth] = ()
) -> tuple[Path, Path]:
    """Write `summary.json` and `report.html` and return their paths."""
    data, page = out / "summary.json", out / "report.html"
    write_atomic(data, json.dumps(summary.to_json(), indent=2, allow_nan=False).encode() + b"\n")
    write_atomic(page, render_report(summary, story=story, truths=truths))
    return data, page
