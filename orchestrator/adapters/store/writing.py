"""One transaction: a change, its audit event and the outbox row, all of it or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from orchestrator.adapters.store import tables as t
from orchestrator.adapters.store.codec import encode, moment
from orchestrator.domain.admission import Durations
from orchestrator.domain.audit import GENESIS, AuditEvent, Fact, seal
from orchestrator.domain.canonical import Plain
from orchestrator.domain.change import ChangeRequest
from orchestrator.domain.inventory import Environment
from orchestrator.domain.job import TaskResult
from orchestrator.domain.journal import StepRecord
from orchestrator.domain.lifecycle import Move
from orchestrator.domain.plan import PatchPlan, Prediction
from orchestrator.domain.rollback import RollbackPoint
from orchestrator.domain.run import HostRun
from orchestrator.errors import Refused, StaleChange

#: For so many hosts a shard's lease asks by name; for all hosts of a change it reads what others hold.
_FEW = 1000

# Said at every step of every change: putting a statement together takes longer than having it carried out.
_ONE_CHAIN = sa.update(t.chain).where(t.chain.c.chain == sa.bindparam("named"))
_LONGER_BY_ONE = _ONE_CHAIN.values(length=t.chain.c.length + 1).returning(t.chain.c.length, t.chain.c.head)
_ENDS_WITH = _ONE_CHAIN.values(head=sa.bindparam("newest"))
_INSERT_EVENT, _INSERT_INTO_OUTBOX = sa.insert(t.audit_event), sa.insert(t.outbox)


class SqlWriting:
    """Implements ``ports.Writing`` on one open connection."""

    def __init__(self, connection: sa.Connection) -> None:
        self._db = connection
        #: The events that will stand when the transaction does.
        self.noted: list[AuditEvent] = []

    @property
    def transaction(self) -> sa.Connection:
        """Return the connection, whose transaction this is."""
        return self._db

    def open(self, change: ChangeRequest, fact: Fact) -> None:
        """Write a new change."""
        try:
            self._db.execute(sa.insert(t.change).values(_change_row(change)))
        except IntegrityError as error:
            raise StaleChange(f"change {change.id} or its source was entered by somebody else meanwhile.") from error
        self.note(fact)

    def move(self, move: Move) -> AuditEvent:
        """Write the change where its version is the one that was read, and its audit event."""
        before = move.before
        seen = (t.change.c.id == before.id) & (t.change.c.version == before.version)
        if self._db.execute(sa.update(t.change).where(seen).values(_change_row(move.after))).rowcount != 1:
            raise StaleChange(
                f"change {before.id} was moved by somebody else since version {before.version} was read. "
                f"Look again: orchestrator change show {before.id}"
            )
        return self.note(move.fact)

    def note(self, fact: Fact) -> AuditEvent:
        """Append to the chain. The guarded update of its head comes first, so that two writers queue up there."""
        if (row := self._db.execute(_LONGER_BY_ONE, {"named": fact.chain}).one_or_none()) is None:
            insert_missing(self._db, t.chain, {"chain": fact.chain, "length": 0, "head": GENESIS})
            row = self._db.execute(_LONGER_BY_ONE, {"named": fact.chain}).one()
        event = seal(fact, seq=row.length, prev=row.head)
        self._db.execute(_ENDS_WITH, {"named": fact.chain, "newest": event.hash})
        at = {"chain": event.chain, "seq": event.seq}
        said = {"at": moment(event.at), "actor": event.actor, "tag": event.tag, "hash": event.hash}
        self._db.execute(_INSERT_EVENT, {**at, **said, "document": encode(event)})
        self._db.execute(_INSERT_INTO_OUTBOX, at)
        self.noted.append(event)
        return event

    def keep_plan(self, plan: PatchPlan, predictions: Sequence[Prediction]) -> None:
        """Keep a plan under its digest; the same plan again takes the newer predictions."""
        key = plan.digest
        self._replace(t.plan, [{"digest": key, "change": plan.change, "document": encode(plan)}])
        self._db.execute(sa.delete(t.prediction).where(t.prediction.c.plan == key))
        if rows := [{"plan": key, "host": one.host, "document": encode(one)} for one in predictions]:
            self._db.execute(sa.insert(t.prediction), rows)

    def keep_runs(self, runs: Sequence[HostRun]) -> None:
        """Write where the hosts stand, unless somebody has taken one of them over."""
        self._refuse_overtaken({run.host: run.token for run in runs if run.token})
        rows = [
            {"change": r.change, "host": r.host, "wave": r.wave, "batch": r.batch, "status": r.status.value}
            | {"ordinary": r.is_ordinary, "document": encode(r)}
            for r in runs
        ]
        self._replace(t.host_run, rows)

    def keep_steps(self, steps: Sequence[StepRecord]) -> None:
        """Write steps begun or finished."""
        rows = [
            {"change": s.change, "host": s.host, "job": s.job, "started_at": moment(s.started_at)}
            | {"outcome": s.outcome.value, "document": encode(s)}
            for s in steps
        ]
        self._replace(t.host_step, rows)

    def keep_points(self, points: Sequence[RollbackPoint]) -> None:
        """Write points."""
        rows = [
            {"change": p.change, "host": p.host, "provider": p.provider, "held": p.is_held, "document": encode(p)}
            for p in points
        ]
        self._replace(t.rollback_point, rows)

    def keep_document(self, change: str, kind: str, name: str, document: Plain) -> None:
        """Keep a piece of evidence."""
        self._replace(t.document, [{"change": change, "kind": kind, "name": name, "document": encode(document)}])

    def forget_documents(self, change: str, kind: str) -> None:
        """Remove what was kept under a kind."""
        self._db.execute(sa.delete(t.document).where((t.document.c.change == change) & (t.document.c.kind == kind)))

    def keep_tasks(self, change: str, job: str, tasks: Sequence[TaskResult]) -> None:
        """Keep what came of a job's tasks, in place of what was kept of it before."""
        self._db.execute(sa.delete(t.task).where(t.task.c.job == job))
        if tasks:
            self._db.execute(sa.insert(t.task), [{"change": change, "job": job, **_task_row(one)} for one in tasks])

    def forget_tasks(self, change: str) -> None:
        """Remove what is kept of the tasks of a change."""
        self._db.execute(sa.delete(t.task).where(t.task.c.change == change))

    def keep_durations(
        self, change: str, host: str, environment: Environment, durations: Durations, at: datetime
    ) -> None:
        """Remember how long the work on a host took."""
        row: dict[str, object] = {"change": change, "host": host, "environment": environment.value}
        self._replace(t.duration, [row | {"at": moment(at), "document": encode(durations)}])

    def lease(self, hosts: Sequence[str], change: str, *, now: datetime, hold: timedelta) -> int:
        """Draw a token and lease all the hosts with it."""
        token = self.draw("token")
        rival = t.lease.c.change != change
        if len(hosts) <= _FEW:
            rival &= t.lease.c.host.in_(sorted(hosts))
        held = sa.select(t.lease.c.host, t.lease.c.change, t.lease.c.expires_at).where(rival)
        rivals = {row.host: row for row in self._db.execute(held) if row.expires_at > moment(now)}
        taken = [f"{host} by {rivals[host].change}" for host in hosts if host in rivals]
        if taken:
            raise Refused(
                f"change {change} cannot lease its hosts: held are {', '.join(taken)}. Wait, or end that change."
            )
        rows = [{"host": host, "change": change, "token": token, "expires_at": moment(now + hold)} for host in hosts]
        try:
            self._replace(t.lease, rows)
        except IntegrityError as error:
            raise Refused(f"change {change} cannot lease its hosts: another change took one this moment.") from error
        return token

    def free(self, change: str) -> None:
        """Give up every lease of the change."""
        self._db.execute(sa.delete(t.lease).where(t.lease.c.change == change))

    def delivered(self, events: Sequence[AuditEvent]) -> None:
        """Mark outbox rows as sent."""
        for event in events:
            sent = (t.outbox.c.chain == event.chain) & (t.outbox.c.seq == event.seq)
            self._db.execute(sa.delete(t.outbox).where(sent))

    def keep_checkpoint(self, seq: int, document: bytes, signature: bytes) -> None:
        """Keep a signed checkpoint."""
        try:
            self._db.execute(sa.insert(t.checkpoint).values(seq=seq, document=document, signature=signature))
        except IntegrityError as error:
            raise StaleChange(f"checkpoint {seq} was made by somebody else this moment; make it again.") from error

    def draw(self, name: str) -> int:
        """Return the next number of a counter."""
        one_more = sa.update(t.counter).where(t.counter.c.name == name).values(value=t.counter.c.value + 1)
        next_value = one_more.returning(t.counter.c.value)
        if (value := self._db.execute(next_value).scalar()) is None:
            insert_missing(self._db, t.counter, {"name": name, "value": 0})
            value = self._db.execute(next_value).scalar_one()
        return int(value)

    def _refuse_overtaken(self, tokens: Mapping[str, int]) -> None:
        """Raise StaleChange where a host has been leased under a newer token: whoever holds that one speaks for it."""
        if not tokens:
            return
        mine = t.lease.c.host.in_(sorted(tokens))
        newer = sa.select(t.lease.c.host, t.lease.c.token).where(mine, t.lease.c.token > min(tokens.values()))
        found = sorted(row.host for row in self._db.execute(newer) if row.token > tokens.get(row.host, row.token))
        if found:
            raise StaleChange(f"{', '.join(found[:5])}: somebody else works there under a newer token.")

    def _replace(self, table: sa.Table, rows: Sequence[Mapping[str, object]]) -> None:
        """Insert the rows in place of those with the same key, with two statements however many there are."""
        if not rows:
            return
        keys, delete, insert = _replacing(table)
        self._db.execute(delete, [{f"key_{key}": row[key] for key in keys} for row in rows])
        self._db.execute(insert, [dict(row) for row in rows])


