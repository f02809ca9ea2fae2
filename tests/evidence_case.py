"""A change as it really goes, with everything that its evidence is made of: real SSH keys, real signatures.

`Case` writes the bundle as the product does. `Loose` is the same bundle taken apart, so that a test can change
anything in it and put it together again as far as somebody with or without the signing key could.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from orchestrator.adapters.evidence.archive import Entry, members, pack
from orchestrator.adapters.evidence.keys import SigningKey, make
from orchestrator.domain.approval import ApprovalPolicy, Decision, Vote
from orchestrator.domain.audit import GENESIS, AuditEvent, Fact, seal
from orchestrator.domain.calendar import MaintenanceWindow
from orchestrator.domain.canonical import Plain, canonical, digest, rfc3339
from orchestrator.domain.change import ChangeRequest, ChangeSpec, ChangeState, Waiver
from orchestrator.domain.evidence import BundleContents, CheckpointProof, TaskFile, next_checkpoint, prove
from orchestrator.domain.identity import Person, SignedStatement, Statement
from orchestrator.domain.journal import Outcome, Step, StepRecord
from orchestrator.domain.lock import LockItem, PatchLock, Platform, PlatformLock
from orchestrator.domain.plan import Content, ContentFile, HostPlan, NotIncluded, PatchPlan, PlannedItem
from orchestrator.domain.rollback import RollbackClass
from orchestrator.domain.rollout import Wave

CHANGE = "CHG-0007"
DAY = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
START = datetime(2026, 11, 20, 22, 0, tzinfo=UTC)
PLATFORM = Platform(family="apt", distribution="debian", release="12", arch="amd64")
OPENSSL = {"name": "openssl", "arch": "amd64", "version": "3.0.20-1~deb12u2", "sha256": "5a" * 32, "size": 1437000}


@dataclass(frozen=True)
class SshKey:
    """A person's key pair."""

    file: Path
    public: str


@dataclass(frozen=True)
class Head:
    chain: str
    count: int
    head: str


def make_ssh_key(folder: Path, name: str) -> SshKey:
    file = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(file)], check=True)
    return SshKey(file=file, public=file.with_suffix(".pub").read_text().strip())


def sign(statement: Statement, key: SshKey) -> SignedStatement:
    command = ["ssh-keygen", "-Y", "sign", "-q", "-n", "patch-orchestrator", "-f", str(key.file)]
    made = subprocess.run(command, input=canonical(statement), capture_output=True, check=True)
    return SignedStatement(statement=statement, signature=made.stdout.decode(), key=key.public)


@cache
def is_valid(signed: SignedStatement) -> bool:
    """Stands in for the identity adapter."""
    with TemporaryDirectory() as folder:
        allowed, signature = Path(folder, "allowed"), Path(folder, "signature")
        allowed.write_text(f'signer namespaces="patch-orchestrator" {" ".join(signed.key.split()[:2])}\n')
        signature.write_text(signed.signature)
        command = ["ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", "signer", "-n", "patch-orchestrator"]
        done = subprocess.run(
            [*command, "-s", str(signature)], input=canonical(signed.statement), capture_output=True, check=False
        )
        return done.returncode == 0


