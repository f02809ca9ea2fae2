"""Who carries changes: a row for each worker, with its last sign of life by the database's own clock."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from orchestrator.adapters.store import tables as t
from orchestrator.adapters.store.codec import moment
from orchestrator.domain.canonical import parse_rfc3339
from orchestrator.ports import WorkerSeen


class SqlWorkers:
    """Implements ``ports.Workers``; give it connections of its own, so that busy work delays no sign of life."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def enter(self, worker: str, *, node: str, zones: Sequence[str], at: datetime) -> None:
        """Enter a worker, alive from now on."""
        row = {"id": worker, "node": node, "zones": json.dumps(sorted(zones)), "started_at": moment(at)}
        with self._engine.begin() as connection:
            connection.execute(sa.delete(t.worker).where(t.worker.c.id == worker))
            connection.execute(sa.insert(t.worker).values(**row, beat=self._now))

    def beat(self, worker: str) -> bool:
        """Give a sign of life; False where somebody has taken this worker for dead."""
        mine = sa.update(t.worker).where(t.worker.c.id == worker).values(beat=self._now)
        with self._engine.begin() as connection:
            return connection.execute(mine).rowcount == 1

    def leave(self, worker: str) -> None:
        """Take a worker out that ends in an orderly way."""
        with self._engine.begin() as connection:
            connection.execute(sa.delete(t.worker).where(t.worker.c.id == worker))

    def fence(self, lease: timedelta) -> Sequence[str]:
        """Take out the workers that were silent for longer than this, and return them: they may act no more."""
        silent = t.worker.c.beat < self._now - lease.total_seconds()
        with self._engine.begin() as connection:
            return sorted(connection.execute(sa.delete(t.worker).where(silent).returning(t.worker.c.id)).scalars())

    def seen(self) -> Sequence[WorkerSeen]:
        """Return the workers that are entered, the oldest first."""
        query = sa.select(t.worker, (self._now - t.worker.c.beat).label("silent")).order_by(t.worker.c.started_at)
        with self._engine.connect() as connection:
            return [
                WorkerSeen(
                    id=row.id,
                    node=row.node,
                    zones=tuple(json.loads(row.zones)),
                    started_at=parse_rfc3339(row.started_at),
                    silent_for=timedelta(seconds=max(0.0, float(row.silent))),
                )
                for row in connection.execute(query)
            ]

    @property
    def _now(self) -> sa.ColumnElement[float]:
        """The database's clock, in seconds: the machines' own clocks may differ."""
        if self._engine.dialect.name == "sqlite":
            return (sa.func.julianday("now", type_=sa.Float) - 2440587.5) * 86400.0
        return sa.cast(sa.func.extract("epoch", sa.func.clock_timestamp()), sa.Float)
