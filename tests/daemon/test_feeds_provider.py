from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon.clock import ReplayClock
from daemon.feeds.child import Limits
from daemon.feeds.protocol import Answer, Feed, Parsed, Query, Request
from daemon.feeds.provider import Pacing, ProviderFeed
from signals.errors import FeedError
from storage.bars import BAR_SCHEMA

ROOT = Path(__file__).resolve().parents[2]
START = datetime(2024, 11, 26, 22, 30, tzinfo=UTC)
DAY = date(2024, 11, 26)


class Fake:
    """A provider of the fake client: an asset's name says what its query does."""

    name = "fake"
    client = "tests.daemon.fake_client"

    def queries(self, request: Request) -> list[Query]:
        return [Query("history", asset) for asset in request.assets or ()]

    def parse(self, request: Request, answers: Sequence[Answer]) -> Parsed:
        assert len(answers) == len(request.assets or ())
        missing = {each.query.symbol: each.reason for each in answers if each.outcome != "ok"}
        sources = {each.query.symbol: each.sha256 for each in answers if each.outcome == "ok"}
        return Parsed(BAR_SCHEMA.empty_table(), missing, sources, ())


@dataclass
class Timer:
    """A monotonic clock that only sleeping moves, and the daemon's clock with it."""

    clock: ReplayClock = field(default_factory=lambda: ReplayClock(START))
    now: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.clock.advance(timedelta(seconds=seconds))


@dataclass
class Bench:
    """A feed with its edges in hand."""

    timer: Timer = field(default_factory=Timer)
    progress: list[tuple[int, int, str]] = field(default_factory=list)

    def feed(self, **changes: Any) -> ProviderFeed:
        given: dict[str, Any] = {
            "provider": Fake(),
            "clock": self.timer.clock,
            "start": date(2024, 1, 2),
            "limits": Limits(request_seconds=10.0, memory_mb=512),
            "environment": {"PYTHONPATH": str(ROOT)},
            "on_answer": lambda *told: self.progress.append(told),
            "monotonic": self.timer.monotonic,
            "sleep": self.timer.sleep,
        }
        return ProviderFeed(**(given | changes))


def ask(*assets: str) -> Request:
    return Request("us", (DAY,), assets)


def refused(feed: ProviderFeed, request: Request) -> FeedError:
    with pytest.raises(FeedError) as caught:
        feed.fetch_parsed(request)
    assert caught.value.rule
    assert caught.value.hint
    return caught.value


def test_it_is_a_feed() -> None:
    """It has a name and a history, past bars as they are told today, and returns a table."""
    feed: Feed = Bench().feed()
    assert (feed.name, feed.reconstructed) == ("fake", True)
    assert feed.history(DAY) == date(2024, 1, 2)
    assert feed.history(date(2023, 1, 2)) is None
    assert feed.fetch(ask("A")).schema.equals(BAR_SCHEMA)


def test_every_asset_is_asked_with_its_distance() -> None:
    """Requests are paced, counted and told of as they come."""
    bench = Bench()
    feed = bench.feed(pacing=Pacing(seconds=2.0))
    parsed = feed.fetch_parsed(ask("A", "EMPTY", "C"))
    assert set(parsed.sources) == {"A", "C"}
    assert parsed.missing == {"EMPTY": "empty"}
    assert 3.0 <= bench.timer.now <= 5.0
    assert bench.progress == [(1, 3, "ok"), (2, 3, "empty"), (3, 3, "ok")]
    assert feed.facts().requests == {"ok": 2, "empty": 1}


def test_one_bad_symbol_costs_only_itself() -> None:
    """A hang, and nothing else, is missing; the market goes on."""
    feed = Bench().feed(limits=Limits(request_seconds=1.0))
    parsed = feed.fetch_parsed(ask("A", "HANG", "C"))
    assert parsed.missing == {"HANG": "timeout: no answer within 1 s"}
    assert set(parsed.sources) == {"A", "C"}