@dataclass
class Case:
    """The actors and the folder of one change. Attributes are changed by a test before `contents` is asked for."""

    folder: Path
    ssh: dict[str, SshKey]
    key: SigningKey
    policy: ApprovalPolicy = field(default_factory=lambda: ApprovalPolicy(required={"cab": 2}))
    facts: list[Fact] = field(default_factory=list)
    edit_facts: Callable[[list[Fact]], list[Fact]] = lambda facts: facts
    edit_votes: Callable[[tuple[Vote, ...]], tuple[Vote, ...]] = lambda votes: votes
    edit_people: Callable[[list[Person]], list[Person]] = lambda people: people
    edit_steps: Callable[[list[StepRecord]], list[StepRecord]] = lambda steps: steps

    def statement(self, subject: str, of: str, decision: str, reason: str, *, by: str, at: datetime) -> SignedStatement:
        said = Statement(
            subject=subject, change=CHANGE, digest=of, decision=decision, reason=reason, signer=by, at=rfc3339(at)
        )
        return sign(said, self.ssh[by])

    def people(self) -> list[Person]:
        everybody = [
            Person(name="anna", roles=frozenset({"engineer"}), account="anna", keys=(self.ssh["anna"].public,)),
            Person(name="ben", roles=frozenset({"approver", "cab"}), account="ben", keys=(self.ssh["ben"].public,)),
            Person(
                name="cleo", roles=frozenset({"approver", "cab"}), account="cleo", keys=(self.ssh["cleo"].public,),
                emails=("cleo@example.org",), acts_for=frozenset({"dora"}),
            ),
        ]  # fmt: skip
        return self.edit_people(everybody)

    def spec(self) -> ChangeSpec:
        window = MaintenanceWindow(
            start="2026-11-20T23:00", zone="Europe/Berlin", duration=timedelta(hours=4), cutoff=timedelta(minutes=30)
        )
        return ChangeSpec(title="OpenSSL", production="web", staging="stage", window=window, approval=self.policy)

    def waiver(self) -> Waiver:
        subject, reason = "rollback:web2", "web2 is rebuilt from its image if need be"
        signed = self.statement("waiver", digest(subject), "waive", reason, by="ben", at=DAY)
        return Waiver(subject=subject, reason=reason, by="ben", signed=signed)

    def plan(self, waiver: Waiver) -> PatchPlan:
        item = PlannedItem(from_version="3.0.19-1~deb12u2", filename="openssl.deb", **OPENSSL)  # type: ignore[arg-type]
        locked = LockItem(filename="openssl.deb", proven_on=("stage1",), **OPENSSL)  # type: ignore[arg-type]
        hosts = [HostPlan(host=name, platform=PLATFORM, items=(item,)) for name in ("web1", "web2")]
        hosts[1] = replace(hosts[1], rollback_class=RollbackClass.NONE)
        return PatchPlan(
            change=CHANGE,
            spec=self.spec(),
            content=Content(
                files=(ContentFile(path="playbooks/patch.yml", sha256="c0" * 32),),
                versions={"ansible-core": "2.19.4"},
                authors=("cleo@example.org",),
            ),
            waves=(
                Wave(number=1, canary=True, batches=(("web1",),)),
                Wave(number=2, canary=False, batches=(("web2",),)),
            ),
            hosts=tuple(hosts),
            not_included=(NotIncluded(host="web3", reason="nothing to do: it is at the locked versions already"),),
            lock=PatchLock(platforms=(PlatformLock(platform=PLATFORM, items=(locked,)),)),
            waivers=(waiver,),
            population=("web1", "web2", "web3"),
        )

    def votes(self, plan: PatchPlan) -> tuple[Vote, ...]:
        given = []
        for hour, name in ((2, "ben"), (3, "cleo")):
            at, reason = DAY + timedelta(hours=hour), f"{name} has read it: go, in the canary first – ✓"
            signed = self.statement("vote", plan.digest, "approve", reason, by=name, at=at)
            given.append(
                Vote(
                    approver=name, seats=("cab",), decision=Decision.APPROVE, digest=plan.digest, reason=reason, at=at,
                    account=name, signed=signed,
                )
            )  # fmt: skip
        return self.edit_votes(tuple(given))

    def contents(self) -> BundleContents:
        waiver = self.waiver()
        plan = self.plan(waiver)
        votes = self.votes(plan)
        asked = self.statement("request", digest(plan.spec), "request", "CVE-2026-1234", by="anna", at=DAY)
        change = ChangeRequest(
            id=CHANGE, spec=plan.spec, requester="anna", requested=asked, source_key="ab" * 32, created_at=DAY,
            state=ChangeState.CLOSED, plan_digest=plan.digest, votes=votes, waivers=(waiver,),
        )  # fmt: skip
        tasks = self._tasks()
        self.facts = self.edit_facts(self._facts(change, plan, tasks))
        trail = chained(self.facts)
        return BundleContents(
            change=change,
            plan=plan,
            people=self.people(),
            steps=self.edit_steps(_steps()),
            trail=trail,
            checkpoint=self.proof(trail),
            packages_before={h: {"openssl:amd64": "3.0.19-1~deb12u2"} for h in ("web1", "web2")},
            packages_after={"web1": {"openssl:amd64": "3.0.20-1~deb12u2"}},
            health={"web1": [{"host": "web1", "check": "units", "passed": True}]},
            tasks=tasks,
        )

    def proof(self, trail: list[AuditEvent]) -> CheckpointProof:
        heads = [Head("site", 12, "11" * 32), Head("CHG-0006", 31, "22" * 32), Head(CHANGE, len(trail), trail[-1].hash)]
        before = canonical(next_checkpoint(heads[:2], at=DAY, previous=None))
        document = canonical(next_checkpoint(heads, at=START + timedelta(hours=5), previous=before))
        return prove(CHANGE, heads, document, self.key.sign(document))

    def _tasks(self) -> list[TaskFile]:
        source = self.folder / "events.jsonl.gz"
        source.write_bytes(gzip.compress(b'{"task":"patch_transaction","host":"web1","ok":true}\n' * 2000, mtime=0))
        sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
        return [TaskFile(name=f"{CHANGE}.w1b1.patch.events.jsonl.gz", sha256=sha256, source=source)]

    def _facts(self, change: ChangeRequest, plan: PatchPlan, tasks: list[TaskFile]) -> list[Fact]:
        (waiver,) = change.waivers
        slot: dict[str, Plain] = {"start": rfc3339(START), "end": rfc3339(START + timedelta(hours=4))}
        patched: dict[str, Plain] = {
            "job": f"{CHANGE}.w1b1.patch", "step": "patch", "hosts": 1, "artifacts": {"events": tasks[0].sha256},
        }  # fmt: skip
        night, approved = START, DAY + timedelta(hours=3)
        return [
            fact("anna", "requested", DAY, "requested", {"title": "OpenSSL", "request": digest(change.spec)}),
            fact("ben", "waived", DAY, "requested",
                 {"subject": waiver.subject, "reason": waiver.reason, "signed": digest(waiver.signed)}),
            fact("anna", "staging-started", DAY, "staging"),
            fact("orchestrator", "staged", DAY + timedelta(hours=1), "staged", {"digest": plan.digest, "hosts": 2}),
            *(fact(v.approver, "voted", v.at, "staged", voted(v)) for v in change.votes if v.decision == "approve"),
            fact("orchestrator", "approved", approved, "approved", {"digest": plan.digest}),
            fact("orchestrator", "scheduled", approved, "scheduled", slot),
            fact("orchestrator", "started", night, "running"),
            fact("orchestrator", "phase-finished", night + timedelta(minutes=4), "finished", patched),
            fact("orchestrator", "host-done", night + timedelta(minutes=6), "done", {"host": "web1"}),
            fact("orchestrator", "host-restored", night + timedelta(minutes=20), "restored", {"host": "web2"}),
            fact("orchestrator", "succeeded", night + timedelta(minutes=21), "succeeded"),
            fact("orchestrator", "closed", night + timedelta(minutes=22), "closed", {"code": "successful with issues"}),
        ]  # fmt: skip


