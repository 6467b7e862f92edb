"""At start, before anything else: a database that is broken or gone, and what was published since.

::

    broken, gone ──▶ moved to <state>/set-aside/<time>/ ──▶ the newest good backup in its place
                                                        └─▶ no backup: refused, with the command
    ledger behind the published tree ──▶ its folders count again; bars without a row are set aside

Nothing is deleted. After this the daemon is one that slept since the backup, except that what it
had published stands: the sessions in between are ingested and observed again, and not published.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog

from daemon.settings import Settings
from signals.errors import IntegrityError
from storage import alerts, epochs, readoption, registry
from storage.backups import (
    backups,
    changed_rows,
    clear,
    file_damage,
    good_backups,
    put_in_place,
)
from storage.bars import vintages
from storage.database import Database
from storage.files import move_aside, refuse_network_filesystem
from storage.integrity import Finding
from storage.readoption import Readopted

log = structlog.get_logger()

#: The key of the alert that tells what was lost.
ALERT = "restored"
FROM_PUBLISHED = "alphad restore --from-published"


@dataclass(frozen=True)
class Swapped:
    """What was done to a database.

    Parameters
    ----------
    why : str
        What was the matter, for the operator.
    aside : Path
        The folder that holds what was moved away.
    backup : Path or None
        What stands in its place; None for a ledger that begins with the published tree.
    """

    why: str
    aside: Path
    backup: Path | None


def backup_folder(settings: Settings) -> Path:
    """Return where the daily backups lie."""
    return settings.state_dir / "backups"


def new_aside(folder: Path, now: datetime) -> Path:
    """Return a folder for what is moved away now; it is not there yet."""
    stamp = f"{now:%Y%m%dT%H%M%SZ}"
    target, number = folder / "set-aside" / stamp, 1
    while target.exists():
        number += 1
        target = folder / "set-aside" / f"{stamp}-{number}"
    return target


def heal(settings: Settings, database: Database, now: datetime) -> Swapped | None:
    """Put the newest good backup in the place of a database that is broken or gone.

    Returns
    -------
    Swapped or None
        None where the database is whole, a server's, or was never there.

    Raises
    ------
    IntegrityError
        There is no good backup; names where the broken file is now, and the way out.
    StorageError
        The database is locked, or the disk failed.
    """
    path = database.path
    if path is None:
        return None
    refuse_network_filesystem(path.parent)  # before anything is opened there
    if path.exists() and path.stat().st_size:
        broken = file_damage(path)
        if not broken:
            return None
        why = f"the database {path} is broken ({broken})"
    else:
        left = remains(settings)
        if not left:
            return None
        why = f"the database {path} is gone, though there are {left}"
    backup = next(good_backups(backup_folder(settings), now.date(), path), None)
    if backup is not None:
        return swap(database, backup, why, now)
    aside = new_aside(path.parent, now)
    moved = clear(path, aside)
    raise IntegrityError(
        f"{why}, and there is no good backup in {backup_folder(settings)}"
        + (f"; it was moved to {aside}" if moved else ""),
        rule="a ledger is never begun anew where signals have been published",
        hint=f"put a copy of the database at {path}, or begin a ledger with what is published: "
        f"{FROM_PUBLISHED}",
    )


def against_backup(settings: Settings, database: Database, now: datetime) -> list[Finding]:
    """Return where settled rows are not what the newest good backup holds."""
    if database.path is None:
        return []
    last = next(good_backups(backup_folder(settings), now.date()), None)
    changed = changed_rows(database, last) if last is not None else []
    return [Finding("", database.name, fact) for fact in changed]


def remains(settings: Settings) -> str:
    """Return what says that there has been a database, "" where nothing does."""
    folder = backup_folder(settings)
    if folder.is_dir() and any(folder.glob("*.db")):
        return f"backups in {folder}"
    for name in settings.markets:
        for home, pattern in (
            (settings.publish_dir / name / "v1" / "sessions", "*/*/_SUCCESS"),
            (settings.state_dir / "bars" / name, "*.parquet"),
        ):
            if home.is_dir() and next(home.glob(pattern), None) is not None:
                return f"files of market {name} in {home}"
    return ""


def swap(database: Database, backup: Path | None, why: str, now: datetime) -> Swapped:
    """Let a backup stand in the place of the database, or nothing, and set aside what was there."""
    path = database.path
    if path is None:
        raise IntegrityError(
            f"{database.name} is a server's database",
            rule="only a SQLite file is restored here",
            hint="restore it with the server's own means, such as pg_restore; the next start "
            "counts again what was published since",
        )
    database.close()
    aside = new_aside(path.parent, now)
    if backup is None:
        clear(path, aside)
    else:
        put_in_place(backup, path, aside)
    log.error("the database was replaced", why=why, by=str(backup), aside=str(aside))
    return Swapped(why, aside, backup)


def account(
    settings: Settings,
    database: Database,
    now: datetime,
    swapped: Swapped | None,
    *,
    epoch: int | None = None,
) -> dict[str, str]:
    """Bring the ledger up to the published tree and say what was lost, by market.

    Parameters
    ----------
    epoch : int, optional
        The epoch that this is done in; without it nobody else can be at work.

    Returns
    -------
    dict of str to str
        The messages of the alerts; empty when nothing had been lost.

    Raises
    ------
    ReservationError
        A later epoch has begun.
    """
    told: dict[str, str] = {}
    for market in settings.markets:
        with database.read() as conn:
            behind = readoption.is_behind(conn, settings.publish_dir, market)
            for path in readoption.foreign(conn, settings.publish_dir, market):
                log.warning("a foreign folder is not counted", market=market, path=str(path))
        if not behind and swapped is None:
            continue
        swapped = swapped or fuller_backup(settings, database, now)
        aside = swapped.aside if swapped else new_aside(settings.state_dir, now)
        moved = set_bars_aside(settings, database, market, aside)
        with database.transaction() as conn:
            if epoch is not None:
                epochs.require_current(conn, epoch)
            found = readoption.readopt(conn, settings.publish_dir, market, now)
            halted = readoption.halt_again(conn, settings.publish_dir, market, now)
            strangers = _strangers(found, {f.id for f in registry.factors(conn, market)})
            told[market] = _message(market, swapped, found, moved, aside, strangers, halted=halted)
            alerts.raise_alert(conn, market, ALERT, "error", told[market], now)
        log.error("alert", market=market, key=ALERT, severity="error", message=told[market])
    if swapped is not None:
        set_backups_aside(settings, database, swapped.aside, now)
    return told


def fuller_backup(settings: Settings, database: Database, now: datetime) -> Swapped | None:
    """Let the newest good backup stand in for a ledger that has lost rows it holds."""
    if database.path is None:
        return None
    backup = next(good_backups(backup_folder(settings), now.date()), None)
    if backup is None or not changed_rows(database, backup):
        return None
    swapped = swap(database, backup, f"the end of the database {database.path} is lost", now)
    database.migrate()
    return swapped


def set_backups_aside(settings: Settings, database: Database, aside: Path, now: datetime) -> None:
    """Move the backups away that hold what the ledger no longer does: it was not they that count.

    A later audit compares the ledger with its newest backup, and a later restore takes it.
    """
    for path in backups(backup_folder(settings), now.date()):
        if changed_rows(database, path):
            seal = path.with_name(f"{path.name}.sha256")
            for each in (path, seal):
                if each.exists():
                    move_aside(each, aside / "backups")


def set_bars_aside(settings: Settings, database: Database, market: str, aside: Path) -> int:
    """Move the vintages that no row names to the folder `aside`; return how many there were."""
    with database.read() as conn:
        kept = {Path(vintage.path).name for vintage in vintages(conn, market)}
    folder = settings.state_dir / "bars" / market
    orphans = [path for path in sorted(folder.glob("*.parquet")) if path.name not in kept]
    for path in orphans:
        move_aside(path, aside / "bars" / market)
    return len(orphans)


def _strangers(found: list[Readopted], known: set[str]) -> list[str]:
    """Return the factors that were published since and that the registry does not know."""
    named = {
        str(factor["id"]): str(factor["expression"])
        for each in found
        for factor in (each.manifest or {}).get("factors", ())
    }
    return [f"{name} = {text}" for name, text in sorted(named.items()) if name not in known]


def _message(
    market: str,
    swapped: Swapped | None,
    found: list[Readopted],
    moved: int,
    aside: Path,
    strangers: list[str],
    *,
    halted: bool,
) -> str:
    if swapped is None:
        lines = ["the ledger has lost its end: it did not know what was published last"]
    elif swapped.backup is None:
        lines = [f"{swapped.why}: a ledger was begun with what is published"]
    else:
        lines = [f"{swapped.why}: the backup {swapped.backup} stands in its place"]
    if swapped is not None and swapped.aside.exists():
        lines.append(f"what was there is in {swapped.aside}; nothing was deleted")
    if found:
        first, last = found[0].record, found[-1].record
        days = sorted(each.record.session for each in found)
        lines.append(
            f"{market}: {len(found)} publications since then count again "
            f"({first.publish_id} to {last.publish_id}, sessions {days[0]} to {days[-1]}); "
            "their sessions are ingested and observed again, and not published again"
        )
    else:
        lines.append(f"{market}: nothing has been published since then")
    lines += [
        f"{each.record.path} is damaged ({each.broken}); its id is kept and never used again"
        for each in found
        if each.manifest is None
    ]
    if moved:
        lines.append(
            f"{moved} files of bars fetched since then are in {aside / 'bars' / market}; "
            "they are fetched again, as of now"
        )
    if strangers:
        lines.append(f"published since, and gone from the registry: {'; '.join(strangers)}")
    if halted:
        lines.append("the market was halted since then, and stays so")
    lines.append(
        "what operators asked for, paused, resumed or confirmed since then, and what re-minings "
        "found, is gone: ask again. Check with: alphad verify, alphad status, alphad requests"
    )
    return ". ".join(lines)
