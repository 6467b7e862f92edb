"""Detectors put before a judge: false alarms, delays, and one score beside an oracle's."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from bench.detectors import Family, Maker
from bench.ic_simulation import SCENARIOS, simulated
from signals.errors import ConfigError

#: Live sessions before the latest onset.
LATEST_ONSET = 400
#: Healthy paths on which the oracle's threshold is set.
ORACLE_PATHS = 1500


def scorer_path() -> Path:
    """Return where the scorer lies beside the repository."""
    return Path(__file__).resolve().parents[2] / "shared" / "reference" / "score_detector.py"


def load_scorer(path: Path) -> ModuleType:
    """Return the scorer, imported from where it lies; a ConfigError where it is absent."""
    spec = importlib.util.spec_from_file_location("score_detector", path)
    if spec is None or spec.loader is None or not path.exists():
        raise ConfigError(
            f"there is no scorer at {path}",
            rule="detectors are judged by score_detector.py, which is no part of the repository",
            hint="name its path with --scorer",
        )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Court:
    """A simulator, with the scorer that counts on its paths.

    Parameters
    ----------
    name : str
        As printed.
    scorer : module
        `score_detector.py`.
    generate : callable
        (scenario, paths, horizon, seed, sessions) to paths in the scorer's form.
    scenarios : tuple of str
        Fades of the simulator.
    """

    name: str
    scorer: Any
    generate: Callable[[str, int, int, int, int], dict[str, Any]]
    scenarios: tuple[str, ...]


def courts(scorer: Any) -> tuple[Court, Court]:
    """Return the scorer's own simulator and ours."""
    return (
        Court("score_detector.py", scorer, scorer.gen, tuple(scorer.SCN)),
        Court("bench.ic_simulation", scorer, simulated, SCENARIOS),
    )


@dataclass(frozen=True)
class Row:
    """What a detector did: false alarms a factor-year, delays by scenario, the score.

    Parameters
    ----------
    name, kind, setting : str
        Detector; ours, default or calibrated; the number it was set to.
    """

    name: str
    kind: str
    setting: str
    false_alarms: float
    delays: Mapping[str, tuple[float, float]]
    score: float


@dataclass
class Hearing:
    """One court at one horizon: the paths are drawn once, for every detector."""

    court: Court
    horizon: int
    seed: int
    n: int
    n_healthy: int
    oracle: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        scorer, seed = self.court.scorer, self.seed
        self.life = int(scorer.LIFE)
        self.after = int(scorer.TPOST)
        self.healthy = self._drawn("healthy", self.n_healthy, seed, self.life)
        self.fading = {
            name: self._drawn(name, self.n, seed, LATEST_ONSET + self.after)
            for name in self.court.scenarios
        }
        # no threshold is set on the paths it is used on
        self.training = self._drawn("healthy", self.n_healthy, seed + 1, self.life)
        level = scorer.oracle_thr(self._drawn("healthy", ORACLE_PATHS, seed + 1, self.life))
        for name, paths in self.fading.items():
            self.oracle[name] = self._oracle_delays(paths, level)

    def _drawn(self, scenario: str, n: int, seed: int, sessions: int) -> dict[str, Any]:
        return self.court.generate(scenario, n, self.horizon, seed, sessions)

    def _oracle_delays(self, paths: dict[str, Any], level: float) -> Any:
        """Return the delays of an oracle that knows mean, variance and law of the noise."""
        found = []
        for path, onset in zip(
            self.court.scorer.oracle_stat(paths) >= level, paths["tau"], strict=True
        ):
            seen = path[: onset + self.after]
            if not seen[:onset].any():
                found.append(seen.argmax() - onset + 1 if seen.any() else math.inf)
        return np.array(found)

    def false_alarms(self, maker: Maker, *, training: bool = False) -> float:
        """Return false alarms a factor-year."""
        paths = self.training if training else self.healthy
        return float(self.court.scorer.false_alarms(maker, paths)[0])

    def calibrated(self, family: Family, rate: float) -> float:
        """Return the number at which a family has this rate, by bisection on paths of their own.

        One that never has it gives its most eager number.
        """
        calm, eager = family.calm, family.eager
        for _ in range(12):
            middle = (calm + eager) / 2
            if self.false_alarms(family.made(middle), training=True) > rate:
                eager = middle
            else:
                calm = middle
        return calm

    def row(self, name: str, maker: Maker, kind: str, setting: str) -> Row:
        """Return what a detector did; the score is the scorer's: 1 as fast as the oracle.

        The geometric mean of oracle / detector over the medians and 90 % points of all scenarios,
        cut by the square of the excess where false alarms are above 1.15 budgets.
        """
        scorer, rate = self.court.scorer, self.false_alarms(maker)
        delays, ratios = {}, []
        for scenario, paths in self.fading.items():
            found, _ = scorer.delays(maker, paths)
            if not len(found):
                delays[scenario] = (math.nan, math.nan)
                continue
            delays[scenario] = tuple(np.quantile(found, [0.5, 0.9], method="lower").tolist())
            capped, best = (
                np.minimum(values, self.after) for values in (found, self.oracle[scenario])
            )
            ratios += [np.quantile(best, q) / np.quantile(capped, q) for q in (0.5, 0.9)]
        excess = min(1.0, (scorer.BUDGET * 1.15 / max(rate, 1e-9)) ** 2)
        score = math.exp(float(np.mean(np.log(ratios)))) * excess if ratios else 0.0
        return Row(name, kind, setting, rate, delays, score)

    def rows(
        self, makers: Mapping[str, Maker], families: Sequence[Family], say: Callable[[str], None]
    ) -> list[Row]:
        """Return a row for each of `makers`, for each family at its default, and calibrated.

        Calibrated to the rate of false alarms of the first of `makers`.
        """
        found = []
        for name, maker in makers.items():
            say(name)
            found.append(self.row(name, maker, "ours", ""))
        first = next(iter(makers.values()))
        rate = self.false_alarms(first, training=True)
        for family in families:
            say(family.name)
            number = self.calibrated(family, rate)
            for kind, value in (("default", family.default), ("calibrated", number)):
                eager = abs(value - family.eager) < 0.001 * abs(family.eager - family.calm)
                setting = f"{'most eager' if eager else kind} {value:.3g}"
                found.append(self.row(family.name, family.made(value), kind, setting))
        return found
