"""Changes as durable workflows, on DBOS: the engine carries, and decides nothing.

A workflow takes turns (``flow.carrying``): each turn is a step, the move that follows is a transaction of ours that
holds the step's completion as well, and shards are workflows of their own on the queues of their zone.
The journal is the truth: with the engine's tables gone, ``sweep`` finds every open change again.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager

import sqlalchemy as sa
from dbos import (
    DBOS,
    DBOSClient,
    DBOSConfig,
    DBOSPortableJSONSerializer,
    SetWorkflowID,
    SQLAlchemyDatasource,
    WorkflowStatus,
)
from sqlalchemy.exc import DBAPIError

from orchestrator import logs
from orchestrator.domain.canonical import Plain
from orchestrator.domain.change import CARRIED, ChangeRequest
from orchestrator.domain.lifecycle import ChangeEvent
from orchestrator.engine import shape
from orchestrator.engine.hands import Hands, Taken
from orchestrator.errors import OrchestratorError, StaleChange
from orchestrator.flow.carrying import take_turn, work_on
from orchestrator.flow.concluding import Conclusion, conclude
from orchestrator.flow.crew import Crew
from orchestrator.flow.ledger import Ledger
from orchestrator.flow.sharding import Shard, Task
from orchestrator.flow.stepping import TASKS
from orchestrator.flow.sticking import is_stuck, stick
from orchestrator.ports import Codec, Writing

#: Where changes stand in line; the hosts of a zone have lines of their own.
CHANGES = "changes"
_NIGHT, _STAGING, _BACK, _DEFAULT = "zone", "staging", "back", "default"
#: Where the newest attempt at carrying a change is written down.
_KIND, _NAME = "carrying", "attempt"
_UNFINISHED = ["ENQUEUED", "PENDING", "DELAYED"]
#: Seconds between two looks at each line, and at what came of a shard. A look is a transaction: with four lines, five
#: looks a second at each cost a twelfth of a processor, all day long.
POLL, ANSWER = 0.5, 0.2
#: Seconds between two attempts to reach a database that is away.
PATIENCE = 1.0
#: Seconds for which what was taken from a line may wait for a thread before it can count as lost.
LOST = 10.0

log = logging.getLogger(__name__)

#: Holds a change for those who carry it, against those who work on it by hand.
Sharing = Callable[[str], AbstractContextManager[None]]


def line_of(shard: Shard) -> str:
    """Return the name of the queue in which a shard stands."""
    kind = _STAGING if shard.task in TASKS else _BACK if shard.task is Task.PUT_BACK else _NIGHT
    return f"{kind}.{shard.zone or _DEFAULT}"


def lines_of(zone: str) -> tuple[str, ...]:
    """Return the names of a zone's queues: nobody's window waits for a rehearsal, and who goes back for nobody."""
    return tuple(f"{kind}.{zone or _DEFAULT}" for kind in (_NIGHT, _STAGING, _BACK))


def zone_of(line: str) -> str:
    """Return the zone of a queue."""
    zone = line.partition(".")[2]
    return "" if zone == _DEFAULT else zone


class DurableQueue:
    """Implements ``ports.WorkQueue``: what is enqueued becomes visible with the transaction that causes it."""

    def __init__(self, engine: sa.Engine) -> None:
        # The default would be pickle: whoever can write to the database could run code here.
        self._client = DBOSClient(
            system_database_engine=engine, serializer=DBOSPortableJSONSerializer(), application_name=NAME, lazy=True
        )

    def enqueue(self, change: ChangeRequest, writing: Writing) -> None:
        """Put a change in line, as its newest attempt: earlier ones take no further turn."""
        assert isinstance(writing.transaction, sa.Connection)
        attempt = f"{change.id}~{uuid.uuid4().hex[:12]}"
        writing.keep_document(change.id, _KIND, _NAME, {"id": attempt})
        self._client.enqueue_in_transaction(
            writing.transaction,
            {
                "workflow_name": "carry",
                "queue_name": CHANGES,
                "workflow_id": attempt,
                "workflow_id_reuse_policy": "reject",
                "app_version": shape.SHAPE,
            },
            change.id,
        )


NAME = "patch-orchestrator"


def prepare(url: str) -> None:
    """Make the engine's tables, or bring them to the version that it needs; harmless where they are."""
    logging.getLogger("dbos").setLevel(logging.ERROR)
    _make_tables(url)
    client = DBOSClient(system_database_url=url, serializer=DBOSPortableJSONSerializer(), application_name=NAME)
    try:
        # A worker that finds the lines when it starts need not look for them later.
        for line in (CHANGES, *lines_of("")):
            client.register_queue(line, polling_interval_sec=POLL, on_conflict="never_update")
    finally:
        client.destroy()


def _make_tables(url: str, attempts: int = 5) -> None:
    """Make the engine's tables. It does not keep others from doing so at the same moment; one of them fails then."""
    for left in reversed(range(attempts)):
        try:
            DBOS.migrate(url)
            return
        except DBAPIError:
            if not left:
                raise
            time.sleep(PATIENCE)


