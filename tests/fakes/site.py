"""A whole site in memory, but for its database: two inventories, five people, one change on its way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from orchestrator.adapters.store import SqlStore
from orchestrator.adapters.store.database import Database
from orchestrator.domain.approval import Decision
from orchestrator.domain.audit import AuditEvent, broken_at
from orchestrator.domain.change import ChangeRequest, ChangeSpec, ChangeState
from orchestrator.domain.health import CheckKind
from orchestrator.domain.identity import Actor, People, Person
from orchestrator.domain.inventory import Connection, Environment, Host
from orchestrator.domain.rollback import RollbackClass, Statefulness
from orchestrator.domain.run import HostRun, HostStatus
from orchestrator.flow import approving, carrying, closing, execution, intake, operating, scheduling, staging
from orchestrator.flow.acting import Caller, Desk
from orchestrator.flow.approving import Answer
from orchestrator.flow.crew import Crew
from orchestrator.flow.ledger import Ledger
from orchestrator.ports import RenderedRequest
from tests.fakes.machines import Machine
from tests.fakes.outside import (
    FakeCheck,
    FakeClock,
    FakeContent,
    FakeInventory,
    FakeKit,
    FakePackages,
    FakeProbe,
    FakeProvider,
    FakeSigners,
)
from tests.fakes.runner import FakeRunner
from tests.fakes.values import SLOT, spec

OMAR = Actor(name="omar", account="omar")
PEOPLE = People(
    everyone=tuple(
        Person(
            name=name,
            roles=frozenset(roles),
            account=name,
            keys=(f"ssh-ed25519 {name} {name}@home",),
            emails=(f"{name}@example.org",),
            acts_for=frozenset(acts_for),
        )
        for name, roles, acts_for in [
            ("anna", {"engineer", "approver"}, ()),
            ("ben", {"approver"}, ()),
            ("cleo", {"approver", "cab"}, ()),
            ("dora", {"approver"}, ("anna",)),
            ("emil", {"approver"}, ()),
            ("omar", {"operator"}, ()),
        ]
    )
)


class FakeSite:
    """Takes a change where a test wants it; ``machines`` are the hosts, ``crew`` is what the flow works with."""

    def __init__(self, database: Database, folder: Path, *, web: int = 4, stage: int = 1) -> None:
        names = {
            Environment.PRODUCTION: [f"web{n}" for n in range(1, web + 1)],
            Environment.STAGING: [f"stage{n}" for n in range(1, stage + 1)],
        }
        self.by_environment = {e: {name: Machine(name) for name in some} for e, some in names.items()}
        self.machines: dict[str, Machine] = {n: m for some in self.by_environment.values() for n, m in some.items()}
        self.log: list[str] = []
        self.clock = FakeClock()
        self.store = SqlStore(database)
        self.ledger = Ledger(self.store, self.clock)
        self.inventory = FakeInventory({e: [a_host(name) for name in some] for e, some in names.items()})
        self.content = FakeContent(self.inventory)
        self.packages = FakePackages(folder)
        self.runner = FakeRunner(self.by_environment, self.clock, self.packages, self.log)
        self.probe = FakeProbe(self.by_environment)
        self.kit = FakeKit(folder, self.log)
        self.signers = FakeSigners(PEOPLE)
        self.desk = Desk(self.signers, self.clock)
        classes = {"packages": RollbackClass.PACKAGE, "snap": RollbackClass.EXACT}
        self.providers = {
            name: FakeProvider(name, promised, self.by_environment, self.clock) for name, promised in classes.items()
        }
        self.check = FakeCheck(self.by_environment)
        self.crew = Crew(
            ledger=self.ledger,
            inventory=self.inventory,
            content=self.content,
            packages=self.packages,
            runner=self.runner,
            probe=self.probe,
            kit=self.kit,
            providers=self.providers,
            classes=classes,
            checks={CheckKind.HTTP: self.check},
        )
        self.id = ""

    # What people do.

    def submit(self, of: ChangeSpec | None = None, *, by: str = "anna", source: str = "file:1") -> ChangeRequest:
        """Ask for a change."""
        rendered = RenderedRequest(spec=of or spec(), source_key=source, digest="5e" * 32)
        change = intake.submit(rendered, self.caller(by), ledger=self.ledger, desk=self.desk).change
        self.id = self.id or change.id
        return change

    def stage(self) -> ChangeRequest:
        """Prove it on staging and make the plan."""
        staging.begin(self.id, OMAR, self.crew)
        return self.carry()

    def stage_now(self) -> ChangeRequest:
        """Say that it is to be staged, and leave the work to whoever carries it."""
        return staging.begin(self.id, OMAR, self.crew)

    def vote(
        self, by: str = "ben", decision: Decision = Decision.APPROVE, *, shown: str | None = None
    ) -> ChangeRequest:
        """Answer the plan."""
        answer = Answer(decision=decision, reason="read it", shown=self.change.plan_digest if shown is None else shown)
        return approving.vote(self.id, answer, self.caller(by), ledger=self.ledger, desk=self.desk)

    def waive(self, subject: str, by: str = "ben") -> ChangeRequest:
        """Answer for an exception."""
        return approving.waive(self.id, subject, "we know", self.caller(by), ledger=self.ledger, desk=self.desk)

    def schedule(self) -> ChangeRequest:
        """Reserve the window."""
        return scheduling.schedule(self.id, OMAR, self.crew)

    def start(self) -> ChangeRequest:
        """Begin the run when the window opens."""
        self.clock.at = max(self.clock.at, SLOT.start)
        return execution.start(self.id, OMAR, self.crew)

    def pause(self) -> ChangeRequest:
        """Ask for a pause."""
        return operating.pause(self.id, "wait", OMAR, self.ledger)

    def resume(self) -> ChangeRequest:
        """Go on after a pause."""
        return operating.resume(self.id, OMAR, self.crew)

    def cancel(self, *, roll_back: bool = False) -> ChangeRequest:
        """Stop it."""
        return operating.cancel(self.id, "not tonight", OMAR, self.crew, roll_back=roll_back)

    def roll_back(self) -> ChangeRequest:
        """Put everything back."""
        return operating.roll_back_now(self.id, "it is slow", OMAR, self.ledger)

    def close(self) -> ChangeRequest:
        """Close it."""
        return closing.close(self.id, "reviewed", OMAR, self.crew)

    def carry(self) -> ChangeRequest:
        """Do the machine work that is to be done."""
        return carrying.carry(self.id, self.crew)

    # Several of these at once.

    def staged(self, of: ChangeSpec | None = None) -> ChangeRequest:
        """Take a change to where it can be voted on."""
        self.submit(of)
        change = self.stage()
        assert change.state is ChangeState.STAGED, self.why()
        return change

    def scheduled(self, of: ChangeSpec | None = None) -> ChangeRequest:
        """Take a change to the evening before."""
        self.staged(of)
        self.vote()
        return self.schedule()

    def started(self, of: ChangeSpec | None = None) -> ChangeRequest:
        """Take a change to the moment at which its run has begun."""
        self.scheduled(of)
        return self.start()

    def ran(self, of: ChangeSpec | None = None) -> ChangeRequest:
        """Take a change through its run."""
        self.started(of)
        return self.carry()

    # What came of it.

    @property
    def change(self) -> ChangeRequest:
        """The change as it stands."""
        return self.store.change(self.id)

    @property
    def trail(self) -> Sequence[AuditEvent]:
        """The trail of the change, which has to be whole."""
        trail = self.store.trail(self.id)
        assert broken_at(trail) == ""
        return trail

    @property
    def tags(self) -> list[str]:
        """The words of the trail, without those that every phase leaves."""
        return [event.tag for event in self.trail if event.tag != "phase-finished"]

    @property
    def runs(self) -> Mapping[str, HostRun]:
        """Where the hosts stand."""
        return {run.host: run for run in self.store.runs(self.id)}

    @property
    def statuses(self) -> dict[str, str]:
        """Where the hosts stand, in a word each."""
        return {host: run.status.value for host, run in self.runs.items()}

    @property
    def versions(self) -> dict[str, str]:
        """What is installed in production."""
        return {name: machine.version for name, machine in self.production.items()}

    @property
    def production(self) -> dict[str, Machine]:
        """The machines of production."""
        return self.by_environment[Environment.PRODUCTION]

    def last(self, tag: str) -> AuditEvent:
        """Return the newest event of a kind."""
        return [event for event in self.trail if event.tag == tag][-1]

    def told(self, tag: str) -> list[object]:
        """Return the hosts of all events of a kind, in order."""
        return [event.data["host"] for event in self.trail if event.tag == tag]

    def hosts_with(self, status: HostStatus) -> list[str]:
        """Return the hosts that stand so."""
        return [host for host, run in self.runs.items() if run.status is status]

    def held_points(self) -> list[str]:
        """Return the hosts whose points are held."""
        return [point.host for point in self.store.points(self.id) if point.is_held]

    def why(self) -> str:
        """Return the last events in words, for a test that did not come where it wanted."""
        return "\n".join(f"{event.tag}: {dict(event.data)}" for event in self.trail[-5:])

    def crew_with_ledger(self) -> Crew:
        """Return the crew with the ledger as it is now."""
        return replace(self.crew, ledger=self.ledger)

    def caller(self, name: str) -> Caller:
        """Return who calls with a key of their own from an account of their own."""
        return Caller(account=name, address="desk", key_file=name)

    def when(self, at: datetime, act: Callable[[], object]) -> None:
        """Let something happen at its hour."""
        self.clock.when(at, act)


def a_host(name: str) -> Host:
    """Return a host as the inventory describes it."""
    return Host(
        name=name,
        groups=("all", name.rstrip("0123456789")),
        connection=Connection(address=name),
        family="apt",
        fingerprint=f"variables of {name}",
    )


def with_snapshot(state: Statefulness) -> Callable[[Host], Host]:
    """Return what gives a host a snapshot instead of a packages point."""
    return lambda host: replace(host, providers=("snap",), statefulness=state)


def before_cutoff(minutes: int) -> datetime:
    """Return a moment before the cutoff of the window."""
    return SLOT.cutoff - timedelta(minutes=minutes)
