"""A feed over the network: paced queries to a client in a child process, read by a provider."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import structlog

from daemon.clock import Clock
from daemon.feeds.child import Child, Limits
from daemon.feeds.pacing import Breaker, TokenBucket
from daemon.feeds.protocol import (
    FAILURES,
    Answer,
    IndexProvider,
    Parsed,
    Provider,
    Query,
    Request,
)
from signals.errors import BarsError, FeedError
from storage.files import write_atomic

log = structlog.get_logger()

#: Failures in a row after which the provider counts as down and the rest is not asked.
MAX_IN_A_ROW = 10
#: How long good answers of a fetch that failed as a whole are kept for the next attempt.
KEPT_FOR = timedelta(hours=6)

#: Called after each query with the number done, the number of all, and the outcome.
OnAnswer = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Pacing:
    """How a provider is asked.

    Parameters
    ----------
    seconds : float
        Mean distance of two requests.
    fetch_seconds : float
        Deadline of a whole fetch; what is left then is not asked.
    seed : int
        Of the jitter.
    """

    seconds: float = 1.0
    fetch_seconds: float = 2 * 3600.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class FeedFacts:
    """What metrics tell of a feed.

    Parameters
    ----------
    requests : mapping of str to int
        Queries asked since the start, by outcome.
    breaker_until : datetime or None
        Until when nothing is asked after a rate limit.
    """

    requests: Mapping[str, int]
    breaker_until: datetime | None


class ProviderFeed:
    """Bars of a provider on the network.

    Parameters
    ----------
    provider : Provider
        How to ask and how to read.
    clock : Clock
        Tells when an answer came and how long the breaker stays open.
    start : date
        First day of the market's history.
    universe : callable of a sequence of date to a sequence of str, or None
        The assets of sessions, asked for when a request names none.
    index : str
        Name of the index whose levels a request may want; "none" for none.
    max_failed : float
        Largest share of the assets that may lack an answer for the provider's sake; one always may.
    folder : Path or None
        What clients may keep things in, and the breaker beyond this process; None gives every
        fetch a new one.
    environment : mapping of str to str or None
        Given to the child beside this process's own.
    on_answer : callable or None
        Told of progress.
    monotonic, sleep : callable
        For the pacing; the deadline of a query is always real time.
    """

    reconstructed = True

    def __init__(
        self,
        provider: Provider,
        *,
        clock: Clock,
        start: date,
        universe: Callable[[Sequence[date]], Sequence[str]] | None = None,
        index: str = "none",
        limits: Limits = Limits(),  # noqa: B008 - it is frozen
        pacing: Pacing = Pacing(),
        max_failed: float = 0.02,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        on_answer: OnAnswer | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.name = provider.name
        self._provider = provider
        self._clock = clock
        self._start = start
        self._universe = universe
        self._index = index
        self._limits = limits
        self._pacing = pacing
        self._max_failed = max_failed
        self._folder = folder
        self._environment = dict(environment or {})
        self._on_answer = on_answer
        self._monotonic = monotonic
        self._sleep = sleep
        self._bucket = TokenBucket(pacing.seconds, np.random.default_rng(pacing.seed))
        self._breaker = Breaker()
        self._recall_breaker()
        self._requests: Counter[str] = Counter()
        self._kept: dict[Query, Answer] = {}
        self._kept_breaker = ""

    def history(self, last: date) -> date | None:
        """Return the first day of the history, or None if it is after `last`."""
        return self._start if self._start <= last else None

    def fetch(self, request: Request) -> Any:
        """Return the bars of `fetch_parsed`."""
        return self.fetch_parsed(request).table

    def fetch_parsed(self, request: Request) -> Parsed:
        """Return the bars there are, and what is missing or doubtful.

        Good answers of a fetch that fails are not asked for again by the next one.

        Raises
        ------
        FeedError
            The breaker is open; nobody knows which assets to ask for; more assets than the budget
            lack an answer for the provider's sake; the client cannot be started. All but the
            second are retryable.
        """
        request = self._named(request)
        until = self._breaker.open_until(self._clock.now())
        if until is not None:
            raise FeedError(
                f"{self.name} has limited us and is not asked before {_told(until)}",
                rule="a provider that limits us is left alone, longer each time",
                hint="wait, or raise feed.pace_seconds",
                retryable=True,
            )
        level = self._index_query(request)
        # the index comes last: what goes wrong with it costs no bar
        answers = self._ask([*self._provider.queries(request), *level])
        of_index, answers = (
            answers[len(answers) - len(level) :],
            answers[: len(answers) - len(level)],
        )
        parsed = self._provider.parse(request, answers)
        failed = {
            asset: reason
            for asset, reason in parsed.missing.items()
            if _outcome(reason) in FAILURES
        }
        self._kept = {}
        if self._within_budget(request, failed):
            return self._with_index(parsed, of_index)
        again = set(self._provider.queries(replace(request, assets=tuple(failed))))
        self._kept = {each.query: each for each in answers if each.query not in again}
        raise self._over_budget(request, failed)

    def facts(self) -> FeedFacts:
        """Return what metrics tell of this feed."""
        return FeedFacts(dict(self._requests), self._breaker.open_until(self._clock.now()))

    def _index_query(self, request: Request) -> list[Query]:
        """Return the query for the index, where it is wanted and the provider has it."""
        if not request.index or not isinstance(self._provider, IndexProvider):
            return []
        query = self._provider.index_query(self._index, request)
        return [] if query is None else [query]

    def _with_index(self, parsed: Parsed, answers: Sequence[Answer]) -> Parsed:
        """Return bars with the levels of the index; without them there is a warning."""
        for answer in answers:
            if isinstance(self._provider, IndexProvider):
                try:
                    return replace(parsed, index=self._provider.read_index(answer))
                except (ValueError, BarsError) as error:
                    why = f"the index {answer.query.symbol} was not to be had: {error}"
                    return replace(parsed, warnings=(*parsed.warnings, " ".join(why.split())))
        return parsed

    def _named(self, request: Request) -> Request:
        """Return the request with its assets named."""
        if request.assets is not None:
            return request
        assets = () if self._universe is None else tuple(self._universe(request.sessions))
        if not assets:
            raise FeedError(
                f"{self.name} is to be asked for all of {request.market}, and no asset is known",
                rule="a provider is asked asset by asset",
                hint="give the market a membership",
            )
        return replace(request, assets=assets)

    def _ask(self, queries: Sequence[Query]) -> list[Answer]:
        """Return the answer to each query; those not asked any more say so."""
        began = self._monotonic()
        answers: list[Answer] = []
        stopped: tuple[str, str] | None = None
        in_a_row = 0
        with ExitStack() as stack:
            folder = self._folder or Path(stack.enter_context(TemporaryDirectory()))
            module, limits = self._provider.client, self._limits
            child = stack.enter_context(Child(module, limits, folder, self._environment))
            for query in queries:
                if stopped is None and self._monotonic() - began > self._pacing.fetch_seconds:
                    limit = f"{self._pacing.fetch_seconds:g} s"
                    stopped = ("timeout", f"not asked: the fetch has used up its {limit}")
                known = self._known(query)
                if known is not None:
                    answer = known
                elif stopped is not None:
                    answer = Answer(query, stopped[0], b"", stopped[1], self._clock.now())
                else:
                    answer = self._asked(child, query)
                    in_a_row = in_a_row + 1 if answer.outcome in FAILURES else 0
                    stopped = self._stop(answer, in_a_row)
                answers.append(answer)
                if self._on_answer is not None:
                    self._on_answer(len(answers), len(queries), answer.outcome)
        if stopped is None:
            self._breaker.reset()
            self._keep_breaker()
        return answers

    def _stop(self, answer: Answer, in_a_row: int) -> tuple[str, str] | None:
        """Return outcome and error of all that is not asked after this answer, None to go on."""
        if answer.outcome == "limited":
            until = self._breaker.trip(self._clock.now())
            self._keep_breaker()
            return ("limited", f"not asked before {_told(until)}")
        if in_a_row >= MAX_IN_A_ROW:
            return ("failed", f"not asked after {in_a_row} failures in a row")
        return None

    def _recall_breaker(self) -> None:
        """Leave a provider alone that has limited a process before this one."""
        if self._folder is None:
            return
        try:
            self._breaker.recall(json.loads(self._breaker_path(self._folder).read_text()))
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("a kept breaker cannot be read", provider=self.name, error=str(error))

    def _keep_breaker(self) -> None:
        """Keep the breaker for a process after this one, where its state is another than kept."""
        if self._folder is None:
            return
        path, text = self._breaker_path(self._folder), json.dumps(self._breaker.to_json())
        if text != self._kept_breaker:
            write_atomic(path, text.encode())
            self._kept_breaker = text

    def _breaker_path(self, folder: Path) -> Path:
        return folder / f"{self.name}-breaker.json"

    def _known(self, query: Query) -> Answer | None:
        """Return the good answer of a former attempt."""
        kept = self._kept.get(query)
        fresh = kept is not None and self._clock.now() - kept.received_at <= KEPT_FOR
        return kept if fresh else None

    def _asked(self, child: Child, query: Query) -> Answer:
        """Return the provider's answer, after the pause it is due."""
        pause = self._bucket.take(self._monotonic())
        if pause > 0:
            self._sleep(pause)
        reply = child.ask(query)
        self._requests[reply.outcome] += 1
        return Answer(query, reply.outcome, reply.payload, reply.error, self._clock.now())

    def _within_budget(self, request: Request, failed: Mapping[str, str]) -> bool:
        """Say whether so many assets may lack an answer; all of them never may."""
        n_assets = len(request.assets or ())
        return not failed or (len(failed) <= self._allowed(n_assets) and len(failed) < n_assets)

    def _allowed(self, n_assets: int) -> int:
        return max(1, int(self._max_failed * n_assets + 1e-9))

    def _over_budget(self, request: Request, failed: Mapping[str, str]) -> FeedError:
        """Return the error that counts the assets without an answer by reason."""
        n_assets = len(request.assets or ())
        counts = Counter(_outcome(reason) for reason in failed.values())
        first, reason = next(iter(failed.items()))
        until = self._breaker.open_until(self._clock.now())
        return FeedError(
            f"{self.name} left {len(failed)} of {n_assets} assets of {request.market} unanswered "
            f"({', '.join(f'{n} {outcome}' for outcome, n in counts.items())}); {first}: {reason}",
            rule=f"at most {self._allowed(n_assets)} may lack an answer",
            hint=f"nothing is asked before {_told(until)}"
            if until is not None
            else "the next attempt asks for what is missing",
            retryable=True,
        )


def _outcome(reason: str) -> str:
    """Return the outcome that a reason begins with."""
    return reason.partition(":")[0]


def _told(until: datetime) -> str:
    return f"{until:%Y-%m-%d %H:%M} UTC"
