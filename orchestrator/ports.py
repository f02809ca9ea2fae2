"""The seams: what the flow needs from the world, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol, TypeVar

from orchestrator.domain.admission import Durations
from orchestrator.domain.audit import AuditEvent, Fact
from orchestrator.domain.backup import Checked, Contents, SignedCheckpoint
from orchestrator.domain.canonical import Plain
from orchestrator.domain.change import ChangeRequest, ChangeSpec, ChangeState
from orchestrator.domain.evidence import BundleContents
from orchestrator.domain.health import HealthCheck, HealthReport
from orchestrator.domain.identity import People, SignedStatement, Statement
from orchestrator.domain.inventory import Environment, Host
from orchestrator.domain.job import Job, JobResult, TaskResult, TaskSeen
from orchestrator.domain.journal import Outcome, StepRecord
from orchestrator.domain.lifecycle import Move
from orchestrator.domain.metrics import Figures
from orchestrator.domain.plan import Content, PatchPlan, Prediction
from orchestrator.domain.probe import Needs, ProbeReport
from orchestrator.domain.retention import Holding
from orchestrator.domain.rollback import PointTaken, PutBack, RollbackPoint
from orchestrator.domain.run import HostRun, HostStatus
from orchestrator.domain.tracing import Span

T = TypeVar("T")

# Seams open to plugins, each through the entry-point group named in its docstring.


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A host for which a provider takes or restores a point.

    ``patch_job`` is what the playbooks are told; ``prepared`` is the ``point`` report that ``protect.yml`` gave for it.
    """

    host: Host
    patch_job: Mapping[str, Plain]
    prepared: Mapping[str, Plain] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """For which change, in which environment, from which frozen content and under which job id a provider works."""

    change: str
    environment: Environment
    content: str
    job: str
    expires_at: datetime


class RollbackProvider(Protocol):
    """A way back (``orchestrator.rollback_providers``); all three work on a whole batch, and may be called again."""

    def take(self, subjects: Sequence[Subject], occasion: Occasion) -> Sequence[PointTaken]:
        """Take a point of each host; a host that has one for this change keeps it."""

    def restore(
        self, points: Sequence[RollbackPoint], subjects: Sequence[Subject], occasion: Occasion
    ) -> Sequence[PutBack]:
        """Put each host back to its point; one that is there already is left as it is."""

    def release(
        self, points: Sequence[RollbackPoint], subjects: Sequence[Subject], occasion: Occasion
    ) -> Mapping[str, str]:
        """Give up the points; return the hosts whose point is still there, each with the reason."""


class ServiceCheck(Protocol):
    """A health check that asks the service itself (``orchestrator.health_checks``), all hosts of a batch at once."""

    def check(self, hosts: Sequence[Host], check: HealthCheck) -> Sequence[HealthReport]:
        """Return one report per host."""


class Notifier(Protocol):
    """Somebody who wants to know (``orchestrator.notifiers``)."""

    def notify(self, change: ChangeRequest | None, event: AuditEvent) -> None:
        """Tell it. Raises Unavailable where it could not be told."""


# Seams of the house.


class Clock(Protocol):
    """The time, so that tests can make it pass."""

    def now(self) -> datetime:
        """Return the time now, in UTC."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class Inventory(Protocol):
    """The site's hosts."""

    def resolve(self, pattern: str, environment: Environment, content: str = "") -> Sequence[Host]:
        """Return the hosts that an Ansible pattern matches, sorted by name; from the frozen content, if one is named.

        Raises InvalidInput where the pattern matches nothing or names something that is not there.
        """

    def frozen_hosts(self, pattern: str, environment: Environment, content: str) -> Mapping[str, Host]:
        """Return what ``resolve`` does of frozen content, by name; every shard asks for it.

        It is read once, unless programs or plugins say who is there.
        """


class ContentKeeper(Protocol):
    """The files that Ansible runs."""

    def read(self) -> Content:
        """Return the site's content as it is now."""

    def freeze(self, content: Content) -> None:
        """Keep a read-only copy under ``content.digest``. Raises Refused where the files changed meanwhile."""

    def frozen_is_whole(self, digest: str) -> str:
        """Return what differs in the frozen copy from its digest, or an empty text."""


