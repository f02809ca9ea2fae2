"""The rest of the world in memory: one fake for each port, which remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from orchestrator.domain.canonical import Plain, digest
from orchestrator.domain.evidence import BundleContents
from orchestrator.domain.health import HealthCheck, HealthReport
from orchestrator.domain.identity import People, SignedStatement, Statement
from orchestrator.domain.inventory import Environment, Host
from orchestrator.domain.plan import Content, ContentFile, PatchPlan
from orchestrator.domain.probe import Needs, ProbeReport, Stage
from orchestrator.domain.rollback import PointTaken, PutBack, RollbackClass, RollbackPoint
from orchestrator.errors import InvalidInput
from orchestrator.ports import Occasion, Subject
from tests.fakes.machines import Machine, counter_of
from tests.fakes.values import EVENING

Machines = dict[Environment, dict[str, Machine]]


@dataclass
class FakeClock:
    """Implements ``ports.Clock``: time passes when somebody sleeps or works, and things happen at their hour."""

    at: datetime = EVENING
    slept: float = 0
    _due: list[tuple[datetime, Callable[[], object]]] = field(default_factory=list)

    def now(self) -> datetime:
        """Return the time."""
        return self.at

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept += seconds
        self.pass_by(seconds)

    def pass_by(self, seconds: float) -> None:
        """Let time pass by work."""
        self.at += timedelta(seconds=seconds)
        for due in [one for one in self._due if one[0] <= self.at]:
            self._due.remove(due)
            due[1]()

    def when(self, at: datetime, act: Callable[[], object]) -> None:
        """Do something, once, when the time has come."""
        self._due.append((at, act))


@dataclass
class FakeInventory:
    """Implements ``ports.Inventory``: patterns are names of groups; frozen content keeps the hosts as they were."""

    hosts: dict[Environment, list[Host]]
    frozen: dict[str, dict[Environment, list[Host]]] = field(default_factory=dict)
    _asked: dict[tuple[str, Environment, str], Mapping[str, Host]] = field(default_factory=dict)

    def resolve(self, pattern: str, environment: Environment, content: str = "") -> Sequence[Host]:
        """Return the hosts of a group."""
        known = self.frozen[content] if content else self.hosts
        found = sorted((host for host in known[environment] if pattern in host.groups), key=lambda host: host.name)
        if not found:
            raise InvalidInput(f"{pattern} matches no host of {environment}")
        return found

    def frozen_hosts(self, pattern: str, environment: Environment, content: str) -> Mapping[str, Host]:
        """Return the hosts of a group as they were; nothing that was frozen changes."""
        key = (pattern, environment, content)
        if key not in self._asked:
            self._asked[key] = {host.name: host for host in self.resolve(pattern, environment, content)}
        return self._asked[key]

    def remove(self, name: str) -> None:
        """Take a host of production out."""
        self.hosts[Environment.PRODUCTION] = [h for h in self.hosts[Environment.PRODUCTION] if h.name != name]

    def change(self, name: str, change: Callable[[Host], Host]) -> None:
        """Say something else about a host."""
        for environment, hosts in self.hosts.items():
            self.hosts[environment] = [change(host) if host.name == name else host for host in hosts]


@dataclass
class FakeContent:
    """Implements ``ports.ContentKeeper``."""

    inventory: FakeInventory
    files: dict[str, str] = field(default_factory=lambda: {"playbooks/patch.yml": "aa", "playbooks/restore.yml": "bb"})
    authors: tuple[str, ...] = ("emil@example.org",)
    damaged: str = ""
    versions: dict[str, str] = field(default_factory=lambda: {"ansible-core": "2.19.4"})
    _next: list[Callable[[], object]] = field(default_factory=list)

    def before_reading(self, act: Callable[[], object]) -> None:
        """Let something happen, once, while the content is about to be read."""
        self._next.append(act)

    def read(self) -> Content:
        """Return the content as it is now."""
        while self._next:
            self._next.pop()()
        files = tuple(ContentFile(path=path, sha256=said) for path, said in sorted(self.files.items()))
        return Content(files=files, versions={**self.versions}, authors=self.authors)

    def freeze(self, content: Content) -> None:
        """Keep the hosts as they are under the digest."""
        self.inventory.frozen.setdefault(content.digest, {e: [*hosts] for e, hosts in self.inventory.hosts.items()})

    def frozen_is_whole(self, digest: str) -> str:
        """Return what somebody did to the frozen copy."""
        assert digest in self.inventory.frozen, "nothing was frozen under this digest"
        return self.damaged


@dataclass
class FakePackages:
    """Implements ``ports.PackageKeeper``."""

    folder: Path
    kept: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)

    def missing(self, digests: Iterable[str]) -> Sequence[str]:
        """Return those that never arrived."""
        return sorted(set(digests) - self.kept | set(digests) & self.lost)


@dataclass
class FakeProbe:
    """Implements ``ports.Probe``; ``unfit`` says what is wrong with a host that answers."""

    machines: Machines
    unfit: dict[str, tuple[Stage, str]] = field(default_factory=dict)
    looked: list[tuple[str, ...]] = field(default_factory=list)

    def knock(self, hosts: Sequence[Host]) -> Sequence[ProbeReport]:
        """Let everybody in."""
        return [ProbeReport(host=host.name) for host in hosts]

    def look(self, hosts: Sequence[Host], needs: Needs) -> Sequence[ProbeReport]:
        """Look at hosts."""
        self.looked.append(tuple(host.name for host in hosts))
        return [self._report(host.name) for host in hosts]

    def _report(self, name: str) -> ProbeReport:
        up = all(machines[name].is_up for machines in self.machines.values() if name in machines)
        stage, detail = (None, "") if up else (Stage.CONNECT, "no route to host")
        if up and name in self.unfit:
            stage, detail = self.unfit[name]
        return ProbeReport(host=name, failed_at=stage, detail=detail)


@dataclass
class FakeKit:
    """Implements ``ports.RollbackKit``; ``tokens`` is what the kit would show each host."""

    folder: Path
    log: list[str]
    written: list[tuple[str, ...]] = field(default_factory=list)
    tokens: dict[str, int] = field(default_factory=dict)

    def write(self, plan: PatchPlan, hosts: Mapping[str, Host], patch_jobs: Mapping[str, Mapping[str, Plain]]) -> Path:
        """Remember for which hosts a kit was written."""
        self.log.append("kit")
        self.written.append(tuple(sorted(patch_jobs)))
        self.tokens |= {host: counter_of(job) for host, job in patch_jobs.items()}
        return self.folder


@dataclass
class FakeProvider:
    """Implements ``ports.RollbackProvider``: a point that ``protect.yml`` took, or a copy of the machine."""

    name: str
    rollback_class: RollbackClass
    machines: Machines
    clock: FakeClock
    failing: set[str] = field(default_factory=set)
    taken: list[str] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    _copies: dict[tuple[Environment, str], dict[str, str]] = field(default_factory=dict)

    def take(self, subjects: Sequence[Subject], occasion: Occasion) -> Sequence[PointTaken]:
        """Take a point of each host."""
        return [self._take(subject, occasion) for subject in subjects]

    def restore(
        self, points: Sequence[RollbackPoint], subjects: Sequence[Subject], occasion: Occasion
    ) -> Sequence[PutBack]:
        """Put machines back."""
        answers = []
        for point in points:
            self.restored.append(point.host)
            if point.host in self.failing:
                answers.append(PutBack(host=point.host, restored=False, problem="the snapshot is gone"))
                continue
            machine = self.machines[occasion.environment][point.host]
            machine.installed = dict(self._copies[occasion.environment, point.host])
            answers.append(PutBack(host=point.host, restored=True))
        return answers

    def release(
        self, points: Sequence[RollbackPoint], subjects: Sequence[Subject], occasion: Occasion
    ) -> Mapping[str, str]:
        """Give points up."""
        self.released += [point.host for point in points if point.host not in self.failing]
        return {point.host: "the snapshot is busy" for point in points if point.host in self.failing}

    def _take(self, subject: Subject, occasion: Occasion) -> PointTaken:
        host = subject.host.name
        self.taken.append(host)
        if host in self.failing:
            return PointTaken(host=host, problem="the datastore is full")
        told = (subject.prepared or {}).get("class") if self.name == "packages" else None
        self._copies[occasion.environment, host] = dict(self.machines[occasion.environment][host].installed)
        point = RollbackPoint(
            change=occasion.change,
            host=host,
            provider=self.name,
            rollback_class=RollbackClass(str(told)) if told else self.rollback_class,
            reference={"id": occasion.job},
            size=7,
            taken_at=self.clock.now(),
            expires_at=occasion.expires_at,
        )
        return PointTaken(host=host, point=point)


@dataclass
class FakeCheck:
    """Implements ``ports.ServiceCheck``: a service answers where the machine is up and serves."""

    machines: Machines
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def check(self, hosts: Sequence[Host], check: HealthCheck) -> Sequence[HealthReport]:
        """Ask the services."""
        self.asked.append(tuple(host.name for host in hosts))
        return [HealthReport(host=host.name, check=check.name, passed=self._serves(host.name)) for host in hosts]

    def _serves(self, name: str) -> bool:
        return all(m[name].is_up and m[name].is_served for m in self.machines.values() if name in m)


@dataclass
class FakeSigners:
    """Implements ``ports.Signers``: a key file is called as its owner, and a signature names the key and the words."""

    everybody: People
    forged: bool = False

    def people(self) -> People:
        """Return the people."""
        return self.everybody

    def sign(self, statement: Statement, key_file: str) -> SignedStatement:
        """Sign."""
        return SignedStatement(
            statement=statement, signature=_signature(statement, key_file), key=self.public_key(key_file)
        )

    def public_key(self, key_file: str) -> str:
        """Return the key."""
        return f"ssh-ed25519 {key_file} {key_file}@desk"

    def is_valid(self, signed: SignedStatement) -> bool:
        """Tell whether the key signed these very words."""
        return not self.forged and signed.signature == _signature(signed.statement, signed.key.split()[1])


@dataclass
class FakeNotary:
    """Implements ``ports.Notary``."""

    published: list[bytes] = field(default_factory=list)
    bundles: list[BundleContents] = field(default_factory=list)

    def sign(self, document: bytes) -> bytes:
        """Sign."""
        return b'{"signature":"%s"}' % digest(document.decode()).encode()

    def publish(self, line: bytes) -> None:
        """Send outside."""
        self.published.append(line)

    def write_bundle(self, target: Path, contents: BundleContents) -> Path:
        """Remember what went to the auditor."""
        self.bundles.append(replace(contents))
        return target


def _signature(statement: Statement, key: str) -> str:
    return f"{key} signs {digest(statement)}"
