"""`python -m bench.portfolio`: our portfolio beside qlib's own backtest, on the same scores.

Needs pyqlib (extra `bench`); writes a small market in qlib's format into a temporary folder and
lets qlib's strategy, exchange and account live through it. Prices are single precision, as qlib
stores them, so that both see the same numbers.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from signals.panel import FloatArray
from signals.performance import QLIB_YEAR, performance
from signals.portfolio import PortfolioRule, simulate

#: Largest relative difference of a session's value.
BAR = 1e-9


def main(arguments: list[str] | None = None) -> int:
    """Print the largest difference of each seed; 1 where one is above the bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--assets", type=int, default=200)
    options = parser.parse_args(arguments)
    try:
        import qlib
    except ImportError:
        print("pyqlib is not installed: make peers, then .venv-bench/bin/python -m bench.portfolio")
        return 1
    worst = 0.0
    for seed in range(1, options.seeds + 1):
        score, price = market(seed, options.sessions, options.assets)
        rule = PortfolioRule(top_k=50, drop=5)
        closed = limits(price)
        ours = simulate(score, price, rule, unbuyable=closed, unsellable=closed)
        theirs = by_qlib(score, price, rule)
        gap = float(np.abs(ours.value[1:] / theirs["account"].to_numpy() - 1.0).max())
        cost = float(np.abs(ours.cost[1:] - theirs["cost"].to_numpy()).max())
        turn = float(np.abs(ours.turnover[1:] - theirs["turnover"].to_numpy()).max())
        ratio = qlib_ratio(theirs["return"] - theirs["cost"])
        mine = performance(ours.net[1:], year=QLIB_YEAR).information_ratio
        print(
            f"seed {seed}: {len(ours.trades.session)} trades; largest difference of a session's "
            f"value {gap:.1e}, cost {cost:.1e}, turnover {turn:.1e}; IR {mine:.6f} and {ratio:.6f}"
        )
        worst = max(worst, gap, cost, turn, abs(mine - ratio))
    print(f"pyqlib {qlib.__version__}; bar {BAR:g}: {'met' if worst <= BAR else 'missed'}")
    return int(worst > BAR)


def market(seed: int, n_sessions: int, n_assets: int) -> tuple[FloatArray, FloatArray]:
    """Return scores and prices with fat tails, suspensions and names that disappear."""
    rng = np.random.default_rng(seed)
    moves = np.clip(0.02 * rng.standard_t(4, (n_sessions, n_assets)), -0.15, 0.15)
    price = (20.0 * np.exp(moves.cumsum(axis=0))).astype(np.float32).astype(np.float64)
    price[rng.random(price.shape) < 0.01] = np.nan
    price[n_sessions // 2 :, : n_assets // 20] = np.nan
    return rng.normal(size=price.shape), price


def limits(price: FloatArray) -> Any:
    """Return where a close is at its limit by qlib's rule: 9.5 % from the close before."""
    change = pd.DataFrame(price).pct_change(fill_method=None).to_numpy(np.float32)
    with np.errstate(invalid="ignore"):
        return np.abs(change) >= np.float32(0.095)


def by_qlib(score: FloatArray, price: FloatArray, rule: PortfolioRule) -> pd.DataFrame:
    """Return qlib's own account of the same market."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    import qlib
    from qlib.backtest import backtest

    days = pd.bdate_range("2015-01-01", periods=len(price))
    names = [f"SH{600000 + number}" for number in range(price.shape[1])]
    with tempfile.TemporaryDirectory() as folder:
        write_provider(Path(folder), days, names, price)
        qlib.init(provider_uri=folder, region="cn", kernels=1, clear_mem_cache=True)
        signal = pd.DataFrame(score, index=days, columns=names).stack().rename("score")
        signal.index.names = ["datetime", "instrument"]
        report, _ = backtest(
            start_time=days[1],
            end_time=days[-1],
            strategy={
                "class": "TopkDropoutStrategy",
                "module_path": "qlib.contrib.strategy",
                "kwargs": {"signal": signal, "topk": rule.top_k, "n_drop": rule.drop},
            },
            executor={
                "class": "SimulatorExecutor",
                "module_path": "qlib.backtest.executor",
                "kwargs": {"time_per_step": "day", "generate_portfolio_metrics": True},
            },
            account=rule.capital,
            benchmark=pd.Series(0.0, index=days),
            exchange_kwargs={
                "freq": "day",
                "deal_price": "close",
                "limit_threshold": 0.095,
                "open_cost": rule.buy_cost_bps * 1e-4,
                "close_cost": rule.sell_cost_bps * 1e-4,
                "min_cost": rule.min_cost,
                "trade_unit": None,
            },
        )
    found: pd.DataFrame = report["1day"][0]
    return found


def qlib_ratio(returns: Any) -> float:
    """Return qlib's own information ratio."""
    from qlib.contrib.evaluate import risk_analysis

    return float(risk_analysis(returns, freq="day").loc["information_ratio", "risk"])


def write_provider(folder: Path, days: Any, names: list[str], price: FloatArray) -> None:
    """Write a market in qlib's binary format: calendar, instruments, one file a field."""
    (folder / "calendars").mkdir()
    (folder / "instruments").mkdir()
    # one day beyond: qlib asks for the session after the last
    beyond = [*days, days[-1] + pd.offsets.BDay()]
    lines = "\n".join(day.strftime("%Y-%m-%d") for day in beyond)
    (folder / "calendars" / "day.txt").write_text(lines + "\n")
    span = f"{days[0]:%Y-%m-%d}\t{beyond[-1]:%Y-%m-%d}"
    everyone = "\n".join(f"{name}\t{span}" for name in names)
    (folder / "instruments" / "all.txt").write_text(everyone + "\n")
    change = pd.DataFrame(price).pct_change(fill_method=None).to_numpy()
    for number, name in enumerate(names):
        home = folder / "features" / name.lower()
        home.mkdir(parents=True)
        ones = np.ones(len(price))
        columns = {"close": price[:, number], "change": change[:, number]}
        columns |= {"open": price[:, number], "factor": ones, "volume": ones * 1e12}
        for field, values in columns.items():
            stored = np.concatenate([[0.0], values]).astype("<f4")
            stored.tofile(home / f"{field}.day.bin")


if __name__ == "__main__":
    sys.exit(main())
