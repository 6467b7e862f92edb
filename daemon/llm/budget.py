"""Budgets of a language model: per run and per UTC day, kept in the database.

A request is reserved at its worst before it is sent and settled as it was, so that neither a crash
nor a second process spends what is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from daemon.clock import Clock
from daemon.llm.settings import LlmSettings
from signals.errors import ModelError
from storage import model_usage
from storage.database import Database
from storage.model_usage import NO_JOB, Spent
from storage.tables import ModelUsage

#: Outcome of a request whose answer was of use.
ANSWERED = "answered"
#: Seconds of a run's rest below which nothing is asked any more.
SHORTEST = 0.05
#: What of a run and of a day is limited.
LIMITED = ("requests", "tokens", "cost")
#: Tokens no answer has; an endpoint that says more is not believed.
MOST_TOKENS = 1_000_000_000


@dataclass(frozen=True)
class Reserved:
    """A request that may be sent.

    Parameters
    ----------
    row : ModelUsage
        As it is written.
    seconds : float
        How long its answer may take.
    worst : Spent
        What it counts for until it is settled.
    """

    row: ModelUsage
    seconds: float
    worst: Spent


@dataclass(frozen=True)
class Budget:
    """What one run may ask.

    Parameters
    ----------
    database : Database
        Where requests are written.
    clock : Clock
        Gives the day.
    settings : LlmSettings
        Limits and prices.
    market, job : str, int
        The run; `NO_JOB` outside any job.
    since : datetime, optional
        Beginning of a run without a job.
    """

    database: Database
    clock: Clock
    settings: LlmSettings
    market: str
    job: int = NO_JOB
    since: datetime | None = None

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """Return the price of so many tokens."""
        sent, received = self.settings.price_input, self.settings.price_output
        return (input_tokens * sent + output_tokens * received) / 1e6

    def reserve(self, kind: str, input_tokens: int) -> Reserved:
        """Write a request before it is sent.

        Parameters
        ----------
        kind : str
            What is asked.
        input_tokens : int
            The most it can have.

        Raises
        ------
        ModelError
            `over_budget`: it may not be sent.
        """
        output_tokens = self.settings.max_output_tokens
        now = self.clock.now()
        with self.database.transaction() as connection:
            model_usage.lock(connection)
            run = model_usage.of_run(connection, self.market, self.job, self.since)
            seconds = min(
                self.settings.timeout_seconds, self.settings.seconds_per_run - run.seconds
            )
            cost = self.cost(input_tokens, output_tokens)
            worst = Spent(1, input_tokens, output_tokens, cost, max(seconds, 0.0))
            if seconds < SHORTEST:
                raise _over("seconds_per_run", run.seconds, self.settings.seconds_per_run)
            self._check(run, worst, "run")
            self._check(model_usage.of_day(connection, now), worst, "day")
            row = model_usage.reserve(
                connection,
                self.market,
                self.job,
                at=now,
                model=self.settings.model or "",
                kind=kind,
                worst=worst,
            )
        return Reserved(row, seconds, worst)

    def settle(self, reserved: Reserved, spent: Spent, outcome: str) -> None:
        """Write what a request has used up, and how it ended."""
        with self.database.transaction() as connection:
            model_usage.settle(connection, reserved.row, spent, outcome, self.clock.now())

    def spent(
        self, reserved: Reserved, input_tokens: int, output_tokens: int, seconds: float
    ) -> Spent:
        """Return what was used up; where the endpoint does not count tokens, the worst case.

        Parameters
        ----------
        reserved : Reserved
            The request.
        input_tokens, output_tokens : int
            As the endpoint has counted them; no tokens sent means that it has not.
        seconds : float
            Time the answer took.
        """
        if not 0 < input_tokens < MOST_TOKENS or not 0 <= output_tokens < MOST_TOKENS:
            return reserved.worst._replace(seconds=seconds)
        cost = self.cost(input_tokens, output_tokens)
        return Spent(1, input_tokens, output_tokens, cost, seconds)

    def _check(self, spent: Spent, worst: Spent, period: str) -> None:
        for name in LIMITED:
            limit = getattr(self.settings, f"{name}_per_{period}")
            used, wanted = getattr(spent, name), getattr(worst, name)
            if limit is not None and used + wanted > limit:
                raise _over(f"{name}_per_{period}", used, limit)


def day_left(connection: Connection, settings: LlmSettings, now: datetime) -> dict[str, float]:
    """Return the share of each budget of a day that is left, by the name of its setting."""
    spent = model_usage.of_day(connection, now)
    limits = {name: getattr(settings, f"{name}_per_day") for name in LIMITED}
    return {
        f"{name}_per_day": max(1.0 - getattr(spent, name) / limit, 0.0)
        for name, limit in limits.items()
        if limit is not None
    }


def _over(name: str, used: float, limit: float) -> ModelError:
    return ModelError(
        f"the budget {name} does not allow another request: {used:g} of {limit:g} are used up",
        rule="what a request can use up at most must be left before it is sent",
        hint=f"raise llm.{name}, or wait: budgets of a day begin anew at midnight UTC",
        over_budget=True,
    )
