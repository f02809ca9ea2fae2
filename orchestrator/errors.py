"""Every error that the product raises on purpose, in one tree, each with the exit code that the command line gives.

A message says what was asked, what stood in the way and what to do next, so that commands and pages print
``str(error)`` and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass


class OrchestratorError(Exception):
    """Something that the person at the keyboard can act on."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong with a file, with the place where it stands (lines and columns from 1, 0 for unknown)."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}"


class InvalidInput(OrchestratorError):
    """What was given cannot be understood; every mistake is told at once."""

    exit_code = 2

    def __init__(self, message: str, mistakes: Sequence[Mistake] = ()) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join([message, *(f"  {mistake}" for mistake in self.mistakes)]))


class NotFound(OrchestratorError):
    """No such change, host, template or point."""

    exit_code = 3


class Refused(OrchestratorError):
    """A rule of change control forbids this now."""

    exit_code = 4


class IllegalMove(Refused):
    """The change is not in a state that allows this event."""

    def __init__(self, change: str, event: str, state: str, allowed: Collection[str]) -> None:
        self.event, self.state, self.allowed = event, state, tuple(sorted(allowed))
        possible = ", ".join(self.allowed) or "nothing, its way has ended"
        super().__init__(f"change {change} is {state}: '{event}' cannot happen now. Possible from here: {possible}.")


class NotPermitted(Refused):
    """The person may not do this, or is nobody whom the site knows."""

    exit_code = 5


class StaleChange(OrchestratorError):
    """Someone else moved this change since it was read."""

    exit_code = 6


class Unavailable(OrchestratorError):
    """Something that the work needs (Ansible, a host, the database, a key) is missing or does not answer."""

    exit_code = 7


class EvidenceRefused(OrchestratorError):
    """A bundle or trail does not hold: something was changed, removed or signed by another key."""

    exit_code = 8


class SignerUnknown(OrchestratorError):
    """The evidence is intact, but no pinned key says who signed it."""

    exit_code = 9