def voted(vote: Vote) -> dict[str, Plain]:
    return {
        "decision": vote.decision.value, "digest": vote.digest, "reason": vote.reason, "signed": digest(vote.signed),
    }  # fmt: skip


def fact(actor: str, tag: str, at: datetime, outcome: str, data: dict[str, Plain] | None = None) -> Fact:
    return Fact(
        chain=CHANGE, change=CHANGE, at=at, actor=actor, origin=actor, tag=tag, outcome=outcome, data=data or {}
    )


def chained(facts: list[Fact]) -> list[AuditEvent]:
    trail: list[AuditEvent] = []
    for seq, each in enumerate(facts, start=1):
        trail.append(seal(each, seq=seq, prev=trail[-1].hash if trail else GENESIS))
    return trail


def step(host: str, kind: Step, at: datetime, *, outcome: Outcome = Outcome.OK) -> StepRecord:
    return StepRecord(
        change=CHANGE, host=host, step=kind, token=3, job=f"{CHANGE}.{host}.{kind}", started_at=at,
        finished_at=at + timedelta(seconds=40), outcome=outcome,
    )  # fmt: skip


def _steps() -> list[StepRecord]:
    staging, first, second = DAY + timedelta(minutes=5), START, START + timedelta(minutes=10)
    walk = (Step.PROTECT, Step.PATCH, Step.VERIFY)
    return [
        *(step("stage1", kind, staging + timedelta(minutes=at)) for at, kind in enumerate((*walk, Step.RESTORE))),
        *(step("web1", kind, first + timedelta(minutes=at)) for at, kind in enumerate(walk)),
        *(step("web2", kind, second + timedelta(minutes=at)) for at, kind in enumerate(walk)),
        step("web2", Step.RESTORE, second + timedelta(minutes=5)),
    ]


