"""Seal what has been recorded: signed checkpoints over all trails, and one evidence bundle for a change."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from orchestrator.domain.canonical import Plain, canonical
from orchestrator.domain.change import ChangeRequest
from orchestrator.domain.evidence import (
    BundleContents,
    CheckpointProof,
    TaskFile,
    checkpoint_line,
    next_checkpoint,
    prove,
)
from orchestrator.domain.identity import Actor, Person
from orchestrator.domain.retention import removed
from orchestrator.errors import StaleChange
from orchestrator.flow import reports
from orchestrator.flow.ledger import Ledger
from orchestrator.ports import ChainHead, Notary

_ATTEMPTS = 5


def checkpoint(chain: str, ledger: Ledger, notary: Notary) -> CheckpointProof:
    """Sign the heads of all chains as they are now, send the checkpoint outside, and prove one chain's place in it."""
    return prove(chain, *sign_heads(ledger, notary))


def sign_heads(ledger: Ledger, notary: Notary) -> tuple[Sequence[ChainHead], bytes, bytes]:
    """Sign the heads of all chains and send the checkpoint outside; return heads, document and signature."""
    for attempt in range(_ATTEMPTS):
        heads = ledger.store.heads()
        last = ledger.store.last_checkpoint()
        made = next_checkpoint(heads, at=ledger.clock.now(), previous=last[0] if last else None)
        document = canonical(made)
        signature = notary.sign(document)
        try:
            with ledger.store.begin() as writing:
                writing.keep_checkpoint(made.seq, document, signature)
            break
        except StaleChange:  # Somebody else made the same checkpoint this moment; ours follows theirs.
            if attempt == _ATTEMPTS - 1:
                raise
    notary.publish(checkpoint_line(document, signature))
    return heads, document, signature


def export(change_id: str, target: Path, actor: Actor, state: Path, *, ledger: Ledger, notary: Notary) -> Path:
    """Write the evidence bundle of a change; ``state`` is the folder that the artifacts' paths begin from."""
    change = ledger.store.change(change_id)
    proof = checkpoint(change_id, ledger, notary)
    written = notary.write_bundle(target, _contents(change, proof, state, ledger))
    ledger.note("", "evidence-exported", actor=actor, data={"change": change_id, "file": written.name})
    return written


def _contents(change: ChangeRequest, proof: CheckpointProof, state: Path, ledger: Ledger) -> BundleContents:
    store = ledger.store
    kept = {
        kind: store.documents(change.id, kind) for kind in ("state.before", "state.after", "health", "people", "job")
    }
    # An event that came after the checkpoint belongs to the next one.
    trail = store.trail(change.id)[: proof.count]
    return BundleContents(
        change=change,
        plan=store.plan(change.plan_digest) if change.plan_digest else None,
        people=[person(document) for document in kept["people"].values()],
        steps=store.steps(change.id),
        trail=trail,
        checkpoint=proof,
        packages_before=_packages(kept["state.before"]),
        packages_after=_packages(kept["state.after"]),
        health=kept["health"],
        tasks=_tasks(kept["job"], state, removed(trail)),
    )


def person(document: Plain) -> Person:
    """Read a person who was kept as evidence."""
    known = document if isinstance(document, dict) else {}
    return Person(
        name=reports.text(known, "name"),
        full_name=reports.text(known, "full_name"),
        roles=frozenset(reports.texts(known, "roles")),
        account=reports.text(known, "account"),
        keys=reports.texts(known, "keys"),
        emails=reports.texts(known, "emails"),
        acts_for=frozenset(reports.texts(known, "acts_for")),
    )


def _packages(states: Mapping[str, Plain]) -> dict[str, Plain]:
    return {host: state["packages"] for host, state in states.items() if isinstance(state, dict)}


def _tasks(jobs: Mapping[str, Plain], state: Path, gone: Collection[str]) -> Sequence[TaskFile]:
    found = []
    for document in (jobs[job] for job in sorted(jobs)):
        for artifact in reports.rows(document if isinstance(document, dict) else {}, "artifacts"):
            source, sha256 = state / reports.text(artifact, "path"), reports.text(artifact, "sha256")
            if sha256 not in gone:
                # A job in parts has a folder for each.
                name = f"{source.parent.name}.{source.name}"
                found.append(TaskFile(name=name, sha256=sha256, source=source))
    return found
