"""The tables of the database, one class each; a row read back is an instance of its class.

Times are aware UTC datetimes, sessions are dates. JSON columns hold strict JSON: no NaN, no
infinity. Queries are SQLAlchemy Core on `table(Model)`; instances are plain records and belong to
no ORM session.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import class_mapper
from sqlmodel import Field, SQLModel

#: Names of constraints, fixed from the first migration on: SQLite cannot alter what has no name.
NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

#: A nullable JSON column: None is NULL and not the JSON word null.
OptionalJSON = JSON(none_as_null=True)


class RunStatus(StrEnum):
    """Where a stage run stands."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABANDONED = "abandoned"


class FactorState(StrEnum):
    """The life of a factor."""

    CANDIDATE = "candidate"
    SHADOW = "shadow"
    LIVE = "live"
    RETIRED = "retired"
    REJECTED = "rejected"


class JobStatus(StrEnum):
    """Where a re-mining job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    STOPPED = "stopped"
    FAILED = "failed"


class PublicationStatus(StrEnum):
    """Where a publication stands."""

    RESERVED = "reserved"
    PUBLISHED = "published"


class ControlState(StrEnum):
    """What an operator lets a market do."""

    RUNNING = "running"
    PAUSED = "paused"
    HALTED = "halted"


def _one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def _of_factor() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["market", "factor"], ["factors.market", "factors.id"])


class Base(SQLModel):
    """What every table shares: one metadata with named constraints."""

    metadata = MetaData(naming_convention=NAMING)


Model = TypeVar("Model", bound=Base)


def table(model: type[Base]) -> Table:
    """Return the SQLAlchemy table of a class."""
    return Base.metadata.tables[str(model.__tablename__)]


def record(model: type[Model], row: Mapping[Any, Any]) -> Model:
    """Return a row as an instance of its class, made as the ORM makes what it loads.

    The constructor would take each value through pydantic, at ten times the price of the query.
    """
    instance: Model = class_mapper(model).class_manager.new_instance()
    instance.__dict__.update(row)
    return instance


class StageRun(Base, table=True):
    """One run of one stage over one session; the only record of what has been done."""

    __tablename__ = "stage_runs"
    __table_args__ = (
        _one_of("status", RunStatus),
        Index(
            "uq_stage_runs_succeeded",
            "market",
            "stage",
            "session",
            "input_hash",
            unique=True,
            sqlite_where=text("status = 'succeeded'"),
            postgresql_where=text("status = 'succeeded'"),
        ),
        Index("ix_stage_runs_status", "status"),
    )

    market: str = Field(primary_key=True)
    stage: str = Field(primary_key=True)
    session: date = Field(primary_key=True)
    revision: int = Field(primary_key=True)
    input_hash: str
    status: str
    cause: str
    attempts: int
    started_at: datetime
    finished_at: datetime | None = None
    detail: dict[str, Any] | None = Field(default=None, sa_type=OptionalJSON)
    error: str | None = Field(default=None, sa_type=Text)


class Factor(Base, table=True):
    """One factor of one market's registry."""

    __tablename__ = "factors"
    __table_args__ = (
        _one_of("state", FactorState),
        CheckConstraint("origin IN ('seed', 'mined')", name="origin"),
        Index("ix_factors_state", "market", "state"),
    )

    market: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    expression: str = Field(sa_type=Text)
    origin: str
    hypothesis: dict[str, Any] | None = Field(default=None, sa_type=OptionalJSON)
    parents: list[str] = Field(default_factory=list, sa_type=JSON)
    state: str
    created_session: date
    joined_session: date | None = None
    live_session: date | None = None
    retired_session: date | None = None
    baseline_start: date | None = None
    detail: dict[str, Any] | None = Field(default=None, sa_type=OptionalJSON)


class FactorEvent(Base, table=True):
    """One change of a factor's state, with the rule and the evidence that made it."""

    __tablename__ = "factor_events"
    __table_args__ = (_of_factor(), Index("ix_factor_events_factor", "market", "factor"))

    number: int | None = Field(default=None, primary_key=True)
    market: str
    factor: str
    session: date
    from_state: str | None = None
    to_state: str
    rule: str
    evidence: dict[str, Any] | None = Field(default=None, sa_type=OptionalJSON)
    at: datetime


class FactorIC(Base, table=True):
    """The IC and RankIC of one factor at one session; NULL where they are not defined."""

    __tablename__ = "factor_ics"
    __table_args__ = (_of_factor(),)

    market: str = Field(primary_key=True)
    factor: str = Field(primary_key=True)
    session: date = Field(primary_key=True)
    realised_session: date
    ic: float | None = Field(default=None, sa_type=Float)
    rank_ic: float | None = Field(default=None, sa_type=Float)
    n_assets: int


class MonitoredIC(Base, table=True):
    """The monitored RankIC of one live factor at one session; NULL where it is not defined."""

    __tablename__ = "monitored_ics"
    __table_args__ = (_of_factor(),)

    market: str = Field(primary_key=True)
    factor: str = Field(primary_key=True)
    session: date = Field(primary_key=True)
    realised_session: date
    rank_ic: float | None = Field(default=None, sa_type=Float)


