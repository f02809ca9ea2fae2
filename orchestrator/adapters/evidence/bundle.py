"""Writing the evidence of a change as one file, the same bytes whenever the same contents are written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from orchestrator.adapters.evidence.archive import Entry, pack
from orchestrator.adapters.evidence.keys import SigningKey
from orchestrator.adapters.evidence.outside import Outside
from orchestrator.adapters.evidence.strict import sha256
from orchestrator.domain.audit import line
from orchestrator.domain.canonical import Plain, canonical
from orchestrator.domain.change import ChangeRequest
from orchestrator.domain.evidence import BundleContents, CheckpointProof, TaskFile
from orchestrator.domain.plan import PatchPlan
from orchestrator.domain.retention import REMOVED
from orchestrator.errors import EvidenceRefused, Refused, Unavailable

FORMAT = "patch-orchestrator-evidence/1"
#: Format 1 with one rule more: files of task events may be missing where the trail says that they were removed.
THINNED = "patch-orchestrator-evidence/2"
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"

_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Notary:
    """Signs checkpoints and writes bundles with the installation's key; ``outside`` gets every checkpoint."""

    key: SigningKey
    outside: Sequence[Outside] = ()

    def sign(self, document: bytes) -> bytes:
        """Return the signature document for these bytes."""
        return self.key.sign(document)

    def publish(self, line: bytes) -> None:
        """Send a signed checkpoint to every place outside. Raises Unavailable where one of them did not get it."""
        missed = []
        for place in self.outside:
            try:
                place.send(line)
            except Unavailable as error:
                missed.append(str(error))
        if missed:
            raise Unavailable(" ".join(missed))

    def write_bundle(self, target: Path, contents: BundleContents) -> Path:
        """Write the bundle to this file and return it."""
        return write_bundle(target, contents, self.key)


def write_bundle(target: Path, contents: BundleContents, key: SigningKey) -> Path:
    """Write a bundle to the file ``target``, complete or not at all.

    Raises Refused where trail and checkpoint are not of one length, EvidenceRefused where a file of task events is not
    the one that the trail names, Unavailable where it cannot be read.
    """
    _require_one_length(contents)
    sources = _sources(contents)
    sizes: dict[str, int] = {}
    files: dict[str, Plain] = {}
    for name, source in sources.items():
        sizes[name], files[name] = _measure(source)
    manifest = canonical(_manifest(contents, files))
    for name, raw in ((MANIFEST, manifest), (SIGNATURE, key.sign(manifest))):
        sources[name], sizes[name] = _bytes(raw), len(raw)
    _require_untouched(contents.tasks, files)
    pack(target, (Entry(name=name, size=sizes[name], chunks=sources[name]()) for name in sorted(sources)))
    return target


def host_file(host: str) -> str:
    """Return what a host is called in a file name: other characters as %XX, long names cut and made unique."""
    safe = quote(host, safe="")
    return safe if len(safe) <= 80 else f"{safe[:47]}~{sha256(host.encode())[:32]}"


def task_file(task: TaskFile) -> str:
    """Return the path of a file of task events; a long name is cut in the middle and made unique."""
    safe = quote(task.name, safe="")
    return f"tasks/{safe}" if len(safe) <= 100 else f"tasks/{safe[:47]}~{sha256(safe.encode())[:32]}{safe[-20:]}"


def population(plan: PatchPlan) -> Plain:
    """Return whom the query found, and for everybody whether in or out, and why."""
    why_out = {out.host: out.reason for out in plan.not_included}
    included = plan.by_host
    names = sorted({*plan.population, *included, *why_out})
    hosts: list[Plain] = [
        {"host": name, "included": name in included, "reason": "" if name in included else why_out.get(name, "")}
        for name in names
    ]
    return {"query": plan.spec.production, "count": len(names), "hosts": hosts}


_Source = Callable[[], Iterator[bytes]]