def new_case(folder: Path, ssh: dict[str, SshKey], key: SigningKey | None = None) -> Case:
    folder.mkdir(parents=True, exist_ok=True)
    return Case(folder=folder, ssh=ssh, key=key or make(folder / "keys", at=DAY))


@dataclass
class Loose:
    """A bundle taken apart: what each document says (lists of values for .jsonl), and other files as they are."""

    said: dict[str, Any]
    other: dict[str, bytes]

    @classmethod
    def of(cls, bundle: Path) -> Loose:
        said, other = {}, {}
        for member in members(bundle):
            raw = b"".join(member.chunks)
            if member.name.endswith(".jsonl"):
                said[member.name] = [json.loads(line) for line in raw.splitlines()]
            elif member.name.startswith("tasks/"):
                other[member.name] = raw
            else:
                said[member.name] = json.loads(raw)
        return cls(said=said, other=other)

    def copy(self) -> Loose:
        return Loose(said=json.loads(json.dumps(self.said)), other=dict(self.other))

    def chain_anew(self, key: SigningKey, *, seq: int = 1) -> Loose:
        """Do what somebody does who owns database and key: a new chain and a new checkpoint over it."""
        trail, prev = self.said["trail.jsonl"], GENESIS
        for number, event in enumerate(trail, start=1):
            event.update(seq=number, prev=prev)
            event.pop("hash", None)
            event["hash"] = prev = hashlib.sha256(canonical(event)).hexdigest()
        heads = [Head("site", 12, "11" * 32), Head(CHANGE, len(trail), prev)]
        checkpoint = next_checkpoint(heads, at=START + timedelta(hours=5), previous=None)
        document = canonical(replace(checkpoint, seq=seq))
        proof = prove(CHANGE, heads, document, key.sign(document))
        self.said["checkpoint.json"] = {
            "checkpoint": json.loads(proof.document), "signature": json.loads(proof.signature), "index": proof.index,
            "leaf": {"chain": proof.chain, "count": proof.count, "head": proof.head}, "path": list(proof.path),
        }  # fmt: skip
        self.said["manifest.json"]["chain"] = {"count": len(trail), "head": prev}
        return self

    def list_anew(self, key: SigningKey) -> Loose:
        """Do what somebody does who owns the key: a manifest that fits, and its signature."""
        raw = self.raw()
        names = sorted(raw.keys() - {"manifest.json", "manifest.sig"})
        self.said["manifest.json"]["files"] = {name: hashlib.sha256(raw[name]).hexdigest() for name in names}
        return self.sign_anew(key)

    def sign_anew(self, key: SigningKey) -> Loose:
        """Sign the manifest as it is."""
        self.said["manifest.sig"] = json.loads(key.sign(canonical(self.said["manifest.json"])))
        return self

    def raw(self) -> dict[str, bytes]:
        def write(name: str, value: Any) -> bytes:
            return b"".join(canonical(v) + b"\n" for v in value) if name.endswith(".jsonl") else canonical(value)

        return {name: write(name, value) for name, value in self.said.items()} | self.other

    def pack(self, target: Path) -> Path:
        return pack_raw(target, self.raw())


def pack_raw(target: Path, raw: dict[str, bytes]) -> Path:
    pack(target, (Entry(name=name, size=len(raw[name]), chunks=[raw[name]]) for name in sorted(raw)))
    return target
