"""Settings: one TOML file and the `ALPHAD_` environment; the only reader of either.

Whatever is unknown, misspelt or contradictory is a ConfigError before anything starts. The
environment wins over the file: `ALPHAD_MARKETS__US__LABEL__HORIZON=5` sets
`markets.us.label.horizon`. Relative paths are relative to the working directory.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from daemon.credentials import with_credentials
from daemon.group import Group, Positive, Share
from daemon.housekeeping_settings import DiskSettings, HousekeepingSettings
from daemon.llm.settings import LlmSettings
from daemon.mining_settings import MiningSettings
from daemon.notify_settings import NotifySettings
from daemon.redaction import REDACTOR
from daemon.refusals import listed, nearest, settings_refusal
from daemon.service_settings import FaultSettings, LogSettings
from daemon.web_settings import WebSettings
from miner.best_of import MIN_BLOCKS, block_length
from signals.errors import ConfigError

#: What every environment name of ours begins with.
PREFIX = "ALPHAD_"
#: The environment name of the settings file; no setting, as is that of the credentials.
FILE_VARIABLE = "ALPHAD_CONFIG"

#: The largest mean distance of two requests where none is set, and the jitter of any distance.
_PACE_SECONDS, _JITTER = 2.5, 0.25

#: Settings of a live feed that say how it is asked; what it answers is the same.
HOW_TO_ASK = ("pace_seconds", "request_seconds", "memory_mb")

MarketName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]


#: The settings that mean something to each kind of feed.
_LIVE_FIELDS = frozenset({"start", *HOW_TO_ASK})
#: Kinds of feeds that ask a provider on the network.
LIVE_KINDS = ("yahoo", "akshare")
_FEED_FIELDS = {
    "parquet": frozenset({"path"}),
    "simulated": frozenset({"seed", "assets", "start"}),
    "yahoo": _LIVE_FIELDS | {"fallback", "api_key"},
    "akshare": _LIVE_FIELDS | {"fallback"},
}
#: The second source that may stand behind each provider.
_BEHIND = {"yahoo": "tiingo", "akshare": "baostock"}


class FeedSettings(Group):
    """Where a market's bars come from."""

    kind: Literal["parquet", "simulated", "yahoo", "akshare"] = Field(
        default="simulated",
        description="source of bars: your own Parquet or CSV, a provider, or a simulated market",
    )
    path: Path | None = Field(default=None, description="file or folder of bars (kind `parquet`)")
    seed: int = Field(default=7, ge=0, description="seed of the simulated market")
    assets: int = Field(default=300, ge=2, description="number of assets of the simulated market")
    start: date = Field(
        default=date(2018, 1, 2), description="first day of a simulated market or of live history"
    )
    pace_seconds: float | None = Field(
        default=None,
        gt=0.0,
        le=3600.0,
        description="mean seconds between two requests, of a fallback too; without it 2.5 "
        "(`akshare`) or 1 (any other)",
    )
    request_seconds: float = Field(
        default=30.0,
        ge=1.0,
        le=600.0,
        description="deadline of a call to a provider; what hangs longer is killed",
    )
    memory_mb: int = Field(
        default=2048, ge=256, description="MiB a provider's client may take beyond its libraries"
    )

    fallback: Literal["none", "tiingo", "baostock"] = Field(
        default="none",
        description="second source where the first has no bars: `tiingo` behind `yahoo`, "
        "`baostock` behind `akshare`; each is an extra of this package",
    )
    api_key: SecretStr | None = Field(
        default=None,
        exclude=True,  # from no dump can it be read
        description="key of the fallback `tiingo`; from the environment only",
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.fallback not in ("none", _BEHIND.get(self.kind)):
            raise ValueError(
                f"fallback {self.fallback} does not stand behind kind `{self.kind}`; "
                f"there is {_BEHIND.get(self.kind, 'none')}"
            )
        if self.api_key is not None and self.fallback != "tiingo":
            raise ValueError("api_key has no meaning without fallback `tiingo`; unset it")
        if self.kind == "parquet" and self.path is None:
            raise ValueError("kind is `parquet` but no path is given; set path to a file or folder")
        for name in sorted(self.model_fields_set - {"kind"} - _FEED_FIELDS[self.kind]):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} has no meaning for kind `{self.kind}`; remove it")
        return self


