"""A re-mining's child process, simulated: it works in this process, and may be killed."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from daemon.context import Context, Market
from daemon.stages.remine import run_job
from miner.records import Round
from signals.errors import AlphadError
from storage import jobs
from storage.tables import RemineJob

#: No process can have this id: killing it is refused by the system.
NOBODY = (1 << 22) + 1


class Killed(BaseException):
    """The child has been killed."""


@dataclass
class Child:
    """What looks like a process to whoever started it; it works when it is looked at."""

    context: Context
    market: Market
    job: RemineJob
    killed: bool
    pid: int = NOBODY
    #: How often it is looked at before it has done its work.
    patience: int = 2

    def poll(self) -> int | None:
        self.patience -= 1
        return self.work() if self.patience < 0 else None

    def work(self) -> int:
        with self.context.database.read() as conn:
            job = jobs.get(conn, self.market.name, self.job.id)
        if job is None or job.status not in jobs.OPEN:
            return 0
        try:
            run_job(self.context, self.market, job, on_round=self.after_round)
        except AlphadError as error:
            return error.exit_code
        except Killed:
            return -9
        return 0

    def after_round(self, _state: Round) -> None:
        if self.killed:
            raise Killed


@dataclass
class Spawner:
    """What a reminer starts its children with."""

    context: Context
    #: Markets whose children are killed now.
    killing: set[str]

    def __call__(self, _path: Path, market: Market, job: RemineJob) -> subprocess.Popen[bytes]:
        child = Child(self.context, market, job, market.name in self.killing)
        return cast("subprocess.Popen[bytes]", child)
