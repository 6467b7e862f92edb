from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.settings import (
    FeedSettings,
    GateSettings,
    MarketSettings,
    Settings,
    UniverseSettings,
    build_settings,
    config_hash,
    load_settings,
    settings_toml,
)
from daemon.settings_table import describe_settings
from signals.errors import ConfigError

Refused = Callable[..., ConfigError]
US = "[markets.us]\ncalendar = 'XNYS'\n"


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """Load a settings text, expect a refusal, return it."""

    def load(text: str = "", **environ: str) -> ConfigError:
        file = tmp_path / "alphad.toml"
        file.write_text(text)
        with pytest.raises(ConfigError) as caught:
            load_settings(file, environ)
        assert caught.value.rule
        assert caught.value.hint
        return caught.value

    return load


def test_without_file_and_environment_all_is_default() -> None:
    """Nothing given is the defaults, and the process environment is not read."""
    assert load_settings(None, {}) == Settings()


def test_environment_wins_over_file(tmp_path: Path) -> None:
    """One environment name changes one key of a market; the file's other keys stay."""
    file = tmp_path / "alphad.toml"
    file.write_text(US + "label = { lag = 2, horizon = 3 }\n")
    settings = load_settings(file, {"ALPHAD_MARKETS__US__LABEL__HORIZON": "5", "HOME": "/"})
    assert (settings.markets["us"].label.lag, settings.markets["us"].label.horizon) == (2, 5)


def test_file_is_named_by_the_environment(tmp_path: Path) -> None:
    """ALPHAD_CONFIG names the settings file when no path is given."""
    file = tmp_path / "alphad.toml"
    file.write_text("tick_seconds = 5\n")
    assert load_settings(None, {"ALPHAD_CONFIG": str(file)}).tick_seconds == 5


def test_misspelt_environment_name_is_refused(refused: Refused) -> None:
    """A top-level typo, which pydantic-settings alone ignores, is refused with the nearest name."""
    error = refused(ALPHAD_STATE_DRI="x")
    assert "ALPHAD_STATE_DRI" in error.fact
    assert error.hint == "did you mean ALPHAD_STATE_DIR?"
    assert error.exit_code == 78


@pytest.mark.parametrize(
    ("text", "environ", "fact", "hint"),
    [
        (US + "calender = 'XNYS'", {}, "markets.us.calender", "did you mean calendar?"),
        ("stat_dir = 'x'", {}, "stat_dir", "did you mean state_dir?"),
        (US, {"ALPHAD_WEB__PROT": "1"}, "web.prot", "did you mean port?"),
        (US, {"ALPHAD_MARKETS__US__LABEL__LAGG": "1"}, "label.lagg", "did you mean lag?"),
    ],
)
def test_unknown_key_is_refused(
    refused: Refused, text: str, environ: dict[str, str], fact: str, hint: str
) -> None:
    """An unknown key at any depth is refused and the nearest known one is named."""
    error = refused(text, **environ)
    assert fact in error.fact
    assert error.hint == hint


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("[markets.us.feed]\nkind = 'parquet'", "no path"),
        ("[markets.us.feed]\nkind = 'simulated'\npath = 'x'", "path has no meaning"),
        ("[markets.us.feed]\nkind = 'parquet'\npath = 'x'\nseed = 1", "seed has no meaning"),
        ("[markets.us]\nmembership = 'x.csv'", "membership has no meaning"),
        ("[markets.us.feed]\nassets = 20", "feed.assets 20 is below ingest.min_assets 30"),
        ("[markets.us.book]\nshadow_min = 300", "shadow_min 300 is above shadow_max 250"),
        ("[markets.us.book]\nmin_healthy = 13", "min_healthy 13 is above max_live 12"),
        ("[markets.us.blend]\ndecayed_multiplier = 0.7", "decayed_multiplier 0.7 is above"),
        ("[markets.us.mining]\nrounds = 1\nbatch = 2", "finalists 12 is above rounds × batch = 2"),
        ("publish_dir = 'out/state'", "state_dir and publish_dir are both"),
    ],
)
def test_contradiction_is_refused(refused: Refused, text: str, fact: str) -> None:
    """Two settings that cannot both be meant are refused, and both are named."""
    assert fact in refused(text).fact


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("[markets.us.monitor]\nbaseline_sessions = 30", "baseline_sessions = 30"),
        ("[markets.us.label]\nhorizon = 0", "horizon = 0"),
        ("[markets.us.ingest]\nmin_coverage = 1.5", "min_coverage = 1.5"),
        ("[markets.us.mining]\nalpha = nan", "alpha = nan"),
        ("[markets.us.feed]\nkind = 'csv'", "kind = 'csv'"),
        ("[markets.US]", "markets.US"),
        ("web = 3", "web = 3"),
        ("tick_seconds = 5\ntick_seconds = 6", "no TOML"),
        ("tick_seconds = ", "no TOML"),
    ],
)
def test_value_out_of_range_is_refused(refused: Refused, text: str, fact: str) -> None:
    """A value outside its range or of another kind is refused, with key and value."""
    assert fact in refused(text).fact