class UniverseSettings(Group):
    """Who takes part: members of an index whose list is fetched, without risk warnings."""

    index: Literal["sp500", "csi500", "none"] = Field(
        default="none", description="index whose members are fetched (S&P 500, CSI 500), or none"
    )
    overrides: Path | None = Field(
        default=None, description="TOML of assets added to the fetched members or taken out"
    )
    exclude_st: bool = Field(
        default=True,
        description="whether assets under a risk warning (`st` of their bars) take no part",
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.index == "none" and self.overrides is not None:
            raise ValueError("overrides has no meaning without index; remove it")
        return self


class LabelSettings(Group):
    """The forward return that factors are judged by."""

    lag: int = Field(default=1, ge=0, le=20, description="sessions between knowing and trading")
    horizon: int = Field(default=1, ge=1, le=60, description="sessions held")


class IngestSettings(Group):
    """When a session's bars are good enough."""

    min_assets: int = Field(
        default=30, ge=2, description="fewest assets with a good bar in a session"
    )
    min_coverage: Share = Field(
        default=0.98,
        description="share of expected assets with a bar, below which judgement is suspended",
    )
    max_quarantined: Share = Field(
        default=0.02,
        description="largest share of a session's rows that may be set aside as broken",
    )
    finality_minutes: int = Field(
        default=90,
        ge=0,
        le=1440,
        description="minutes after the close at which bars count as final",
    )


class GateSettings(Group):
    """What a live feed's bars must fulfil beside the bars before them."""

    max_jump: float = Field(
        default=0.5,
        gt=0.0,
        le=20.0,
        description="largest rise in a session, as a fraction, that no split or dividend has to "
        "explain, and the fall that undoes it; an exchange's own price limits go before",
    )
    max_broken: Share = Field(
        default=0.1,
        description="share of a session's bars that may leave their last price, or be set aside "
        "for it, at once",
    )
    max_repeated: Share = Field(
        default=0.05,
        description="share of a session's bars that may repeat the session before; above it the "
        "source is stale",
    )
    index_check: bool = Field(
        default=True,
        description="whether the return of the followed index (universe.index) is asked for and "
        "compared with its members'",
    )
    max_index_gap: Share = Field(
        default=0.05,
        description="largest distance between the median return of the members and the index's",
    )


class MonitorSettings(Group):
    """The decay monitor."""

    baseline_sessions: int = Field(
        default=500, ge=60, description="sessions a factor is measured over before it may be live"
    )
    sessions_per_false_alarm: Positive = Field(
        default=63, description="sessions per one false `decayed` verdict of the whole book"
    )
    sessions_per_book_alarm: Positive = Field(
        default=252, description="sessions per one false alarm that all factors weaken together"
    )


class BlendSettings(Group):
    """How live factors become one score."""

    ic_sessions: int = Field(
        default=250, ge=20, description="sessions the mean IC of a weight is taken on"
    )
    degraded_scores: Literal["equal", "none"] = Field(
        default="equal", description="without a healthy factor: equal weights, or no scores"
    )
    warning_multiplier: Share = Field(default=0.5, description="weight of a factor in `warning`")
    decayed_multiplier: Share = Field(default=0.1, description="weight of a `decayed` factor")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.decayed_multiplier > self.warning_multiplier:
            raise ValueError(
                f"decayed_multiplier {self.decayed_multiplier} is above "
                f"warning_multiplier {self.warning_multiplier}; a worse verdict may not weigh more"
            )
        return self


class BookSettings(Group):
    """The factors alive in a market."""

    min_healthy: Positive = Field(
        default=1,
        description="fewest healthy factors; below it the book is re-mined and `degraded`",
    )
    max_live: Positive = Field(default=12, description="most live factors")
    shadow_min: Positive = Field(
        default=20, description="fewest sessions a factor stays in `shadow`"
    )
    shadow_max: Positive = Field(
        default=250, description="most sessions a factor stays in `shadow`"
    )
    cooldown_sessions: int = Field(
        default=42, ge=0, description="fewest sessions between two re-minings"
    )
    revival_sessions: int = Field(
        default=504, ge=0, description="sessions a retired factor is measured on, should it recover"
    )
    approval: bool = Field(
        default=False,
        description="whether a factor that has won in `shadow` goes live only once a person has "
        "approved it: `alphad approve`",
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for low, high in (("shadow_min", "shadow_max"), ("min_healthy", "max_live")):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(
                    f"{low} {getattr(self, low)} is above {high} {getattr(self, high)}; "
                    f"lower {low} or raise {high}"
                )
        return self


class MarketSettings(Group):
    """One market."""

    calendar: str = Field(
        default="XNYS", min_length=1, description="exchange code of the calendar (XNYS, XSHG, …)"
    )
    feed: FeedSettings = Field(default_factory=FeedSettings)
    membership: Path | None = Field(
        default=None,
        description="CSV or Parquet of constituent spells; without it every asset takes part",
    )
    universe: UniverseSettings = Field(default_factory=UniverseSettings)
    seed_book: str = Field(
        default="us",
        min_length=1,
        description="declared factors to start from: a book's name or a path",
    )
    label: LabelSettings = Field(default_factory=LabelSettings)
    ingest: IngestSettings = Field(default_factory=IngestSettings)
    gate: GateSettings = Field(default_factory=GateSettings)
    monitor: MonitorSettings = Field(default_factory=MonitorSettings)
    blend: BlendSettings = Field(default_factory=BlendSettings)
    book: BookSettings = Field(default_factory=BookSettings)
    mining: MiningSettings = Field(default_factory=MiningSettings)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        blocks = self.mining.valid_sessions // block_length(
            self.mining.valid_sessions, self.label.horizon
        )
        if self.mining.enabled and (blocks < MIN_BLOCKS or 2.0**-blocks > self.mining.alpha):
            raise ValueError(
                f"mining.valid_sessions {self.mining.valid_sessions} are {blocks} independent "
                f"blocks of labels of {self.label.horizon} sessions, which can prove nothing; "
                "raise it (15 blocks or more tell well), or set mining.enabled = false"
            )
        if self.feed.kind == "simulated" and self.feed.assets < self.ingest.min_assets:
            raise ValueError(
                f"feed.assets {self.feed.assets} is below ingest.min_assets "
                f"{self.ingest.min_assets}; no session could ever be ingested"
            )
        if self.feed.kind == "simulated" and self.membership is not None:
            raise ValueError("membership has no meaning for a simulated feed; remove it")
        if self.feed.kind not in LIVE_KINDS and self.gate != GateSettings():
            raise ValueError("gate is for a live feed; remove it")
        if self.universe.index == "none":
            if self.feed.kind in LIVE_KINDS and self.membership is None:
                raise ValueError(
                    f"nobody knows which assets to ask {self.feed.kind} for; "
                    "set universe.index, or membership to a file"
                )
        elif self.membership is not None or self.feed.kind not in LIVE_KINDS:
            raise ValueError(
                "universe.index is for a live feed without a file `membership`; keep one of them"
            )
        return self


class Settings(BaseSettings):
    """All settings. Made by `load_settings`; the class itself reads no file and no environment."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        hide_input_in_errors=True,  # it may be a secret
        env_prefix=PREFIX,
        env_nested_delimiter="__",
    )

    state_dir: Path = Field(
        default=Path("out/state"), description="folder of all state; one daemon each"
    )
    publish_dir: Path = Field(
        default=Path("out/published"), description="folder of published signals"
    )
    database_url: str | None = Field(
        default=None, description="PostgreSQL or SQLite URL; without it SQLite in state_dir"
    )
    calendar_overlay: Path | None = Field(
        default=None, description="TOML of added and removed sessions, in place of the packaged one"
    )
    tick_seconds: int = Field(
        default=30, ge=1, le=3600, description="seconds between two reconcile runs"
    )
    stall_seconds: int = Field(
        default=600,
        ge=1,
        le=86_400,
        description="seconds, beyond tick_seconds, without any sign that a market gets on, after "
        "which the daemon counts as stuck and is left to be restarted",
    )
    web: WebSettings = Field(default_factory=WebSettings)
    llm: LlmSettings = Field(default_factory=LlmSettings)
    notify: NotifySettings = Field(default_factory=NotifySettings)
    housekeeping: HousekeepingSettings = Field(default_factory=HousekeepingSettings)
    disk: DiskSettings = Field(default_factory=DiskSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    test: FaultSettings = Field(default_factory=FaultSettings)
    markets: dict[MarketName, MarketSettings] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.state_dir.absolute() == self.publish_dir.absolute():
            raise ValueError(
                f"state_dir and publish_dir are both {self.state_dir}; "
                "signals are published outside the state, give two folders"
            )
        for name, market in self.markets.items():
            feed = market.feed
            silent = (feed.pace_seconds or _PACE_SECONDS) * (1.0 + _JITTER) + feed.request_seconds
            if feed.kind in LIVE_KINDS and silent >= self.stall_seconds:
                raise ValueError(
                    f"markets.{name}.feed may be without an answer for {silent:g} seconds "
                    "(pace_seconds, a quarter more at times, and request_seconds), and after "
                    f"stall_seconds {self.stall_seconds} it would count as stuck; "
                    "lower feed.pace_seconds or feed.request_seconds, or raise stall_seconds"
                )
        return self

    @classmethod
    def settings_customise_sources(  # noqa: D102  the sources are composed in load_settings
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    def market(self, name: str) -> MarketSettings:
        """Return the settings of market `name`; a ConfigError names those there are."""
        if name not in self.markets:
            raise ConfigError(
                f"market {name!r} is not configured",
                rule=f"a market has a table [markets.<name>]; there are: {listed(self.markets)}",
                hint=nearest(name, self.markets) or f"add [markets.{name}] to the settings file",
            )
        return self.markets[name]


class _Environment(EnvSettingsSource):
    """The environment that was passed in, read by pydantic-settings' own rules."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._environ.items()}


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Return the settings of a file and an environment.

    Parameters
    ----------
    path : Path or None
        TOML file; None takes the file named by `ALPHAD_CONFIG`, or none at all.
    environ : mapping of str to str
        The environment; only names beginning with `ALPHAD_` are looked at. `ALPHAD_CREDENTIALS`
        names a folder of files that count as such names.

    Raises
    ------
    ConfigError
        The file is missing or no TOML; a key or `ALPHAD_` name is unknown (the nearest is named);
        a value is out of its range; two values contradict each other.
    """
    environ = with_credentials(environ)
    if path is None and environ.get(FILE_VARIABLE):
        path = Path(environ[FILE_VARIABLE])
    ours = {
        name: value
        for name, value in environ.items()
        if name.upper().startswith(PREFIX) and name.upper() != FILE_VARIABLE
    }
    for name in sorted(ours):
        top = name[len(PREFIX) :].lower().split("__")[0]
        if top not in Settings.model_fields:
            known = {PREFIX + field.upper(): None for field in Settings.model_fields}
            raise ConfigError(
                f"environment variable {name} is no setting",
                rule=f"names beginning with {PREFIX} must be settings: {listed(known)}",
                hint=nearest(PREFIX + top.upper(), known) or f"unset {name}",
            )
    stated = read_toml(path) if path is not None else {}
    _refuse_keys(stated, path)
    try:
        values = _merged(stated, _Environment(ours)())
    except SettingsError as exc:
        raise ConfigError(
            f"the environment cannot be read: {exc}",
            rule="a group of settings given whole is JSON",
            hint=f"set its parts, as in {PREFIX}WEB__PORT=9464",
        ) from exc
    settings = build_settings(values, path)
    REDACTOR.learn(settings)  # before anything can say them
    return settings


def build_settings(values: Mapping[str, Any], path: Path | None = None) -> Settings:
    """Return the settings that nested plain values make; ConfigError names what is wrong."""
    try:
        return Settings(**values)
    except ValidationError as exc:
        raise settings_refusal(exc, Settings, path) from exc


def settings_toml(settings: Settings) -> str:
    """Return what `load_settings` reads back as the same settings."""
    # TOML has no null: what is None is what the settings default to
    return tomli_w.dumps(json.loads(settings.model_dump_json(exclude_defaults=True)))


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file; ConfigError when it is missing or malformed."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigError(
            f"{path} cannot be read: {exc.strerror}",
            rule="a settings file that is named must be there",
            hint="check the path and its permissions",
        ) from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(
            f"{path} is no TOML: {exc}",
            rule="settings are TOML in UTF-8 and every key stands once",
            hint="correct the line named",
        ) from exc


def config_hash(settings: Settings | MarketSettings, zoo: bytes | None = None) -> str:
    """Return the sha256 of everything that can change a result: no paths, hosts or ticks.

    Parameters
    ----------
    zoo : bytes, optional
        What the market's own zoo says, where it has been read already.
    """
    if isinstance(settings, Settings):
        stated = {name: _relevant(market) for name, market in settings.markets.items()}
    else:
        stated = _relevant(settings, zoo)
    text = json.dumps(stated, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _relevant(market: MarketSettings, read: bytes | None = None) -> dict[str, Any]:
    stated = market.model_dump(
        mode="json",
        exclude={
            "membership": True,
            "feed": {"path", *HOW_TO_ASK},
            "mining": {"deadline_seconds", "cluster"},
        },
    )
    if market.feed.fallback == "none":
        del stated["feed"]["fallback"]  # as if there were no such setting
    if market.gate == GateSettings():
        del stated["gate"]
    if not market.book.approval:
        del stated["book"]["approval"]  # as if there were no such setting
    if market.universe == UniverseSettings():
        del stated["universe"]  # as if the group were not there
    else:
        del stated["universe"]["overrides"]  # a path; what it does is seen in the membership
    zoo = market.mining.zoo
    if zoo is not None and zoo.is_file():
        text = zoo.read_bytes() if read is None else read
        stated["mining"]["zoo"] = hashlib.sha256(text).hexdigest()
    book = Path(market.seed_book)
    if book.is_file():  # what it says counts, not where it lies
        stated["seed_book"] = hashlib.sha256(book.read_bytes()).hexdigest()
    return stated


def _refuse_keys(stated: Mapping[str, Any], path: Path | None) -> None:
    """Refuse a key that stands in a file."""
    web = stated.get("web")
    if isinstance(web, Mapping) and "token" in web:
        raise ConfigError(
            f"web.token stands in {path}",
            rule="a token comes from the environment only",
            hint=f"remove it, and set {PREFIX}WEB__TOKEN",
        )
    notify = stated.get("notify")
    for name in ("channels", "dead_man_url"):
        if isinstance(notify, Mapping) and name in notify:
            raise ConfigError(
                f"notify.{name} stands in {path}",
                rule="an address holds a password: it comes from the environment, or from a file "
                "that only its owner may read",
                hint=f"remove it, and set {PREFIX}NOTIFY__{name.upper()}, or notify.urls_file",
            )
    markets = stated.get("markets")
    for name, market in markets.items() if isinstance(markets, Mapping) else ():
        feed = market.get("feed") if isinstance(market, Mapping) else None
        if isinstance(feed, Mapping) and "api_key" in feed:
            raise ConfigError(
                f"markets.{name}.feed.api_key stands in {path}",
                rule="a key comes from the environment only",
                hint=f"remove it, and set {PREFIX}MARKETS__{name.upper()}__FEED__API_KEY",
            )


def _merged(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Return `low` overlaid by `high`, tables merged key by key."""
    result = dict(low)
    for key, value in high.items():
        below = result.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            result[key] = _merged(below, value)
        else:
            result[key] = value
    return result
