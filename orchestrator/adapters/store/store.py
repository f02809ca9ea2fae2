"""Read the database, and open transactions on it."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache

import sqlalchemy as sa

from orchestrator.adapters.store import tables as t
from orchestrator.adapters.store.codec import decode, decode_event
from orchestrator.adapters.store.database import Database
from orchestrator.adapters.store.writing import SqlWriting, insert_missing
from orchestrator.domain.admission import Durations
from orchestrator.domain.audit import AuditEvent
from orchestrator.domain.canonical import Plain, parse_rfc3339
from orchestrator.domain.change import ChangeRequest, ChangeState
from orchestrator.domain.inventory import Environment
from orchestrator.domain.job import TaskSeen
from orchestrator.domain.journal import Outcome, StepRecord
from orchestrator.domain.metrics import Figures
from orchestrator.domain.plan import PatchPlan, Prediction
from orchestrator.domain.rollback import RollbackPoint
from orchestrator.domain.run import HostRun, HostStatus
from orchestrator.errors import NotFound
from orchestrator.ports import ChainHead, Lease

#: So many plans are kept in memory.
_PLANS = 4

_LOG = logging.getLogger(__name__)

# Asked at every step of every change: putting a question together takes longer than having it answered.
_CHANGE = sa.select(t.change.c.document).where(t.change.c.id == sa.bindparam("id"))
_DOCUMENTS = (
    sa.select(t.document.c.name, t.document.c.document)
    .where(t.document.c.change == sa.bindparam("change"), t.document.c.kind == sa.bindparam("kind"))
    .order_by(t.document.c.name)
)
_NAMED = _DOCUMENTS.where(t.document.c.name.in_(sa.bindparam("names", expanding=True)))


class SqlStore:
    """Implements ``ports.Store``."""

    def __init__(self, database: Database) -> None:
        self._db = database
        # A plan is named by its digest and never changes, and one of thousands of hosts takes a while to read.
        self._plan = lru_cache(maxsize=_PLANS)(self._read_plan)

    @contextmanager
    def begin(self) -> Iterator[SqlWriting]:
        """Open a transaction that commits at the end of the block, and leaves nothing where the block raises."""
        with self._db.writer.begin() as connection:
            writing = SqlWriting(connection)
            yield writing
        for event in writing.noted:
            _say(event)

    def joined(self, transaction: object) -> SqlWriting:
        """Write on a connection that somebody else has opened on this database, and will commit."""
        if not isinstance(transaction, sa.Connection):
            raise TypeError(f"{type(transaction).__name__} is no connection of SQLAlchemy")
        writing = SqlWriting(transaction)

        def say(_connection: sa.Connection) -> None:
            for event in writing.noted:
                _say(event)

        sa.event.listen(transaction, "commit", say, once=True)
        return writing

    def installation(self) -> str:
        """Return the id of this installation, drawn when it is first asked for."""
        ours = sa.select(t.setting.c.value).where(t.setting.c.name == "installation")
        if (known := self._rows(ours)) and known[0].value:
            return str(known[0].value)
        with self._db.writer.begin() as connection:
            insert_missing(connection, t.setting, {"name": "installation", "value": uuid.uuid4().hex})
            return str(connection.execute(ours).scalar_one())

    def change(self, change_id: str) -> ChangeRequest:
        """Return a change."""
        rows = self._rows(_CHANGE, {"id": change_id})
        if not rows:
            raise NotFound(f"there is no change {change_id}; see: orchestrator change list")
        return decode(ChangeRequest, rows[0].document)

    def change_from(self, source_key: str) -> ChangeRequest | None:
        """Return the change that came from this source, if there is one."""
        rows = self._rows(sa.select(t.change.c.document).where(t.change.c.source_key == source_key))
        return decode(ChangeRequest, rows[0].document) if rows else None

    def changes(self, states: Iterable[ChangeState] = ()) -> Sequence[ChangeRequest]:
        """Return the changes in these states, oldest first."""
        query = sa.select(t.change.c.document).order_by(sa.func.length(t.change.c.id), t.change.c.id)
        if wanted := [state.value for state in states]:
            query = query.where(t.change.c.state.in_(wanted))
        return [decode(ChangeRequest, row.document) for row in self._rows(query)]

    def next_change_id(self) -> str:
        """Return the id for a new change."""
        with self._db.writer.begin() as connection:
            return f"CHG-{SqlWriting(connection).draw('change'):04d}"

    def plan(self, digest: str) -> PatchPlan:
        """Return a plan."""
        return self._plan(digest)

    def predictions(self, digest: str, hosts: Collection[str] | None = None) -> Sequence[Prediction]:
        """Return what stands beside a plan."""
        beside = (t.prediction.c.plan == digest) & _among(t.prediction.c.host, hosts)
        rows = self._rows(sa.select(t.prediction.c.document).where(beside).order_by(t.prediction.c.host))
        return [decode(Prediction, row.document) for row in rows]

    def runs(self, change: str, hosts: Collection[str] | None = None) -> Sequence[HostRun]:
        """Return where the hosts of a change stand."""
        return self._runs((t.host_run.c.change == change) & _among(t.host_run.c.host, hosts))

    def remarkable(self, change: str) -> Sequence[HostRun]:
        """Return those that are not ordinary."""
        return self._runs((t.host_run.c.change == change) & t.host_run.c.ordinary.is_(False))

    def first_batch(self, change: str, statuses: Collection[HostStatus]) -> Sequence[HostRun]:
        """Return the hosts that stand so of the first wave and batch that has any."""
        return self._batch(change, statuses, t.host_run.c.wave, t.host_run.c.batch)

    def last_batch(self, change: str, statuses: Collection[HostStatus]) -> Sequence[HostRun]:
        """Return the hosts that stand so of the last wave and batch that has any."""
        return self._batch(change, statuses, t.host_run.c.wave.desc(), t.host_run.c.batch.desc())

    def _batch(self, change: str, statuses: Collection[HostStatus], *order: sa.ColumnElement[int]) -> Sequence[HostRun]:
        mine = (t.host_run.c.change == change) & t.host_run.c.status.in_(sorted(status.value for status in statuses))
        rows = self._rows(sa.select(t.host_run.c.wave, t.host_run.c.batch).where(mine).order_by(*order).limit(1))
        if not rows:
            return []
        return self._runs(mine & (t.host_run.c.wave == rows[0].wave) & (t.host_run.c.batch == rows[0].batch))

    def _runs(self, mine: sa.ColumnElement[bool]) -> Sequence[HostRun]:
        query = sa.select(t.host_run.c.document).where(mine)
        rows = self._rows(query.order_by(t.host_run.c.wave, t.host_run.c.batch, t.host_run.c.host))
        return [decode(HostRun, row.document) for row in rows]

    def steps(
        self, change: str, hosts: Collection[str] | None = None, outcome: Outcome | None = None
    ) -> Sequence[StepRecord]:
        """Return the journal of a change, oldest first."""
        mine = (t.host_step.c.change == change) & _among(t.host_step.c.host, hosts)
        if outcome is not None:
            mine &= t.host_step.c.outcome == outcome.value
        query = sa.select(t.host_step.c.document).where(mine)
        rows = self._rows(query.order_by(t.host_step.c.started_at, t.host_step.c.job, t.host_step.c.host))
        return [decode(StepRecord, row.document) for row in rows]

    def points(self, change: str = "", hosts: Collection[str] | None = None) -> Sequence[RollbackPoint]:
        """Return the points of one change, or all that are held."""
        mine = t.rollback_point.c.change == change if change else t.rollback_point.c.held.is_(True)
        query = sa.select(t.rollback_point.c.document).where(mine & _among(t.rollback_point.c.host, hosts))
        rows = self._rows(
            query.order_by(t.rollback_point.c.change, t.rollback_point.c.host, t.rollback_point.c.provider)
        )
        return [decode(RollbackPoint, row.document) for row in rows]

    def documents(self, change: str, kind: str, names: Collection[str] | None = None) -> Mapping[str, Plain]:
        """Return the evidence of one kind, by name."""
        of = {"change": change, "kind": kind}
        rows = self._rows(_DOCUMENTS, of) if names is None else self._rows(_NAMED, of | {"names": sorted(names)})
        return {row.name: json.loads(row.document) for row in rows}

    def tasks(self, change: str, host: str = "", outcomes: Collection[str] | None = None) -> Sequence[TaskSeen]:
        """Return what came of the tasks of a change, in the order of jobs and results."""
        mine = (t.task.c.change == change) & _among(t.task.c.outcome, outcomes)
        query = sa.select(t.task).where(mine & (t.task.c.host == host) if host else mine)
        return [
            TaskSeen(
                job=r.job, number=r.number, host=r.host, task=r.task, action=r.action, outcome=r.outcome,
                milliseconds=r.milliseconds, message=r.message,
            )
            for r in self._rows(query.order_by(t.task.c.job, t.task.c.number))
        ]  # fmt: skip

    def durations(
        self, hosts: Sequence[str], environment: Environment, change: str = ""
    ) -> Mapping[str, Sequence[Durations]]:
        """Return what the work on hosts took, newest last."""
        query = sa.select(t.duration.c.host, t.duration.c.document).where(t.duration.c.environment == environment.value)
        if change:
            query = query.where(t.duration.c.change == change)
        known: dict[str, list[Durations]] = {host: [] for host in hosts}
        for row in self._rows(query.order_by(t.duration.c.at)):
            if row.host in known:
                known[row.host].append(decode(Durations, row.document))
        return known

    def leases(self) -> Sequence[Lease]:
        """Return every lease that is held."""
        return [
            Lease(host=r.host, change=r.change, token=r.token, expires_at=parse_rfc3339(r.expires_at))
            for r in self._rows(sa.select(t.lease).order_by(t.lease.c.host))
        ]

    def trail(self, chain: str, after: int = 0) -> Sequence[AuditEvent]:
        """Return the events of a chain that follow this ``seq``, oldest first."""
        newer = (t.audit_event.c.chain == chain) & (t.audit_event.c.seq > after)
        query = sa.select(t.audit_event.c.document).where(newer)
        return [decode_event(row.document) for row in self._rows(query.order_by(t.audit_event.c.seq))]

    def heads(self) -> Sequence[ChainHead]:
        """Return the head of every chain, by name."""
        rows = self._rows(sa.select(t.chain).order_by(t.chain.c.chain))
        return [ChainHead(chain=row.chain, count=row.length, head=row.head) for row in rows]

    def undelivered(self, limit: int = 100) -> Sequence[AuditEvent]:
        """Return events that no notifier has been told of, oldest first."""
        same = (t.audit_event.c.chain == t.outbox.c.chain) & (t.audit_event.c.seq == t.outbox.c.seq)
        query = sa.select(t.audit_event.c.document).join_from(t.outbox, t.audit_event, same)
        return [decode_event(row.document) for row in self._rows(query.order_by(t.outbox.c.id).limit(limit))]

    def last_checkpoint(self) -> tuple[bytes, bytes] | None:
        """Return the newest checkpoint and its signature, if there is one."""
        rows = self._rows(sa.select(t.checkpoint).order_by(t.checkpoint.c.seq.desc()).limit(1))
        return (bytes(rows[0].document), bytes(rows[0].signature)) if rows else None

    def figures(self) -> Figures:
        """Count what is there."""
        count = sa.func.count()
        is_open = t.host_step.c.outcome == Outcome.OPEN.value
        with self._db.reader.connect() as connection:
            by_state = connection.execute(sa.select(t.change.c.state, count).group_by(t.change.c.state))
            by_status = connection.execute(sa.select(t.host_run.c.status, count).group_by(t.host_run.c.status))
            oldest = sa.func.min(t.host_step.c.started_at)
            steps = connection.execute(sa.select(count, oldest).where(is_open)).one()
            return Figures(
                changes={row[0]: row[1] for row in by_state},
                hosts={row[0]: row[1] for row in by_status},
                steps=steps[0],
                oldest_step=parse_rfc3339(steps[1]) if steps[1] else None,
                events=connection.execute(sa.select(sa.func.sum(t.chain.c.length))).scalar() or 0,
                backlog=connection.execute(sa.select(count).select_from(t.outbox)).scalar_one(),
            )

    def _read_plan(self, digest: str) -> PatchPlan:
        rows = self._rows(sa.select(t.plan.c.document).where(t.plan.c.digest == digest))
        if not rows:
            raise NotFound(f"there is no plan {digest[:12]}")
        return decode(PatchPlan, rows[0].document)

    def _rows(
        self,
        query: sa.Select[tuple[object, ...]] | sa.Select[tuple[str]] | sa.Select[tuple[str, str]],
        of: Mapping[str, object] | None = None,
    ) -> Sequence[sa.Row[tuple[object, ...]]]:
        with self._db.reader.connect() as connection:
            return connection.execute(query, of).all()


def _among(column: sa.Column[str], names: Collection[str] | None) -> sa.ColumnElement[bool]:
    return sa.true() if names is None else column.in_(sorted(names))


def _say(event: AuditEvent) -> None:
    """Log that an event stands. Its data stay in the trail: they may be long."""
    host = event.data.get("host")
    extra = {"change": event.change, "host": host if isinstance(host, str) else ""}
    outcome = f": {event.outcome}" if event.outcome else ""
    _LOG.info("event %s of chain %s, %s by %s%s", event.seq, event.chain, event.tag, event.actor, outcome, extra=extra)
