"""How a probe ends early: at a named stage, or because its time is over."""

from __future__ import annotations

import time

from orchestrator.domain.probe import Stage


class StageFailed(Exception):
    """The probe of a host ended at this stage."""

    def __init__(self, stage: Stage, detail: str) -> None:
        super().__init__(detail)
        self.stage = stage
        self.detail = detail


class Deadline:
    """So many seconds from now, after which nothing is waited for any more."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Return the seconds left, never less than a moment: to a socket, a time-out of 0 means something else."""
        return max(self._end - time.monotonic(), 0.001)

    @property
    def is_over(self) -> bool:
        """Tell whether the moment has passed."""
        return time.monotonic() >= self._end

    def __str__(self) -> str:
        return f"{self.seconds:g} s"