class PackageKeeper(Protocol):
    """The bytes of every locked package, by sha256."""

    def missing(self, digests: Iterable[str]) -> Sequence[str]:
        """Return those of which no file with that content is kept."""

    @property
    def folder(self) -> Path:
        """Return where the files lie, each under its sha256."""


class PlaybookRunner(Protocol):
    """Ansible, under a supervisor that outlives its caller."""

    def run(self, job: Job, *, on_wait: Callable[[], None] | None = None) -> JobResult:
        """Run the job at most once for its id and wait for the result, whoever started it.

        ``on_wait`` is called about once a second meanwhile; what it raises goes through, and the job goes on.
        """

    def result(self, job_id: str) -> JobResult | None:
        """Return what is known of a job that was once started, or None; DIED where nobody carries it any more."""

    def stop(self, job_id: str) -> None:
        """Ask the job to end: no further task begins; what the hosts are doing goes on."""


class PacedRunner(PlaybookRunner, Protocol):
    """An Ansible of which only so much runs at once: a job may have to wait for a place."""

    def reserve(self, job: Job, go_on: Callable[[], bool]) -> bool:
        """Get a place for a job that is to be run next, and wait for it while ``go_on``, asked at once and then again
        and again, says so. False: there is none. A job that has begun needs none.
        """


class Probe(Protocol):
    """A direct look at hosts, without Ansible."""

    def look(self, hosts: Sequence[Host], needs: Needs) -> Sequence[ProbeReport]:
        """Look at all hosts at once; a host that does not answer is a report, never an exception."""

    def knock(self, hosts: Sequence[Host]) -> Sequence[ProbeReport]:
        """Log in to one host of each account that has a password: what it refuses no other host is to be shown.

        ``AUTHENTICATE`` in a report tells that the password must not be shown to that host.
        """


class RollbackKit(Protocol):
    """The folder with which hosts are put back when the orchestrator is gone."""

    def write(self, plan: PatchPlan, hosts: Mapping[str, Host], patch_jobs: Mapping[str, Mapping[str, Plain]]) -> Path:
        """Write the kit, or complete it, with the jobs of some hosts; return its folder. ``hosts`` are all by name."""


class Tracer(Protocol):
    """Whoever collects traces."""

    def send(self, spans: Sequence[Span]) -> None:
        """Take the spans. Raises Unavailable."""


class Holdings(Protocol):
    """What the state folder keeps because of changes."""

    def kept(self) -> Sequence[Holding]:
        """Return everything that is kept, each with the change that it was made for, where it tells."""

    def remove(self, holding: Holding) -> int:
        """Remove it, where it is still there; return the bytes that freed.

        Raises Refused where it is at work, Unavailable where it cannot be removed.
        """


class Backups(Protocol):
    """Copies of the database, each one file."""

    def create(self, target: Path, at: datetime) -> Checked:
        """Write a backup to this file and read it back. Raises Refused where a file is there."""

    def check(self, file: Path) -> Checked:
        """Read a backup as a restore would, without the database. Raises EvidenceRefused where it is none."""

    def present(self) -> Contents | None:
        """Return what the database holds now; None where that is nothing. Raises Unavailable where it is damaged."""

    def newest_checkpoint(self) -> SignedCheckpoint | None:
        """Return the newest checkpoint of the database as it is now."""

    def restore(
        self, file: Path, *, counters: Mapping[str, int], checkpoint: SignedCheckpoint | None, aside: str
    ) -> str:
        """Put the backup in the database's place, with these counters, and with this checkpoint besides its own.

        Return where the old database is kept, in a file whose name holds ``aside``; nothing where there was none.
        """


class Signers(Protocol):
    """The people's signatures."""

    def people(self) -> People:
        """Return the people whom the site knows now."""

    def sign(self, statement: Statement, key_file: str) -> SignedStatement:
        """Sign with the private key in that file, or with the agent's for a public key file."""

    def public_key(self, key_file: str) -> str:
        """Return the OpenSSH public key that belongs to a key file."""

    def is_valid(self, signed: SignedStatement) -> bool:
        """Tell whether the signature is good for the statement and made by ``signed.key``."""