class ScoreIC(Base, table=True):
    """The IC and RankIC of the score published for one session."""

    __tablename__ = "score_ics"

    market: str = Field(primary_key=True)
    session: date = Field(primary_key=True)
    realised_session: date
    publish_id: str
    ic: float | None = Field(default=None, sa_type=Float)
    rank_ic: float | None = Field(default=None, sa_type=Float)
    n_assets: int


class MonitorRecord(Base, table=True):
    """The state of one factor's decay monitor after one realised session."""

    __tablename__ = "monitor_states"
    __table_args__ = (_of_factor(),)

    market: str = Field(primary_key=True)
    factor: str = Field(primary_key=True)
    session: date = Field(primary_key=True)
    verdict: str
    evidence: float = Field(sa_type=Float)
    threshold: float = Field(sa_type=Float)
    state: dict[str, Any] = Field(sa_type=JSON)


class BookRecord(Base, table=True):
    """The state of a market's book-level test after one realised session."""

    __tablename__ = "book_states"

    market: str = Field(primary_key=True)
    session: date = Field(primary_key=True)
    verdict: str
    evidence: float = Field(sa_type=Float)
    threshold: float = Field(sa_type=Float)
    state: dict[str, Any] = Field(sa_type=JSON)


class VerdictEvent(Base, table=True):
    """One change of verdict."""

    __tablename__ = "verdict_events"
    __table_args__ = (_of_factor(), Index("ix_verdict_events_factor", "market", "factor"))

    number: int | None = Field(default=None, primary_key=True)
    market: str
    factor: str
    session: date
    from_verdict: str | None = None
    to_verdict: str
    evidence: dict[str, Any] | None = Field(default=None, sa_type=OptionalJSON)
    at: datetime


class RemineJob(Base, table=True):
    """One re-mining of one market."""

    __tablename__ = "remine_jobs"
    __table_args__ = (_one_of("status", JobStatus), Index("ix_remine_jobs_status", "status"))

    market: str = Field(primary_key=True)
    id: int = Field(primary_key=True, sa_type=Integer)
    opened_session: date
    trigger: dict[str, Any] = Field(sa_type=JSON)
    seed: int = Field(sa_type=BigInteger)
    status: str
    checkpoint: dict[str, Any] | None = Field(default=None, sa_type=OptionalJSON)
    counts: dict[str, Any] | None = Field(default=None, sa_type=OptionalJSON)
    result: dict[str, Any] | None = Field(default=None, sa_type=OptionalJSON)
    joined_session: date | None = None
    opened_at: datetime
    finished_at: datetime | None = None


class Trial(Base, table=True):
    """One candidate a re-mining took as far as a decision."""

    __tablename__ = "trials"
    __table_args__ = (
        ForeignKeyConstraint(["market", "job"], ["remine_jobs.market", "remine_jobs.id"]),
    )

    market: str = Field(primary_key=True)
    job: int = Field(primary_key=True)
    number: int = Field(primary_key=True)
    expression: str = Field(sa_type=Text)
    decision: str
    detail: dict[str, Any] | None = Field(default=None, sa_type=OptionalJSON)


class Vintage(Base, table=True):
    """One immutable file of bars; `number` 0: not recorded yet; `chain` hashes all up to it."""

    __tablename__ = "vintages"

    market: str = Field(primary_key=True)
    number: int = Field(default=0, primary_key=True)
    source: str
    known_at: datetime
    reconstructed: bool
    cause: str
    first_session: date
    last_session: date
    n_rows: int
    n_assets: int
    sha256: str
    path: str
    chain: str = ""


class PublicationRecord(Base, table=True):
    """One publication: reserved first, then published."""

    __tablename__ = "publications"
    __table_args__ = (
        UniqueConstraint("market", "session", "revision"),
        _one_of("status", PublicationStatus),
    )

    market: str = Field(primary_key=True)
    publish_id: str = Field(primary_key=True)
    session: date
    revision: int
    status: str
    path: str
    manifest_sha256: str | None = None
    reserved_at: datetime
    published_at: datetime | None = None
    status_text: str | None = None
    reasons: list[str] | None = Field(default=None, sa_type=OptionalJSON)


class Constituent(Base, table=True):
    """One spell of membership; `known_at` names the snapshot the spell belongs to."""

    __tablename__ = "constituents"

    market: str = Field(primary_key=True)
    known_at: datetime = Field(primary_key=True)
    asset: str = Field(primary_key=True)
    start_date: date = Field(primary_key=True)
    end_date: date | None = None
    source: str