def test_past_the_budget_the_fetch_fails() -> None:
    """Two broken assets of four are too many; they are counted by reason, the first is named."""
    error = refused(Bench().feed(), ask("A", "BROKEN", "CRASH", "D"))
    assert "2 of 4 assets of us unanswered (2 failed); BROKEN: failed: KeyError" in error.fact
    assert error.retryable


def test_an_asset_that_does_not_exist_is_no_failure() -> None:
    """Empty answers never use up the budget."""
    parsed = Bench().feed().fetch_parsed(ask("EMPTY"))
    assert parsed.missing == {"EMPTY": "empty"}


def test_nothing_at_all_is_a_failure() -> None:
    """The only asset without an answer is no success."""
    assert "1 of 1" in refused(Bench().feed(), ask("BROKEN")).fact


def test_a_rate_limit_stops_everything() -> None:
    """After the first 429 nothing is asked, now or before the breaker closes."""
    bench = Bench()
    feed = bench.feed()
    error = refused(feed, ask("A", "LIMIT", "C", "D"))
    assert "3 limited" in error.fact
    assert "22:45 UTC" in error.hint
    assert feed.facts().requests == {"ok": 1, "limited": 1}
    assert feed.facts().breaker_until == bench.timer.clock.now() + timedelta(minutes=15)
    assert "not asked before" in refused(feed, ask("A")).fact
    assert feed.facts().requests == {"ok": 1, "limited": 1}


def test_a_second_rate_limit_opens_the_breaker_longer() -> None:
    """After the pause it is tried again; limited again, it pauses an hour."""
    bench = Bench()
    feed = bench.feed()
    refused(feed, ask("LIMIT"))
    bench.timer.sleep(15 * 60)
    refused(feed, ask("LIMIT"))
    assert feed.facts().breaker_until == bench.timer.clock.now() + timedelta(minutes=60)


def test_good_answers_are_not_asked_for_twice() -> None:
    """The attempt after a failed fetch asks only for what is missing, a fetch after success all."""
    bench = Bench()
    feed = bench.feed()
    refused(feed, ask("A", "B", "LIMIT", "D"))
    bench.timer.sleep(15 * 60)
    assert set(feed.fetch_parsed(ask("A", "B", "C")).sources) == {"A", "B", "C"}
    assert feed.facts().requests == {"ok": 3, "limited": 1}
    feed.fetch_parsed(ask("A", "B", "C"))
    assert feed.facts().requests == {"ok": 6, "limited": 1}


def test_an_answer_that_cannot_be_read_is_asked_for_again() -> None:
    """An answer that came, and was no use, is not kept for the next attempt."""

    class Unreadable(Fake):
        def parse(self, request: Request, answers: Sequence[Answer]) -> Parsed:
            parsed = super().parse(request, answers)
            bad = {asset: "failed: it is no table" for asset in parsed.sources if asset != "A"}
            return replace(parsed, missing={**parsed.missing, **bad})

    feed = Bench().feed(provider=Unreadable())
    refused(feed, ask("A", "B", "C"))
    refused(feed, ask("A", "B", "C"))
    assert feed.facts().requests == {"ok": 5}


def test_old_answers_are_asked_for_again() -> None:
    """What was received more than six hours ago is not taken for today's."""
    bench = Bench()
    feed = bench.feed()
    refused(feed, ask("A", "LIMIT", "C"))
    bench.timer.sleep(7 * 3600)
    feed.fetch_parsed(ask("A"))
    assert feed.facts().requests == {"ok": 2, "limited": 1}


def test_a_provider_that_is_down_is_not_asked_five_hundred_times() -> None:
    """Ten failures in a row end the fetch."""
    feed = Bench().feed()
    error = refused(feed, ask(*(f"BROKEN{number}" for number in range(40))))
    assert feed.facts().requests == {"failed": 10}
    assert error.retryable
    assert feed.facts().breaker_until is None


def test_a_fetch_has_a_deadline() -> None:
    """What is left when the time is up is not asked."""
    feed = Bench().feed(pacing=Pacing(seconds=10.0, fetch_seconds=25.0))
    error = refused(feed, ask("A", "B", "C", "D", "E", "F", "G"))
    assert "timeout: not asked: the fetch has used up its 25 s" in error.fact
    assert feed.facts().requests["ok"] in (3, 4)