def _sources(contents: BundleContents) -> dict[str, _Source]:
    sources: dict[str, _Source] = {
        "request.json": _json(_request(contents.change)),
        "approvals.json": _json(contents.change.votes),
        "people.json": _json(contents.people),
        "journal.jsonl": lambda: (canonical(step) + b"\n" for step in contents.steps),
        "trail.jsonl": lambda: (line(event) + b"\n" for event in contents.trail),
        "checkpoint.json": _json(_proof(contents.checkpoint)),
    }
    if contents.change.waivers:
        sources["waivers.json"] = _json(contents.change.waivers)
    if (plan := contents.plan) is not None:
        sources |= {
            "plan.json": _json(plan),
            "lock.json": _json(plan.lock),
            "content.json": _json(plan.content),
            "population.json": _json(population(plan)),
        }
    per_host = (
        ("packages/{}.before.json", "packages", contents.packages_before),
        ("packages/{}.after.json", "packages", contents.packages_after),
        ("health/{}.json", "health", contents.health),
    )
    for pattern, what, documents in per_host:
        sources |= {pattern.format(host_file(host)): _host_json(host, what, documents) for host in documents}
    return sources | {task_file(task): _file(task.source) for task in contents.tasks}


def _request(change: ChangeRequest) -> Plain:
    spec: Plain = json.loads(canonical(change.spec))
    signed: Plain = json.loads(canonical(change.requested))
    return {
        "change": change.id, "requester": change.requester, "source_key": change.source_key, "spec": spec,
        "created_at": json.loads(canonical(change.created_at)), "signed": signed,
    }  # fmt: skip


def _proof(proof: CheckpointProof) -> Plain:
    path: list[Plain] = list(proof.path)
    return {
        "checkpoint": json.loads(proof.document),
        "signature": json.loads(proof.signature),
        "leaf": {"chain": proof.chain, "count": proof.count, "head": proof.head},
        "index": proof.index,
        "path": path,
    }


def _manifest(contents: BundleContents, files: dict[str, Plain]) -> Plain:
    return {
        "format": THINNED if any(event.tag == REMOVED for event in contents.trail) else FORMAT,
        "change": contents.change.id,
        "plan_digest": contents.plan.digest if contents.plan else "",
        "chain": {"count": len(contents.trail), "head": contents.trail[-1].hash},
        "files": files,
    }


def _require_one_length(contents: BundleContents) -> None:
    proof, trail = contents.checkpoint, contents.trail
    if not trail or (proof.chain, proof.count, proof.head) != (contents.change.id, len(trail), trail[-1].hash):
        raise Refused(
            f"the trail of change {contents.change.id} has {len(trail)} events, but the checkpoint covers "
            f"{proof.count} of chain {proof.chain}. Make a checkpoint now and export what it covers."
        )


def _require_untouched(tasks: Sequence[TaskFile], files: Mapping[str, Plain]) -> None:
    for task in tasks:
        found = files[task_file(task)]
        if found != task.sha256:
            raise EvidenceRefused(
                f"{task.source} was to be the file with sha256 {task.sha256}, which the trail names, but its content "
                f"is {found}: it was changed after the run. Restore it from backup, then export again."
            )


def _measure(source: _Source) -> tuple[int, str]:
    size, hashed = 0, hashlib.sha256()
    for chunk in source():
        size += len(chunk)
        hashed.update(chunk)
    return size, hashed.hexdigest()


def _json(value: object) -> _Source:
    return _bytes(canonical(value))


def _bytes(raw: bytes) -> _Source:
    return lambda: iter((raw,))


def _host_json(host: str, what: str, documents: Mapping[str, Plain]) -> _Source:
    # Made when asked for: the states of ten thousand hosts do not fit into memory at once.
    return lambda: iter((canonical({"host": host, what: documents[host]}),))


def _file(path: Path) -> _Source:
    def read() -> Iterator[bytes]:
        try:
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
        except OSError as error:
            raise Unavailable(f"the task events in {path} cannot be read: {error.strerror}. Restore them.") from error

    return read