YAHOO = "[markets.us]\ncalendar = 'XNYS'\nuniverse = { index = 'sp500' }\n[markets.us.feed]\n"


@pytest.mark.parametrize(
    ("text", "seconds"), [("pace_seconds = 1200", "1530"), ("request_seconds = 600", "603.125")]
)
def test_feed_so_slow_that_it_would_count_as_stuck_is_refused(
    refused: Refused, tmp_path: Path, text: str, seconds: str
) -> None:
    """A pause between two answers that is longer than stall_seconds would end every daemon."""
    error = refused(f"{YAHOO}kind = 'yahoo'\n{text}")
    assert f"markets.us.feed may be without an answer for {seconds} seconds" in error.fact
    assert "stall_seconds 600" in error.fact
    assert "raise stall_seconds" in error.hint
    file = tmp_path / "alphad.toml"
    file.write_text(f"stall_seconds = 1600\n{YAHOO}kind = 'yahoo'\n{text}")
    assert load_settings(file, {}).stall_seconds == 1600


def test_group_given_whole_must_be_json(refused: Refused) -> None:
    """Text that is no JSON for a whole group is a ConfigError too."""
    assert "markets" in refused(ALPHAD_MARKETS="{").fact


def test_missing_file_is_refused(tmp_path: Path) -> None:
    """A settings file that is named but absent is an error, not the defaults."""
    with pytest.raises(ConfigError, match=r"absent\.toml cannot be read"):
        load_settings(tmp_path / "absent.toml", {})


def test_settings_are_frozen() -> None:
    """Nobody changes a setting after the start."""
    with pytest.raises(ValueError, match="frozen"):
        Settings().tick_seconds = 3


def test_unknown_market_names_those_there_are() -> None:
    """Asking for a market that is not configured names the nearest."""
    settings = Settings(markets={"cn": MarketSettings(calendar="XSHG")})
    with pytest.raises(ConfigError, match="did you mean cn"):
        settings.market("cnn")


@pytest.mark.parametrize(("horizon", "fits"), [(1, True), (10, True), (21, False), (30, False)])
def test_a_validation_that_can_prove_nothing_is_refused(horizon: int, fits: bool) -> None:
    """Labels so long that no re-mining could ever accept anything are told at the start."""
    values = {"markets": {"us": {"label": {"horizon": horizon}}}}
    if fits:
        assert build_settings(values).markets["us"].label.horizon == horizon
        return
    with pytest.raises(ConfigError, match="prove nothing"):
        build_settings(values)
    values["markets"]["us"]["mining"] = {"valid_sessions": 700}
    assert build_settings(values).markets["us"].mining.valid_sessions == 700


def test_config_hash_knows_what_a_zoo_says_and_not_where_it_lies(tmp_path: Path) -> None:
    """The content counts; neither its path nor the cluster that searches does."""
    one, other = tmp_path / "one.toml", tmp_path / "other.toml"
    one.write_text("source = 'ours'")
    other.write_text("source = 'ours'")
    first = MarketSettings.model_validate({"mining": {"zoo": one}})
    second = MarketSettings.model_validate({"mining": {"zoo": other, "cluster": "tcp://host:1"}})
    assert config_hash(first) == config_hash(second) != config_hash(MarketSettings())
    before = config_hash(first)
    one.write_text("source = 'theirs'")
    assert config_hash(first) != before