class Intake(Protocol):
    """Requests as people write them."""

    def read(self, file: Path) -> RenderedRequest:
        """Return what the file asks for. Raises InvalidInput with every mistake at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedRequest:
    """A request after its template was rendered. ``source_key`` is the same whenever the same source is read again."""

    spec: ChangeSpec
    source_key: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A host held by one change: ``token`` is the counter that the host will refuse to see go backwards."""

    host: str
    change: str
    token: int
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainHead:
    """How long a chain is and its last hash."""

    chain: str
    count: int
    head: str


class Writing(Protocol):
    """One transaction. Nothing of it stands unless all of it does."""

    @property
    def transaction(self) -> object:
        """Return the driver's transaction, for those who have something of their own to write in it."""

    def open(self, change: ChangeRequest, fact: Fact) -> None:
        """Write a new change. Raises StaleChange where its id or source is taken."""

    def move(self, move: Move) -> AuditEvent:
        """Write the change, its audit event and the outbox row. Raises StaleChange where the change has moved on."""

    def note(self, fact: Fact) -> AuditEvent:
        """Append an event to its chain, and an outbox row."""

    def keep_plan(self, plan: PatchPlan, predictions: Sequence[Prediction]) -> None:
        """Keep a plan under its digest, with the predictions that stand beside it."""

    def keep_runs(self, runs: Sequence[HostRun]) -> None:
        """Write where the hosts stand. Raises StaleChange where a host is leased under a newer token than its run's."""

    def keep_steps(self, steps: Sequence[StepRecord]) -> None:
        """Write steps begun or finished; a step is known by change, host and job."""

    def keep_points(self, points: Sequence[RollbackPoint]) -> None:
        """Write points; a point is known by change, host and provider."""

    def keep_document(self, change: str, kind: str, name: str, document: Plain) -> None:
        """Keep a piece of evidence (state before and after, health, packages, job artifacts, population)."""

    def forget_documents(self, change: str, kind: str) -> None:
        """Remove what was kept under a kind: no evidence, but what a worker has left for the next one."""

    def keep_tasks(self, change: str, job: str, tasks: Sequence[TaskResult]) -> None:
        """Keep what came of a job's tasks, in place of what was kept of it before."""

    def forget_tasks(self, change: str) -> None:
        """Remove what is kept of the tasks of a change: their files go, too."""

    def keep_durations(
        self, change: str, host: str, environment: Environment, durations: Durations, at: datetime
    ) -> None:
        """Remember how long the work on a host took."""

    def lease(self, hosts: Sequence[str], change: str, *, now: datetime, hold: timedelta) -> int:
        """Lease all the hosts for the change, or renew the lease, and return a new token.

        Raises Refused, naming the holder, where another change holds one of them.
        """

    def free(self, change: str) -> None:
        """Give up every lease of the change."""

    def delivered(self, events: Sequence[AuditEvent]) -> None:
        """Mark outbox rows as sent."""

    def keep_checkpoint(self, seq: int, document: bytes, signature: bytes) -> None:
        """Keep a signed checkpoint."""


class WorkQueue(Protocol):
    """Where work for machines is put in line."""

    def ready(self) -> None:
        """Make sure that work can be put in line; comes before the transaction in which that is done."""

    def enqueue(self, change: ChangeRequest, writing: Writing) -> None:
        """Have the change carried as soon as this transaction has been committed, and only then."""


