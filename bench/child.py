"""One engine in a process of its own, told over a pipe what to do.

`python -m bench.child ENGINE THREADS FOLDER` reads the panel from FOLDER, then answers each line of
JSON on its standard input with one on its standard output. What a library prints goes to stderr.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.peers import engine_class
from bench.peers.base import Engine
from bench.workload import load_fields, parsed

#: Cells of a panel above which engines that make new arrays compute a few expressions at a time.
LARGE = 4_000_000
#: How many.
IN_MEMORY = 8


class Served:
    """What a child answers.

    Parameters
    ----------
    key : str
        Of `bench.peers.PEERS`.
    threads : int
        It may use.
    folder : Path
        Panels are in `folder / name`.
    """

    def __init__(self, key: str, threads: int, folder: Path) -> None:
        self._key = key
        self._threads = threads
        self._folder = folder
        self._engine: Engine | None = None

    def _ready(self) -> Engine:
        assert self._engine is not None  # noqa: S101 - the parent asks for a panel first
        return self._engine

    def load(self, panel: str) -> dict[str, Any]:
        """Load a panel; return which expressions are not supported and why."""
        fields = load_fields(self._folder / panel)
        self._engine = None
        self._engine = engine_class(self._key)(fields, self._threads, self._folder)
        begun = time.perf_counter()
        read, _ = parsed()
        seconds = time.perf_counter() - begun
        self._engine.expressions.update(read)
        refused = {name: self._engine.unsupported(tree) for name, tree in read.items()}
        return {
            "name": self._engine.name,
            "about": self._engine.about,
            "parse": seconds,
            "whole": self._engine.whole,
            "refused": {name: why for name, why in refused.items() if why},
        }

    def parse(self) -> dict[str, Any]:
        """Read the expressions once more; return the seconds."""
        begun = time.perf_counter()
        parsed()
        return {"parse": time.perf_counter() - begun}

    def prepare(self, batches: list[list[str]]) -> dict[str, Any]:
        """Compile batches; return seconds, of those that were compiled now."""
        engine = self._ready()
        for names in batches:
            engine.prepare(names)
        compiled = getattr(engine, "compiled", {})
        return {"compiled": [compiled.get(tuple(names)) for names in batches]}

    def time(self, batches: list[list[str]]) -> dict[str, Any]:
        """Run each batch once; return its wall and CPU seconds."""
        engine = self._ready()
        wall, cpu = [], []
        for names in batches:
            gc.collect()
            large = engine.fields["close"].size > LARGE and not engine.whole
            step = IN_MEMORY if large else max(len(names), 1)
            cpu_begun, begun = time.process_time(), time.perf_counter()
            for start in range(0, len(names), step):
                engine.run(names[start : start + step])
            wall.append(time.perf_counter() - begun)
            cpu.append(time.process_time() - cpu_begun)
        return {"wall": wall, "cpu": cpu}

    def values(self, names: list[str], into: str) -> dict[str, Any]:
        """Run and save the values of each expression as `into`/NAME.npy."""
        engine = self._ready()
        folder = self._folder / into
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            engine.prepare([name])
            for one, array in engine.values(engine.run([name]), [name]).items():
                np.save(folder / f"{one}.npy", np.ascontiguousarray(array))
        return {}

    def memory(self) -> dict[str, Any]:
        """Return the largest resident size so far, in bytes."""
        return {"rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def serve(served: Any) -> None:
    """Answer until the input ends.

    A request is `[method, arguments]`, an answer `{...}` with `error` if it failed.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        method, arguments = json.loads(line)
        try:
            call: Callable[..., dict[str, Any]] = getattr(served, method)
            answer = call(**arguments)
        except Exception as error:  # noqa: BLE001 - the parent names the engine and goes on
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(Served(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