class Durable:
    """The engine in this process. One process has one; ``launch`` makes it work."""

    def __init__(
        self, *, crew: Crew, engine: sa.Engine, executor: str, codec: Codec, sharing: Sharing, at_once: int = 4
    ) -> None:
        self._crew, self._codec, self._sharing, self._at_once = crew, codec, sharing, at_once
        self._executor = executor
        self._hands = Hands(LOST)
        # The connections are ours; the address only says of which kind the database is.
        url = engine.url.render_as_string(hide_password=True)
        serializer = DBOSPortableJSONSerializer()
        config: DBOSConfig = {
            "name": NAME,
            "system_database_url": url,
            "system_database_engine": engine,
            "application_version": shape.SHAPE,
            "executor_id": executor,
            "serializer": serializer,
            "log_level": "WARNING",
        }
        # Where nobody listens to it, it writes in a form of its own.
        logging.getLogger("dbos").addHandler(logging.NullHandler())
        DBOS(config=config)
        self._source = SQLAlchemyDatasource.create(url, engine=engine, serializer=serializer)
        self._define()

    @property
    def ledger(self) -> Ledger:
        """The door to the database, with the line in which work stands."""
        return self._crew.ledger

    def launch(self, zones: Sequence[str], *, everywhere: bool) -> None:
        """Begin to take work: that of the named zones, or where none is named, changes and hosts without a zone.

        ``everywhere``: that of every zone as well, since nobody else does it.
        """
        if zones:
            DBOS.listen_queues([line for zone in zones for line in lines_of(zone)])
        elif not everywhere:
            DBOS.listen_queues([CHANGES, *lines_of("")])
        DBOS.launch()
        DBOS.register_queue(CHANGES, polling_interval_sec=POLL)
        for zone in zones or [""]:
            self._register(zone)

    def sweep(self, shapes: Collection[str] = ()) -> int:
        """Put every open change in line that nobody has in hand; return how many there were.

        ``shapes`` are those of the workers that live. What an earlier program left in a shape that nobody carries any
        more is ended, and begun anew from the journal in ours.
        """
        found = 0
        for change in self.ledger.store.changes(CARRIED):
            in_hand = self._end_other_shapes(change.id, shapes)
            if in_hand or is_stuck(change.id, self.ledger):
                continue
            why = self._failure(change.id)
            log.warning("%s is %s, and nobody has it in hand; %s", change.id, change.state, why or "put in line again")
            queue = self.ledger.queue
            assert queue is not None
            queue.ready()
            with self.ledger.store.begin() as writing:
                if why:
                    # Again and again would be worse: somebody has to look.
                    stick(change.id, why, self.ledger, writing)
                else:
                    queue.enqueue(change, writing)
            found += 1
        return found

    def _failure(self, change_id: str) -> str:
        """Return why the newest attempt ended in an error, or an empty text."""
        attempt = self._newest(change_id)
        found = DBOS.list_workflows(workflow_ids=[attempt], load_input=False) if attempt else []
        if not found or found[0].status in ("SUCCESS", "CANCELLED"):
            return ""
        return f"unexpected: the engine ended it as {found[0].status}: {found[0].error}"

    def _newest(self, change_id: str) -> str:
        newest = self.ledger.store.documents(change_id, _KIND, [_NAME]).get(_NAME)
        return str(newest.get("id", "")) if isinstance(newest, dict) else ""

    def _end_other_shapes(self, change_id: str, shapes: Collection[str]) -> bool:
        """End what nobody carries any more; tell whether the change has workflows in a shape that somebody carries."""
        left = DBOS.list_workflows(
            status=_UNFINISHED, workflow_id_prefix=f"{change_id}~", load_input=False, load_output=False
        )
        gone = [one for one in left if one.app_version not in {shape.SHAPE, *shapes}]
        for one in gone:
            DBOS.cancel_workflow(one.workflow_id)
        return len(gone) < len(left)

    def is_idle(self) -> bool:
        """Tell whether no workflow is left to do: one that is answers for hundreds in line behind it."""
        return not DBOS.list_workflows(status=_UNFINISHED, limit=1, load_input=False, load_output=False)

    def zones_in_line(self) -> set[str]:
        """Return the zones whose hosts stand in line."""
        found = DBOS.list_workflows(status="ENQUEUED", load_input=False, load_output=False)
        lines = {one.queue_name for one in found if one.queue_name and one.queue_name != CHANGES}
        return {zone_of(line) for line in lines}

    def recover(self, alive: Callable[[], set[str]]) -> int:
        """Take over from workers that are not alive any more, and put in line again what was lost; return how much.

        What is pending is read before who lives: a worker that starts in between is not taken for dead.
        """
        pending = DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
        found = self._find_lost([one for one in pending if one.executor_id == self._executor])
        owners = {one.executor_id for one in pending if one.executor_id}
        dead = sorted(owners - alive() - {self._executor})
        # The one private function that is used: it changes a row only while it is pending and owned by a dead worker.
        return found + (len(DBOS._recover_pending_workflows(dead)) if dead else 0)

    def _find_lost(self, held: Sequence[WorkflowStatus]) -> int:
        """Put what the engine holds for ours, and nobody will begin with, in line again; return how much it was."""
        lost = self._hands.lost(
            [
                Taken(name=one.workflow_id, line=one.queue_name, at=one.dequeued_at or 0)
                for one in held
                if one.queue_name and one.app_version == shape.SHAPE
            ]
        )
        for one in lost:
            log.warning("%s was lost, and is put in line again", one.name)
            DBOS.resume_workflow(one.name, queue_name=one.line)
        return len(lost)

    def _register(self, zone: str) -> None:
        for line in lines_of(zone):
            DBOS.register_queue(line, worker_concurrency=self._at_once, polling_interval_sec=POLL)

    def _define(self) -> None:
        """Register the workflows. Their names and steps are the contract with what is in the database."""
        crew, codec, store = self._crew, self._codec, self._crew.ledger.store

        @DBOS.step(name="turn")
        def turn(change_id: str) -> dict[str, Plain]:
            attempt = DBOS.workflow_id
            return self._patiently(change_id, lambda: self._told(change_id, attempt))

        @self._source.transaction(name="conclude")
        def move(told: dict[str, Plain]) -> str:
            writing = store.joined(self._source.sql_session().connection())
            data = told["data"]
            conclusion = Conclusion(
                change=codec.decode(ChangeRequest, str(told["change"])),
                event=ChangeEvent(str(told["event"])),
                data=data if isinstance(data, dict) else {},
                free=bool(told["free"]),
            )
            try:
                return conclude(conclusion, crew.ledger, writing).state.value
            except StaleChange:
                return ""  # A person has asked for something meanwhile: the next turn sees it.

        @self._source.transaction(name="stick")
        def give_up(change_id: str, why: str) -> None:
            stick(change_id, why, crew.ledger, store.joined(self._source.sql_session().connection()))

        @DBOS.step(name="work")
        def work(text: str) -> str:
            shard = codec.decode(Shard, text)

            def act() -> dict[str, Plain]:
                work_on(shard, crew)
                return {}

            return str(self._patiently(shard.change, act).get("why", ""))

        @DBOS.workflow(name="shard")
        def carry_shard(text: str) -> str:
            with self._hands.carry(DBOS.workflow_id or "", line_of(codec.decode(Shard, text))):
                return work(text)

        @DBOS.workflow(name="carry")
        def carry(change_id: str) -> None:
            with self._hands.carry(DBOS.workflow_id or "", CHANGES):
                carry_on(change_id)

        def carry_on(change_id: str) -> None:
            number = 0
            while (follows := turn(change_id))["kind"] != "over":
                number += 1
                if follows["kind"] == "conclusion":
                    with logs.about(change=change_id):
                        move(follows)
                    continue
                why = str(follows.get("why", ""))
                shards = follows.get("shards")
                handles = []
                for shard in shards if isinstance(shards, list) else ():
                    assert isinstance(shard, dict)
                    with SetWorkflowID(f"{DBOS.workflow_id}.{number}.{shard['name']}"):
                        handles.append(DBOS.enqueue_workflow(str(shard["line"]), carry_shard, str(shard["text"])))
                reasons = [reason for handle in handles if (reason := handle.get_result(polling_interval_sec=ANSWER))]
                if why or reasons:
                    give_up(change_id, why or "; ".join(reasons))
                    return

    def _told(self, change_id: str, attempt: str | None) -> dict[str, Plain]:
        """Take a turn, and return what follows as the engine keeps it; nothing, where a newer attempt has begun."""
        if self._newest(change_id) != attempt:
            return {"kind": "over"}
        follows = take_turn(change_id, self._crew)
        if follows is None:
            return {"kind": "over"}
        if isinstance(follows, Conclusion):
            return {
                "kind": "conclusion",
                "change": self._codec.encode(follows.change),
                "event": follows.event.value,
                "data": {**follows.data},
                "free": follows.free,
            }
        for zone in {shard.zone for shard in follows}:
            self._register(zone)
        told: list[Plain] = [
            {"name": shard.name, "line": line_of(shard), "text": self._codec.encode(shard)} for shard in follows
        ]
        return {"kind": "shards", "shards": told}

    def _patiently(self, change_id: str, act: Callable[[], dict[str, Plain]]) -> dict[str, Plain]:
        """Act, again and again while the database is away: what was begun on hosts goes on and is entered later."""
        while True:
            try:
                with logs.about(change=change_id), self._sharing(change_id):
                    return act()
            except DBAPIError as error:
                log.warning("%s waits for the database: %s", change_id, error.orig)
                time.sleep(PATIENCE)
            except OrchestratorError as error:
                return {"kind": "stuck", "why": str(error)}
            except Exception as error:
                log.exception("%s cannot be carried on", change_id)
                return {"kind": "stuck", "why": f"unexpected: {type(error).__name__}: {error}"}
