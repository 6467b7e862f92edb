"""What changes while a process lives and is kept nowhere: the settings that hold, what it reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from daemon.settings import Settings


@dataclass
class Process:
    """One process and the settings it goes by now.

    Parameters
    ----------
    settings : Settings
        Those of the start, or of the last reload that succeeded.
    reload_succeeded : bool
        Whether the last reload did; True before the first.
    reloaded_at : datetime or None
        When settings were last tried to be reloaded.
    """

    settings: Settings
    reload_succeeded: bool = True
    reloaded_at: datetime | None = None