@cache
def _replacing(table: sa.Table) -> tuple[Sequence[str], sa.Delete, sa.Insert]:
    """Return the keys of a table, and what takes rows with some keys away and puts rows in."""
    keys = [column.name for column in table.primary_key]
    same = sa.and_(*(table.c[key] == sa.bindparam(f"key_{key}") for key in keys))
    return keys, sa.delete(table).where(same), sa.insert(table)


def insert_missing(connection: sa.Connection, table: sa.Table, row: Mapping[str, object]) -> None:
    """Insert a row unless its key is taken; whoever does the same at this moment waits, and finds it there."""
    # Both import drivers; that of the other database is never needed.
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as postgresql_insert

        connection.execute(postgresql_insert(table).values(dict(row)).on_conflict_do_nothing())
    else:
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        connection.execute(sqlite_insert(table).values(dict(row)).on_conflict_do_nothing())


def _task_row(task: TaskResult) -> dict[str, object]:
    return {
        "number": task.number, "host": task.host, "task": task.task, "action": task.action, "outcome": task.outcome,
        "milliseconds": task.milliseconds, "message": task.message,
    }  # fmt: skip


def _change_row(change: ChangeRequest) -> dict[str, object]:
    return {
        "id": change.id,
        "version": change.version,
        "state": change.state.value,
        "source_key": change.source_key,
        "title": change.spec.title,
        "requester": change.requester,
        "document": encode(change),
    }
