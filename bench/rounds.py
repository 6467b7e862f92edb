"""Timing engines in turn: each in its own process, one after the other within a round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from bench.peers import PEERS
from bench.processes import Child, ChildError
from bench.workload import GROUPS, TASKS

Batch = tuple[str, ...]

#: Seconds of its first round above which an engine takes part in fewer rounds.
SLOW = 45.0


@dataclass
class Timed:
    """What was measured of one engine.

    Parameters
    ----------
    key, name, about : str
        See `bench.peers`.
    refused : dict of str to str
        Why an expression is not supported.
    wall : dict of tuple of str to list of float
        Seconds of each round, by the names that were run together, with every core allowed.
    cpu : dict of str to list of float
        CPU seconds of each round, by name, one expression at a time in a process with one thread.
    compiled : dict of tuple of str to float
        Seconds of compilation, where there is any.
    round_s : float
        Seconds of its first round.
    whole : bool
        See `bench.peers.base.Engine`.
    """

    key: str
    name: str
    about: str
    refused: dict[str, str]
    wall: dict[Batch, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)
    compiled: dict[Batch, float] = field(default_factory=dict)
    round_s: float = 0.0
    whole: bool = False

    @property
    def supported(self) -> Batch:
        """The expressions it computes."""
        return tuple(task.name for task in TASKS if task.name not in self.refused)

    def part(self, group: str | None) -> Batch:
        """Return those of one group, of all groups for None."""
        wanted = {task.name for task in TASKS if group in {None, task.group}}
        return tuple(name for name in self.supported if name in wanted)

    def wall_of(self, names: Batch) -> float:
        """Return the median wall time of a batch."""
        return statistics.median(self.wall[names])

    def cpu_of(self, name: str) -> float:
        """Return the median CPU time of an expression."""
        return statistics.median(self.cpu[name])


@dataclass(frozen=True)
class Plan:
    """How engines are timed.

    Parameters
    ----------
    folder : Path
        Holds the panels; children may write there.
    panel : str
        Which panel.
    threads : int
        Cores allowed for wall times.
    rounds, slow_rounds : int
        Rounds of fast and of slow engines.
    environment : dict of str to str
        For every child.
    say : callable of str
        Told what is being done.
    """

    folder: Path
    panel: str
    threads: int
    rounds: int
    slow_rounds: int
    environment: dict[str, str]
    say: Callable[[str], None]

    def child(self, key: str, threads: int, **more: str) -> Child:
        """Start an engine."""
        return Child(
            "bench.child",
            key,
            str(threads),
            str(self.folder),
            threads=threads,
            log=self.folder / f"{key}.log",
            environment=self.environment | more,
        )


def missing(keys: Iterable[str]) -> dict[str, str]:
    """Return by engine which distribution it needs that is not installed."""
    peers = {key: PEERS[key] for key in keys}
    return {
        key: peer.distribution
        for key, peer in peers.items()
        if peer.requires and find_spec(peer.requires) is None
    }


@dataclass(frozen=True)
class FirstCalls:
    """Seconds from text to values, the panel loaded, by what the process has done before.

    Parameters
    ----------
    start : float
        From the start of the process until libraries and panel are loaded.
    parse : float
        Reading the text of all expressions in a fresh process.
    cold_first, cold_all : float
        First expression and all of them, one after the other, where every kernel must be compiled.
    first, singly, batch : float
        The same in a fresh process with the kernels on disk; and all in one call.
    running_singly, running_batch : float
        The same in a process that has run the kernels on other expressions, as a search has.
    """

    start: float
    parse: float
    cold_first: float
    cold_all: float
    first: float
    singly: float
    batch: float
    running_singly: float
    running_batch: float


def first_calls(plan: Plan) -> FirstCalls:
    """Time our engine in fresh processes; leaves the kernels in the cache of `plan`."""

    def fresh(*, batch: bool) -> tuple[float, float, list[float], float]:
        begun = time.perf_counter()
        child = plan.child("ours", plan.threads)
        try:
            said = child.ask("load", panel=plan.panel)
            start = time.perf_counter() - begun
            names = [task.name for task in TASKS if task.name not in said["refused"]]
            batches = [names] if batch else [[name] for name in names]
            child.ask("prepare", batches=batches)
            wall = child.ask("time", batches=batches)["wall"]
            # what is kept between calls is kernels and memory, never values
            again = child.ask("parse")["parse"] + sum(child.ask("time", batches=batches)["wall"])
            return start, said["parse"], wall, again
        finally:
            child.close()

    plan.say("ours in a fresh process, every kernel to be compiled")
    _, parse, cold, _ = fresh(batch=False)
    plan.say("ours in fresh processes, kernels on disk")
    fresh(batch=True)  # in case the threads of a batch need more kernels
    ones = [fresh(batch=False) for _ in range(plan.rounds)]
    batches = [fresh(batch=True) for _ in range(plan.rounds)]
    median = statistics.median
    return FirstCalls(
        start=median(start for start, *_ in ones),
        parse=median(seconds for _, seconds, *_ in ones),
        cold_first=parse + cold[0],
        cold_all=parse + sum(cold),
        first=median(seconds + each[0] for _, seconds, each, _ in ones),
        singly=median(seconds + sum(each) for _, seconds, each, _ in ones),
        batch=median(seconds + each[0] for _, seconds, each, _ in batches),
        running_singly=median(again for *_, again in ones),
        running_batch=median(again for *_, again in batches),
    )


def time_kunquant_singly(plan: Plan) -> tuple[float, float]:
    """Return the seconds of compiling each expression on its own, and of running each once."""
    plan.say("KunQuant: compiling the expressions one by one")
    child = plan.child("kunquant", plan.threads)
    try:
        said = child.ask("load", panel=plan.panel)
        names = [[task.name] for task in TASKS if task.name not in said["refused"]]
        compiled = child.ask("prepare", batches=names)["compiled"]
        return sum(compiled), sum(child.ask("time", batches=names)["wall"])
    finally:
        child.close()


def time_engines(keys: Sequence[str], plan: Plan) -> tuple[dict[str, Timed], dict[str, str]]:
    """Time every engine: wall with all cores, then CPU with one thread.

    Returns
    -------
    tuple of dict
        What was measured, and by engine why it was left out.
    """
    engines: dict[str, Timed] = {}
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        children = _start(keys, plan, plan.threads, stack, engines, failed)
        wanted = {key: _batches(key, engines) for key in engines}
        for key, child in list(children.items()):
            plan.say(f"{engines[key].name}: compiling and a first pass")
            try:
                _first(child, engines[key], wanted[key])
            except ChildError as error:
                failed[key] = str(error)
                del children[key], engines[key]
        for number, key in _turns(engines, plan):
            plan.say(f"wall, round {number + 1} of {plan.rounds}: {engines[key].name}")
            batches = wanted[key]
            seconds = children[key].ask("time", batches=batches)["wall"]
            engines[key].round_s = engines[key].round_s or sum(seconds)
            for names, one in zip(batches, seconds, strict=True):
                engines[key].wall.setdefault(names, []).append(one)
    with ExitStack() as stack:
        children = _start(list(engines), plan, 1, stack, {}, failed)
        for key, child in children.items():
            plan.say(f"{engines[key].name}: a first pass with one thread")
            singles = [(name,) for name in engines[key].supported]
            child.ask("prepare", batches=singles)
            child.ask("time", batches=singles if engines[key].whole else singles[:4])
        for number, key in _turns(engines, plan):
            plan.say(f"CPU, round {number + 1} of {plan.rounds}: {engines[key].name}")
            singles = [(name,) for name in engines[key].supported]
            seconds = children[key].ask("time", batches=singles)["cpu"]
            for (name,), one in zip(singles, seconds, strict=True):
                engines[key].cpu.setdefault(name, []).append(one)
    return engines, failed


def _start(
    keys: Sequence[str],
    plan: Plan,
    threads: int,
    stack: ExitStack,
    engines: dict[str, Timed],
    failed: dict[str, str],
) -> dict[str, Child]:
    children = {}
    for key in keys:
        plan.say(f"starting {key}")
        child = plan.child(key, threads)
        stack.callback(child.close)
        try:
            said = child.ask("load", panel=plan.panel)
        except ChildError as error:
            failed[key] = str(error)
            continue
        children[key] = child
        engines[key] = Timed(key, said["name"], said["about"], said["refused"], whole=said["whole"])
    if "ours" in engines:  # nothing to compare with
        for engine in engines.values():
            engine.refused = engines["ours"].refused | engine.refused
    return children


def _batches(key: str, engines: dict[str, Timed]) -> list[Batch]:
    """Return what an engine runs in a round: all, each group; ours also the peers' subsets."""
    whose = engines.values() if key == "ours" else [engines[key]]
    batches = [engine.part(group) for engine in whose for group in (None, *GROUPS)]
    return list(dict.fromkeys(batch for batch in batches if batch))


def _first(child: Child, engine: Timed, batches: list[Batch]) -> None:
    compiled = child.ask("prepare", batches=batches)["compiled"]
    for names, seconds in zip(batches, compiled, strict=True):
        if seconds is not None:
            engine.compiled[names] = seconds
    # every kernel of ours and of KunQuant must have run once; others have nothing to compile
    child.ask("time", batches=batches[:1] if engine.whole else [engine.part(GROUPS[0])])


def _turns(engines: dict[str, Timed], plan: Plan) -> Iterable[tuple[int, str]]:
    """Yield (round, engine), the engines in turn; slow ones only in the first rounds."""
    for number in range(plan.rounds):
        for key, engine in engines.items():
            if number < plan.slow_rounds or engine.round_s < SLOW:
                yield number, key
