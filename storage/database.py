"""The database: SQLite in a file by default, PostgreSQL by URL; transactions, migration, check.

On SQLite a write begins with `BEGIN IMMEDIATE`: a deferred transaction that reads and then writes
gets "database is locked" at once, whatever `busy_timeout` says.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, func, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import StatementError as RejectedStatement

from signals.errors import ConfigError, StorageError
from storage.files import make_directory, move_aside, refuse_network_filesystem
from storage.steps import Passing, tell_nobody
from storage.tables import Base, table

_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA journal_size_limit=67108864",
)

#: The advisory lock of the server that whoever changes the tables holds.
_MIGRATING = 0x616C706862


def to_json(value: Any) -> str:
    """Return strict JSON; NaN and infinity are a StorageError, because PostgreSQL has neither."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"), sort_keys=True)
    except (TypeError, ValueError) as exc:
        raise StorageError(
            f"a value cannot be stored as JSON: {exc}",
            rule="JSON columns hold strings, finite numbers, lists and objects",
            hint="store None where a number is not defined",
        ) from exc


def _on_connect(busy_seconds: float, dbapi_connection: Any, _record: object) -> None:
    dbapi_connection.isolation_level = None  # the driver must not begin transactions of its own
    cursor = dbapi_connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={round(busy_seconds * 1000)}")
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _on_begin(connection: Connection) -> None:
    deferred = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql("BEGIN" if deferred else "BEGIN IMMEDIATE")


