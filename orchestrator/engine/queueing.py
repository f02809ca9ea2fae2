"""The line in which work for machines stands, as everybody has it who only puts something in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import sqlalchemy as sa

from orchestrator.domain.change import ChangeRequest
from orchestrator.ports import Writing

if TYPE_CHECKING:
    from orchestrator.engine.durable import DurableQueue


class LazyQueue:
    """Implements ``ports.WorkQueue``; the engine takes a second to import, and most commands put nothing in line."""

    def __init__(self, url: str, engine: Callable[[], sa.Engine]) -> None:
        self._url, self._engine = url, engine
        self._queue: DurableQueue | None = None

    def ready(self) -> None:
        """Make the engine's tables where they are missing or half made: no transaction of ours may find them so."""
        if self._queue is not None:
            return
        from orchestrator.engine.durable import DurableQueue, prepare

        prepare(self._url)
        self._queue = DurableQueue(self._engine())

    def enqueue(self, change: ChangeRequest, writing: Writing) -> None:
        """Put a change in line, once."""
        assert self._queue is not None, "ready() comes before the transaction"
        self._queue.enqueue(change, writing)