def test_the_universe_is_asked_for_when_no_asset_is_named() -> None:
    """A request without assets is for the universe of its sessions; an unknown one is refused."""
    asked: list[Sequence[date]] = []

    def universe(sessions: Sequence[date]) -> list[str]:
        asked.append(sessions)
        return ["A", "B"]

    parsed = Bench().feed(universe=universe).fetch_parsed(Request("us", (DAY,)))
    assert set(parsed.sources) == {"A", "B"}
    assert asked == [(DAY,)]
    error = refused(Bench().feed(), Request("us", (DAY,)))
    assert "no asset is known" in error.fact
    assert not error.retryable


def test_payloads_are_told_apart_by_their_hash() -> None:
    """Two assets' bars come from two payloads."""
    sources = Bench().feed().fetch_parsed(ask("A", "B")).sources
    assert len(set(sources.values())) == 2


class Indexed(Fake):
    """A provider that tells an index as well; its answer's client may misbehave."""

    symbol = "INDEX"

    def index_query(self, index: str, request: Request) -> Query | None:  # noqa: ARG002
        return Query("history", self.symbol) if index == "sp500" else None

    def read_index(self, answer: Answer) -> dict[date, float]:
        if answer.outcome != "ok":
            raise ValueError(answer.reason)
        return {DAY: 100.0}


def test_the_index_comes_along_where_it_is_wanted() -> None:
    """It is one more query, the last one, and no asset of the request."""
    bench = Bench()
    feed = bench.feed(provider=Indexed(), index="sp500")
    parsed = feed.fetch_parsed(replace(ask("A"), index=True))
    assert (parsed.index, set(parsed.sources)) == ({DAY: 100.0}, {"A"})
    assert len(bench.progress) == 2
    assert feed.fetch_parsed(ask("A")).index == {}
    assert bench.feed(provider=Indexed()).fetch_parsed(replace(ask("A"), index=True)).index == {}


@pytest.mark.parametrize("symbol", ["BROKEN", "LIMIT", "EMPTY"])
def test_an_index_that_is_not_to_be_had_costs_no_bar(symbol: str) -> None:
    """There is a warning in its place."""
    provider = Indexed()
    provider.symbol = symbol
    parsed = (
        Bench().feed(provider=provider, index="sp500").fetch_parsed(replace(ask("A"), index=True))
    )
    assert (parsed.index, parsed.missing, set(parsed.sources)) == ({}, {}, {"A"})
    assert parsed.warnings[0].startswith(f"the index {symbol} was not to be had: ")


def test_a_breaker_outlives_its_process(tmp_path: Path) -> None:
    """The next feed in the same folder leaves the provider alone just as long, and longer then."""
    bench = Bench()
    refused(bench.feed(folder=tmp_path), ask("LIMIT", "B"))
    again = bench.feed(folder=tmp_path)
    assert again.facts().breaker_until == bench.timer.clock.now() + timedelta(minutes=15)
    assert "is not asked before" in refused(again, ask("B")).fact
    bench.timer.clock.advance(timedelta(minutes=16))
    refused(bench.feed(folder=tmp_path), ask("LIMIT"))
    left = bench.feed(folder=tmp_path).facts().breaker_until
    assert left == bench.timer.clock.now() + timedelta(minutes=60)
    bench.timer.clock.advance(timedelta(minutes=61))
    bench.feed(folder=tmp_path).fetch_parsed(ask("B"))
    assert bench.feed(folder=tmp_path).facts().breaker_until is None


@pytest.mark.parametrize("text", ["", "[]", '{"trips": 1}', '{"trips": 1, "until": "2026-01-01"}'])
def test_a_damaged_breaker_is_none(tmp_path: Path, text: str) -> None:
    """What cannot be read stops nothing: the provider is asked."""
    (tmp_path / "fake-breaker.json").write_text(text)
    assert set(Bench().feed(folder=tmp_path).fetch_parsed(ask("A")).sources) == {"A"}
