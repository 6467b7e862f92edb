"""How each fault is made to begin and to end."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import numpy as np

from daemon.clock import SystemClock
from daemon.context import build_context
from daemon.operator import set_control
from signals.errors import AlphadError
from storage.tables import ControlState
from tests.faults.simulation.edges import World
from tests.faults.simulation.process import Process
from tests.faults.simulation.sources import CALENDARS, N_ASSETS, TROUBLES, Source
from tests.faults.simulation.troubles import Fault

_SKEWS = {
    "clock +1 h": timedelta(hours=1),
    "clock -1 h": timedelta(hours=-1),
    "clock +10 d": timedelta(days=10),
    "clock -10 d": timedelta(days=-10),
}
_CONTROLS = {"paused": ControlState.PAUSED, "halted": ControlState.HALTED}


@dataclass
class Afflictions:
    """The faults that are there now, and what they do to the world, the sources, the process."""

    world: World
    process: Process
    sources: Mapping[str, Source]
    active: dict[int, Fault] = field(default_factory=dict)

    def concern(self, name: str) -> bool:
        """Say whether something is wrong with a market now, or with what both share."""
        return any(fault.market in (None, name) for fault in self.active.values())

    def begin(self, fault: Fault) -> None:
        """Let a fault begin; those of no duration are over with this."""
        if fault.ends > fault.begins:
            self.active[fault.number] = fault
        if fault.kind in TROUBLES:
            self.source(fault).trouble = fault.kind
        elif fault.market is not None:
            self.begin_of_one(fault)
        else:
            self.begin_of_all(fault)

    def begin_of_all(self, fault: Fault) -> None:
        """Let a fault of the machine or of the process begin."""
        rng, world = np.random.default_rng(fault.draw), self.world
        match fault.kind:
            case "death":
                world.lives_for = int(rng.integers(0, 320))
            case "death while starting":
                self.process.end()
                world.lives_for = int(rng.integers(0, 60))
            case "restart" | "down for days":
                self.process.end()
            case "disk full":
                world.disk_refuses = errno.ENOSPC
            case "I/O error":
                world.disk_refuses, world.disk_refuses_once = errno.EIO, True
            case "database locked":
                with world.aside():
                    world.lock_database(self.process.settings.state_dir / "alphad.db")
            case "overlay broken":
                with world.aside():
                    self.overlay.write_text("[XNYS\n", encoding="utf-8")
            case "nobody reachable":
                self.process.mailbox.down = True
            case kind if kind in _SKEWS:
                world.skew = _SKEWS[kind]

    def begin_of_one(self, fault: Fault) -> None:
        """Let a fault of one market begin."""
        match fault.kind:
            case "correction":
                self.correct(fault, np.random.default_rng(fault.draw))
            case "closure":
                self.source(fault).closed.add(fault.session)
                self.write_overlay()
            case "closure told late":
                self.source(fault).closed.add(fault.session)
            case "mining killed":
                self.process.killing.add(str(fault.market))
            case "paused" | "halted":
                self.control(fault, _CONTROLS[fault.kind])

    def end(self, fault: Fault) -> bool:
        """Let a fault end; return False where that did not succeed and is to be tried again."""
        if self.active.pop(fault.number, None) is None:
            return True
        same = (fault.kind, fault.market)
        if any((each.kind, each.market) == same for each in self.active.values()):
            return True  # another one of the same kind goes on
        if fault.kind in _CONTROLS and not self.control(fault, ControlState.RUNNING):
            self.active[fault.number] = fault
            return False
        self.undo(fault)
        return True

    def undo(self, fault: Fault) -> None:
        """Let the world be good again where a fault had made it bad."""
        world = self.world
        match fault.kind:
            case "disk full" | "I/O error":
                if not any(f.kind in ("disk full", "I/O error") for f in self.active.values()):
                    world.disk_refuses, world.disk_refuses_once = None, False
            case "database locked":
                world.unlock_database()
            case "overlay broken" | "closure told late":
                self.write_overlay()
            case "nobody reachable":
                self.process.mailbox.down = False
            case "mining killed":
                self.process.killing.discard(str(fault.market))
            case kind if kind in _SKEWS:
                world.skew = timedelta(0)
            case kind if kind in TROUBLES:
                self.source(fault).trouble = None

    def source(self, fault: Fault) -> Source:
        return self.sources[str(fault.market)]

    @property
    def overlay(self) -> Path:
        return self.world.root / "overlay.toml"

    def correct(self, fault: Fault, rng: np.random.Generator) -> None:
        """Let the provider tell one of the last bars otherwise from now on."""
        source = self.source(fault)
        days = [day for day in source.bars if day <= fault.session][-8:]
        day = days[int(rng.integers(len(days)))]
        source.correct(day, int(rng.integers(N_ASSETS)), 1.0 + float(rng.choice([-0.01, 0.004])))

    def write_overlay(self) -> None:
        """Write down every closure there has been, as an operator would."""
        lines = []
        for name, source in self.sources.items():
            days = ", ".join(map(str, sorted(source.closed)))
            lines.append(f"[{CALENDARS[name]}]\nremoved = [{days}]\n")
        with self.world.aside():
            self.overlay.write_text("".join(lines), encoding="utf-8")

    def control(self, fault: Fault, state: ControlState) -> bool:
        """Let an operator pause, halt or resume a market from another process; say if it is so."""
        context = build_context(self.process.settings, SystemClock(), names=())
        try:
            with self.world.aside():
                set_control(context, str(fault.market), state, reason="drawn", who="simulation")
        except AlphadError:
            return False
        finally:
            context.database.close()
        return True