class DataVerdict(Base, table=True):
    """What the gate said of fetched bars; `session` is the one that was being ingested."""

    __tablename__ = "data_verdicts"
    __table_args__ = (Index("ix_data_verdicts_session", "market", "session"),)

    number: int | None = Field(default=None, primary_key=True)
    market: str
    session: date
    at: datetime
    outcome: str
    asset: str
    first_session: date
    last_session: date
    n_rows: int
    rule: str = Field(sa_type=Text)
    fact: str = Field(sa_type=Text)
    payload: str


class FetchMark(Base, table=True):
    """How far back and up to when one asset's history has been fetched."""

    __tablename__ = "fetch_marks"

    market: str = Field(primary_key=True)
    asset: str = Field(primary_key=True)
    first_session: date
    last_session: date
    outcome: str
    payload: str
    at: datetime


class ProviderSwitch(Base, table=True):
    """A change of one asset's series from one provider to another, with the proof it passed."""

    __tablename__ = "provider_switches"
    __table_args__ = (Index("ix_provider_switches_asset", "market", "asset"),)

    number: int | None = Field(default=None, primary_key=True)
    market: str
    asset: str
    session: date
    before: str
    after: str
    n_sessions: int | None = None
    gap: float | None = Field(default=None, sa_type=Float)
    at: datetime


class HeldChange(Base, table=True):
    """A change of an index's members that waits for an operator, or was confirmed by one."""

    __tablename__ = "held_changes"

    market: str = Field(primary_key=True)
    digest: str = Field(primary_key=True)
    session: date
    joined: list[str] = Field(sa_type=JSON)
    left: list[str] = Field(sa_type=JSON)
    held_at: datetime
    confirmed_at: datetime | None = None
    applied_at: datetime | None = None


class Alert(Base, table=True):
    """One alert; open until `resolved_at`."""

    __tablename__ = "alerts"
    __table_args__ = (
        Index(
            "uq_alerts_open",
            "market",
            "key",
            unique=True,
            sqlite_where=text("resolved_at IS NULL"),
            postgresql_where=text("resolved_at IS NULL"),
        ),
    )

    number: int | None = Field(default=None, primary_key=True)
    market: str
    key: str
    severity: str
    message: str = Field(sa_type=Text)
    session: date | None = None
    at: datetime
    resolved_at: datetime | None = None


class ModelUsage(Base, table=True):
    """One request to a language model: written at its worst before it is sent, settled after.

    A row without `settled_at` is of a request whose end nobody saw; it counts as written.
    """

    __tablename__ = "model_usage"
    __table_args__ = (
        Index("ix_model_usage_run", "market", "job"),
        Index("ix_model_usage_at", "at"),
    )

    number: int | None = Field(default=None, primary_key=True)
    market: str
    job: int
    at: datetime
    model: str
    kind: str
    input_tokens: int = Field(sa_type=BigInteger)
    output_tokens: int = Field(sa_type=BigInteger)
    cost: float = Field(sa_type=Float)
    seconds: float = Field(sa_type=Float)
    outcome: str | None = None
    settled_at: datetime | None = None


class OperatorRequest(Base, table=True):
    """What an operator asked for; applied once, by an observation, or refused by it."""

    __tablename__ = "operator_requests"
    __table_args__ = (Index("ix_operator_requests_market", "market", "applied_at"),)

    number: int | None = Field(default=None, primary_key=True)
    market: str
    command: str
    arguments: dict[str, Any] = Field(sa_type=JSON)
    reason: str = Field(sa_type=Text)
    who: str
    requested_at: datetime
    applied_at: datetime | None = None
    applied_session: date | None = None
    outcome: str | None = Field(default=None, sa_type=Text)


class Epoch(Base, table=True):
    """One life of a daemon: the highest number owns the database until its lease has run out."""

    __tablename__ = "epochs"

    number: int | None = Field(default=None, primary_key=True)
    instance: str
    host: str
    pid: int
    state_dir: str
    version: str
    started_at: datetime
    renewed_at: datetime
    ended_at: datetime | None = None


class MarketControl(Base, table=True):
    """What an operator has set for a market; one without a row runs."""

    __tablename__ = "market_controls"
    __table_args__ = (_one_of("state", ControlState),)

    market: str = Field(primary_key=True)
    state: str
    reason: str = Field(sa_type=Text)
    who: str
    at: datetime


class Notification(Base, table=True):
    """One message to one channel, written with what it tells of and sent until it arrives.

    `kind` is what happened to the alert named by `key`: raised, flapping, changed, reminder,
    resolved; or `published`, of which `key` is the publish id.
    """

    __tablename__ = "notifications"
    __table_args__ = (
        UniqueConstraint("dedupe_key", "channel"),
        Index("ix_notifications_due", "sent_at", "given_up_at", "next_attempt_at"),
    )

    number: int | None = Field(default=None, primary_key=True)
    market: str
    key: str
    kind: str
    severity: str
    message: str = Field(sa_type=Text)
    channel: str
    dedupe_key: str
    created_at: datetime
    attempts: int
    next_attempt_at: datetime
    sent_at: datetime | None = None
    given_up_at: datetime | None = None
    error: str | None = Field(default=None, sa_type=Text)
