"""What this worker has in hand of what the engine holds for it, and what of that was lost on the way."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A workflow that the engine holds for this worker, with the moment at which it was taken from its line."""

    name: str
    line: str
    at: int


class Hands:
    """Tells what was lost from what only waits until a thread begins with it.

    The engine takes a workflow from its line in one transaction, and gives it to a thread afterwards. Where the answer
    to the commit is lost with the connection, the workflow is ours in the database, and the engine does not know of it:
    for as long as the worker lives, nobody would carry it. But what is ours and not begun may also be one of many that
    were taken together, or wait for the connection with which it is read. For each line the engine has one thread that
    takes, and then begins with what it took, in that order. So what is not begun was lost if something that was taken
    from its line later has been begun, or if nothing of its line was begun for as long as ``patience`` (seconds).
    """

    def __init__(self, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience, self._clock = patience, clock
        self._here: Counter[str] = Counter()
        self._begun: dict[str, float] = {}
        self._missed: dict[str, float] = {}
        self._lock = Lock()

    @contextmanager
    def carry(self, name: str, line: str) -> Iterator[None]:
        """Have a workflow in hand."""
        with self._lock:
            self._here[name] += 1
            self._begun[line] = self._clock()
        try:
            yield
        finally:
            with self._lock:
                self._here[name] -= 1
                self._here += Counter()  # Without those that are at nought.

    def lost(self, held: Sequence[Taken]) -> list[Taken]:
        """Return those of the workflows that the engine holds for this worker which nobody will begin with."""
        now = self._clock()
        with self._lock:
            missed = [one for one in held if one.name not in self._here]
            self._missed = {one.name: self._missed.get(one.name, now) for one in missed}
            waited = [one for one in missed if now - self._missed[one.name] >= self._patience]
            return [one for one in waited if self._is_overtaken(one, held) or self._is_still(one.line, now)]

    def _is_overtaken(self, one: Taken, held: Sequence[Taken]) -> bool:
        return any(other.line == one.line and other.at > one.at and other.name in self._here for other in held)

    def _is_still(self, line: str, now: float) -> bool:
        return now - self._begun.get(line, float("-inf")) >= self._patience
