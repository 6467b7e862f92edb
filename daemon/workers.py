"""Who measures candidates: threads of this process, or a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import structlog

from miner.search import Share, in_memory
from signals.errors import ConfigError, DataError

log = structlog.get_logger()

#: Candidates are measured side by side; numba kernels release the interpreter's lock.
THREADS = 2
#: Seconds to wait for a scheduler to answer.
CONNECT_SECONDS = 10


@dataclass(frozen=True)
class Workers:
    """Where tasks run, and how what all of them read gets there once."""

    executor: Executor
    share: Share = in_memory


@contextmanager
def open_workers(
    cluster: str | None = None, *, connect_seconds: float = CONNECT_SECONDS
) -> Iterator[Workers]:
    """Yield the workers of a search; they measure the same wherever they are.

    Where no scheduler answers, threads of this process do the work, and the log says so.

    Parameters
    ----------
    cluster : str, optional
        Address of a dask scheduler, as in `tcp://10.0.0.5:8786`; without one, this process.
    connect_seconds : float
        How long a scheduler is waited for.

    Raises
    ------
    ConfigError
        The extra `distributed` is not installed, or `cluster` is no address.
    DataError
        The cluster was lost on the way; the search goes on from its last round with the next try.
    """
    if cluster is None:
        with ThreadPoolExecutor(THREADS) as threads:
            yield Workers(threads)
        return
    try:
        from distributed import Client, KilledWorker
        from distributed.comm.core import CommClosedError
    except ImportError as exc:
        raise ConfigError(
            "mining.cluster is set, and the package distributed is not installed",
            rule="a cluster is reached through dask",
            hint="pip install 'alphad[distributed]', or leave mining.cluster out",
        ) from exc
    try:
        client = Client(cluster, timeout=connect_seconds, set_as_default=False)
    except OSError as exc:  # TimeoutError is one
        log.warning("no dask scheduler answers: threads measure", cluster=cluster, error=str(exc))
        with ThreadPoolExecutor(THREADS) as threads:
            yield Workers(threads)
        return
    except ValueError as exc:
        raise ConfigError(
            f"mining.cluster {cluster!r} is no address: {exc}",
            rule="mining.cluster is the address of a dask scheduler",
            hint="write it as in tcp://10.0.0.5:8786, or leave it out",
        ) from exc
    try:
        with client:
            yield Workers(client.get_executor(), partial(client.scatter, broadcast=True))
    except (KilledWorker, CommClosedError, CancelledError) as exc:
        raise DataError(
            f"the dask cluster at {cluster} was lost: {exc}",
            rule="a search needs its workers to the end of a round",
            hint="start it again, or leave mining.cluster out",
            retryable=True,
        ) from exc