class Database:
    """One database, by URL.

    Parameters
    ----------
    url : str
        `sqlite:////absolute/path` or `postgresql+psycopg://…`.
    busy_seconds : float
        How long a write waits for another process that has locked a SQLite file.

    Raises
    ------
    ConfigError
        The URL is malformed or of another kind of database.
    """

    def __init__(self, url: str, *, busy_seconds: float = 10.0) -> None:
        try:
            parsed = make_url(url)
            dialect = parsed.get_backend_name()
            if dialect not in ("sqlite", "postgresql"):
                raise ArgumentError(dialect)
            if dialect == "postgresql" and parsed.drivername == "postgresql":
                parsed = parsed.set(drivername="postgresql+psycopg")
            self.engine: Engine = create_engine(
                parsed, json_serializer=to_json, pool_pre_ping=False
            )
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as exc:
            raise ConfigError(
                f"database_url is not usable: {exc}",
                rule="the database is SQLite or PostgreSQL",
                hint="use sqlite:////path/to/file or postgresql+psycopg://user@host/name "
                "(PostgreSQL needs the extra `alphad[postgres]`)",
            ) from exc
        #: The file, for SQLite.
        self.path: Path | None = None
        if dialect == "sqlite":
            if parsed.database in (None, "", ":memory:"):
                raise ConfigError(
                    "database_url names no file",
                    rule="the ledger must survive the process",
                    hint="use sqlite:////path/to/file",
                )
            self.path = Path(str(parsed.database))
            event.listen(self.engine, "connect", partial(_on_connect, busy_seconds))
            event.listen(self.engine, "begin", _on_begin)
        # a snapshot begins with a transaction of SQLite; of PostgreSQL only where it is asked for
        level = {"isolation_level": "REPEATABLE READ"} if dialect == "postgresql" else {}
        self._reader = self.engine.execution_options(read_only=True, **level)

    @classmethod
    def file(cls, path: Path) -> Database:
        """Return the SQLite database in the file `path`."""
        return cls(f"sqlite:///{path.absolute()}")

    @property
    def name(self) -> str:
        """What to call this database in a message; holds no password."""
        return self.engine.url.render_as_string(hide_password=True)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yield a connection whose writes are committed together, or not at all.

        Raises
        ------
        StorageError
            The database refused; `retryable` when it was only locked or away.
        """
        with self._translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection for reading one consistent state."""
        with self._translated(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as exc:
            raise StorageError(
                f"database {self.name}: {exc.orig}",
                rule="a transaction is kept whole or not at all",
                hint="check that the server runs, or free the disk, or end what holds the lock",
                retryable=True,
            ) from exc
        except DBAPIError as exc:
            raise StorageError(
                f"database {self.name} refused a statement: {exc.orig}",
                rule="the tables' constraints hold for every write",
            ) from exc
        except RejectedStatement as exc:
            if isinstance(exc.orig, StorageError):
                raise exc.orig from exc
            raise StorageError(
                f"a value cannot be stored: {exc.orig}",
                rule="times are aware UTC, values have their column's type",
            ) from exc

    def migrate(self, *, passing: Passing = tell_nobody) -> None:
        """Bring the tables to the newest revision; an existing SQLite file is backed up first.

        Parameters
        ----------
        passing : callable, optional
            Told `migrate.after_backup` and `migrate.before_commit`.

        Raises
        ------
        StorageError
            The database was written by a newer release, or the file cannot be created.
        """
        if self.path is not None:
            make_directory(self.path.parent)
            refuse_network_filesystem(self.path.parent)
        config = Config()
        config.set_main_option("script_location", "storage:migrations")
        scripts = ScriptDirectory.from_config(config)
        head = scripts.get_current_head()
        current = self.revision()
        if current == head:
            return
        known = {script.revision for script in scripts.walk_revisions()}
        if current is not None and current not in known:
            raise StorageError(
                f"database {self.name} is at revision {current}, which this release does not know",
                rule="a release opens databases of its own or earlier revisions",
                hint="start the newer release again, or restore the backup beside the file",
            )
        if current is not None and self.path is not None:
            self.backup(self.path.with_name(f"{self.path.name}.before-{head}"))
            passing("migrate.after_backup")
        with self.transaction() as connection:
            if self.path is None:  # one at a time: who comes second finds nothing to do
                connection.execute(select(func.pg_advisory_xact_lock(_MIGRATING)))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            passing("migrate.before_commit")

    def check_current(self) -> None:
        """Refuse tables of another release; for commands that only look and may not migrate.

        Raises
        ------
        StorageError
            The tables are of an earlier release, of a later one, or not there yet.
        """
        config = Config()
        config.set_main_option("script_location", "storage:migrations")
        head, current = ScriptDirectory.from_config(config).get_current_head(), self.revision()
        if current == head:
            return
        raise StorageError(
            f"database {self.name} is at revision {current or 'none'}, this release is at {head}",
            rule="a command that only looks does not change the tables",
            hint="alphad run brings them up to date, after a backup; if a newer release has "
            "written them, use that one",
        )

    def revision(self) -> str | None:
        """Return the revision of the tables, None for an empty database."""
        with self.read() as connection:
            return MigrationContext.configure(connection).get_current_revision()

    def backup(self, target: Path) -> None:
        """Copy a SQLite database, whole and consistent, to `target` (replaced if it exists)."""
        if self.path is None:
            raise StorageError(
                "only a SQLite file is backed up here", hint="use pg_dump for PostgreSQL"
            )
        temporary = target.with_name(f".{target.name}.tmp")
        temporary.unlink(missing_ok=True)
        try:
            source = sqlite3.connect(self.path)
            try:
                source.execute("VACUUM INTO ?", (str(temporary),))
            finally:
                source.close()
            move_aside(temporary, target.parent, target.name)
        except (sqlite3.Error, OSError) as exc:
            temporary.unlink(missing_ok=True)
            raise StorageError(f"backup to {target} failed: {exc}", hint="free the disk") from exc

    def check(self) -> list[str]:
        """Return what is wrong with the database file; empty when it is whole."""
        if self.path is None:
            with self.read() as connection:
                connection.execute(text("SELECT 1"))
            return []
        try:
            with self.read() as connection:
                found = [str(row[0]) for row in connection.execute(text("PRAGMA quick_check"))]
        except StorageError as exc:
            return [exc.fact]
        except UnicodeDecodeError as exc:  # it repeats names from the damaged pages
            return [f"it holds names that are no text: {exc}"]
        return [] if found == ["ok"] else found

    def close(self) -> None:
        """Give back every connection."""
        self.engine.dispose()


@lru_cache(maxsize=64)
def _upsert(model: type[Base], dialect: str) -> Any:
    target = table(model)
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(target)
    return statement.on_conflict_do_update(
        index_elements=list(target.primary_key.columns),
        set_={
            column.name: statement.excluded[column.name]
            for column in target.columns
            if not column.primary_key
        },
    )


def upsert(connection: Connection, model: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows; a row with the key of a stored one replaces it."""
    if rows:
        connection.execute(_upsert(model, connection.dialect.name), rows)
