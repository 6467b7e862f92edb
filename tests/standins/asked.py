"""The providers' own client libraries, unmodified, in a process that has only the environment.

`python -m tests.standins.asked FOLDER` reads one question a line and answers each with a line, so
that a library is imported once for many tests.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast


class Asked:
    """A process in which `yfinance`, `akshare` and `requests` are called.

    Parameters
    ----------
    environment : mapping of str to str
        Added to this process's own.
    folder : Path
        Where a library may keep its caches.
    """

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._command = (sys.executable, "-m", "tests.standins.asked", str(folder))
        self._environment = {**os.environ, **environment, "TQDM_DISABLE": "1"}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, function: str, *names: str, **options: Any) -> Any:
        """Return what a function returns, or the name of the exception it raises.

        Parameters
        ----------
        function : str
            "history" is `yfinance.Ticker.history`, "download" `yfinance.download`, "get"
            `requests.get`; any other name is akshare's.
        """
        question = json.dumps([function, names, options]) + "\n"
        cast("IO[bytes]", self._process.stdin).write(question.encode())
        cast("IO[bytes]", self._process.stdin).flush()
        line = cast("IO[bytes]", self._process.stdout).readline()
        return pickle.loads(base64.b64decode(line))  # noqa: S301 - our own child wrote it


def _answer(function: str, names: list[str], options: dict[str, Any]) -> Any:
    if function == "get":
        import requests

        reply = requests.get(*names, timeout=20, **options)
        return reply.status_code, reply.text
    if function in ("history", "download"):
        import yfinance  # type: ignore[import-untyped]
        from yfinance.data import YfData  # type: ignore[import-untyped]

        YfData.cache_get.cache_clear()
        yfinance.config.debug.hide_exceptions = options.pop("hide", False)
        if function == "download":
            return yfinance.download(list(names), progress=False, threads=False, **options)
        return yfinance.Ticker(*names).history(**options)
    import akshare  # type: ignore[import-untyped]

    return getattr(akshare, function)(*names, **options)


def main() -> None:
    """Answer questions until there are no more; what libraries print goes to standard error."""
    answers, sys.stdout = sys.stdout, sys.stderr
    import yfinance

    yfinance.set_tz_cache_location(sys.argv[1])
    for line in sys.stdin:
        try:
            result = _answer(*json.loads(line))
        except Exception as error:  # noqa: BLE001 - what a library raises is the answer
            result = type(error).__name__
        answers.write(base64.b64encode(pickle.dumps(result)).decode() + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
