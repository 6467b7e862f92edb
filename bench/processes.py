"""Starting and asking the children of a benchmark."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

#: What libraries read to learn how many threads they may use.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
)


class ChildError(RuntimeError):
    """A child could not do what it was asked."""


class Child:
    """A module run in a process of its own and asked over a pipe.

    Parameters
    ----------
    module : str
        Run as `python -m module *arguments`.
    threads : int
        What the thread variables are set to.
    log : Path
        Where its standard error goes.
    environment : mapping of str to str
        Further variables.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        threads: int,
        log: Path,
        environment: Mapping[str, str],
    ) -> None:
        variables = dict.fromkeys(THREAD_VARIABLES, str(threads)) | dict(environment)
        self._log = log
        with log.open("a", encoding="utf-8") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env=os.environ | variables,
            )

    def ask(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Return the answer of `method`.

        Raises
        ------
        ChildError
            If it failed or died.
        """
        to: IO[str] | None = self._process.stdin
        answers: IO[str] | None = self._process.stdout
        assert to is not None  # noqa: S101
        assert answers is not None  # noqa: S101
        try:
            to.write(json.dumps([method, arguments]) + "\n")
            to.flush()
        except BrokenPipeError:
            raise ChildError(f"it ended: {self._last_words()}") from None
        line = answers.readline()
        if not line:
            raise ChildError(f"it ended: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ChildError(str(answer["error"]))
        return answer

    def close(self) -> None:
        """End it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "without a word"
