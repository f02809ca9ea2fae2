"""Waiting for what is to come: no longer than it takes, and generously, since the machine may be busy with others."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Seconds; whoever waits so long in vain has found a defect.
PATIENCE = 300.0


def wait_for(what: str, told: Callable[[], object], *, patience: float = PATIENCE, pause: float = 0.05) -> object:
    """Wait until something is told, and return it; ``pause`` is longer where asking costs the hosts the processor."""
    end = time.monotonic() + patience
    while not (found := told()):
        assert time.monotonic() < end, f"{what} did not happen within {patience:.0f} s"
        time.sleep(pause)
    return found


def until(told: Callable[[], object], *, pause: float = 0.05) -> object:
    """Wait for what needs no name: the line that waits tells it."""
    return wait_for("what this line waits for", told, pause=pause)