def test_config_hash_ignores_places(tmp_path: Path) -> None:
    """Folders, files and hosts do not change the hash; what changes a result does."""
    here = MarketSettings(feed=FeedSettings(kind="parquet", path=tmp_path))
    there = MarketSettings(feed=FeedSettings(kind="parquet", path=tmp_path / "other"))
    assert config_hash(here) == config_hash(there) != config_hash(MarketSettings())
    moved = Settings(state_dir=tmp_path, markets={"us": here})
    assert config_hash(moved) == config_hash(Settings(markets={"us": there}))


def test_every_setting_is_described() -> None:
    """The table of settings has a meaning in every row and its environment name."""
    rows = [line.split(" | ") for line in describe_settings().splitlines()[2:]]
    assert all(row[-1].strip(" |") not in ("", "None") for row in rows)
    assert ["| `markets.<name>.label.lag`", "`ALPHAD_MARKETS__<NAME>__LABEL__LAG`"] in [
        row[:2] for row in rows
    ]


LIVE = "[markets.us]\ncalendar = 'XNYS'\nuniverse = { index = 'sp500' }\n"


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("feed = { kind = 'yahoo', fallback = 'baostock' }", "baostock does not stand behind"),
        ("feed = { kind = 'akshare', fallback = 'tiingo' }", "tiingo does not stand behind"),
        ("feed = { kind = 'yahoo', fallback = 'stooq' }", "fallback = 'stooq'"),
    ],
)
def test_a_fallback_stands_behind_its_own_provider(refused: Refused, text: str, fact: str) -> None:
    """Tiingo is there for Yahoo, baostock for akshare."""
    assert fact in refused(LIVE + text).fact


def test_a_key_in_a_file_is_refused(refused: Refused) -> None:
    """It comes from the environment; the name is told, and the key is not."""
    error = refused(LIVE + "feed = { kind = 'yahoo', fallback = 'tiingo', api_key = 'secret' }")
    assert "ALPHAD_MARKETS__US__FEED__API_KEY" in error.hint
    assert "secret" not in str(error)


def test_a_key_stands_in_no_dump(tmp_path: Path) -> None:
    """Neither the settings that are written back nor the text of the object hold it."""
    file = tmp_path / "alphad.toml"
    file.write_text(LIVE + "feed = { kind = 'yahoo', fallback = 'tiingo' }")
    settings = load_settings(file, {"ALPHAD_MARKETS__US__FEED__API_KEY": "secret"})
    key = settings.markets["us"].feed.api_key
    assert key is not None
    assert key.get_secret_value() == "secret"
    assert "secret" not in settings_toml(settings) + repr(settings)


def test_a_key_without_a_fallback_is_refused(refused: Refused) -> None:
    """What would never be used is not silently kept."""
    error = refused(LIVE + "feed = { kind = 'yahoo' }", ALPHAD_MARKETS__US__FEED__API_KEY="x")
    assert "api_key has no meaning" in error.fact


def test_a_gate_is_of_a_live_feed(refused: Refused) -> None:
    """A file passes another gate, which these limits do not concern."""
    assert "gate is for a live feed" in refused(US + "gate = { max_jump = 1.0 }").fact


def test_the_gate_and_the_fallback_change_results_and_their_defaults_do_not() -> None:
    """The hash is another where a limit or a second source is, and else what it was without."""
    index = UniverseSettings(index="sp500")
    plain = MarketSettings(feed=FeedSettings(kind="yahoo"), universe=index)
    behind = MarketSettings(feed=FeedSettings(kind="yahoo", fallback="tiingo"), universe=index)
    gated = plain.model_copy(update={"gate": GateSettings(max_jump=1.0)})
    assert len({config_hash(each) for each in (plain, behind, gated)}) == 3