class Store(Protocol):
    """The database."""

    def begin(self) -> AbstractContextManager[Writing]:
        """Open a transaction that commits at the end of the block."""

    def joined(self, transaction: object) -> Writing:
        """Write in a transaction that somebody else has opened and will commit."""

    def installation(self) -> str:
        """Return the id of this installation, half of every fencing token."""

    def change(self, change_id: str) -> ChangeRequest:
        """Return a change. Raises NotFound."""

    def change_from(self, source_key: str) -> ChangeRequest | None:
        """Return the change that came from this source, if there is one."""

    def changes(self, states: Iterable[ChangeState] = ()) -> Sequence[ChangeRequest]:
        """Return the changes in these states (all, where none is named), oldest first."""

    def next_change_id(self) -> str:
        """Return the id for a new change, such as ``CHG-0001``."""

    def plan(self, digest: str) -> PatchPlan:
        """Return a plan. Raises NotFound."""

    def predictions(self, digest: str, hosts: Collection[str] | None = None) -> Sequence[Prediction]:
        """Return what stands beside a plan, for all of its hosts or these, by name."""

    def runs(self, change: str, hosts: Collection[str] | None = None) -> Sequence[HostRun]:
        """Return where the hosts of a change stand, all or these, by wave, batch and name."""

    def remarkable(self, change: str) -> Sequence[HostRun]:
        """Return where those hosts of a change stand that are not ordinary, by wave, batch and name."""

    def first_batch(self, change: str, statuses: Collection[HostStatus]) -> Sequence[HostRun]:
        """Return the hosts with one of these statuses of the first wave and batch that has any, by name."""

    def last_batch(self, change: str, statuses: Collection[HostStatus]) -> Sequence[HostRun]:
        """Return the hosts with one of these statuses of the last wave and batch that has any, by name."""

    def steps(
        self, change: str, hosts: Collection[str] | None = None, outcome: Outcome | None = None
    ) -> Sequence[StepRecord]:
        """Return the journal of a change, of all its hosts or these, with any outcome or this one, oldest first."""

    def points(self, change: str = "", hosts: Collection[str] | None = None) -> Sequence[RollbackPoint]:
        """Return the points of one change, or all that are held; of these hosts only, where some are named."""

    def documents(self, change: str, kind: str, names: Collection[str] | None = None) -> Mapping[str, Plain]:
        """Return the evidence of one kind, all or these, by name."""

    def tasks(self, change: str, host: str = "", outcomes: Collection[str] | None = None) -> Sequence[TaskSeen]:
        """Return what came of the tasks of a change, in the order of jobs and results; of a host, with an outcome."""

    def durations(
        self, hosts: Sequence[str], environment: Environment, change: str = ""
    ) -> Mapping[str, Sequence[Durations]]:
        """Return what the work on hosts took, newest last; on one change, if it is named."""

    def leases(self) -> Sequence[Lease]:
        """Return every lease that is held."""

    def trail(self, chain: str, after: int = 0) -> Sequence[AuditEvent]:
        """Return the events of a chain that follow this ``seq``, oldest first."""

    def heads(self) -> Sequence[ChainHead]:
        """Return the head of every chain, by name."""

    def undelivered(self, limit: int = 100) -> Sequence[AuditEvent]:
        """Return events that no notifier has been told of, oldest first."""

    def last_checkpoint(self) -> tuple[bytes, bytes] | None:
        """Return the newest checkpoint and its signature, if there is one."""

    def figures(self) -> Figures:
        """Count what is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSeen:
    """A worker that is entered, and for how long it was silent. Where it serves no named zone, it carries changes."""

    id: str
    node: str
    zones: tuple[str, ...]
    started_at: datetime
    silent_for: timedelta


class Workers(Protocol):
    """Who carries changes."""

    def enter(self, worker: str, *, node: str, zones: Sequence[str], at: datetime) -> None:
        """Enter a worker, alive from now on."""

    def beat(self, worker: str) -> bool:
        """Give a sign of life; False where somebody has taken this worker for dead."""

    def leave(self, worker: str) -> None:
        """Take a worker out that ends in an orderly way."""

    def fence(self, lease: timedelta) -> Sequence[str]:
        """Take out the workers that were silent for longer than this, and return them: they may act no more."""

    def seen(self) -> Sequence[WorkerSeen]:
        """Return the workers that are entered, the oldest first."""


class Codec(Protocol):
    """Values as text, and back."""

    def encode(self, value: object) -> str:
        """Return the value as text."""

    def decode(self, kind: type[T], text: str) -> T:
        """Return the value that was encoded."""


class Notary(Protocol):
    """The installation's signature."""

    def sign(self, document: bytes) -> bytes:
        """Return the signature document for these bytes."""

    def publish(self, line: bytes) -> None:
        """Send a signed checkpoint outside. Raises Unavailable where it could not be sent."""

    def write_bundle(self, target: Path, contents: BundleContents) -> Path:
        """Write an evidence bundle to this file, complete or not at all, and return it."""
