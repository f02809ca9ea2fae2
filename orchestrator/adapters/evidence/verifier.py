"""Does the evidence hold: every check of docs/evidence-format.md, each with a sentence for what does not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from orchestrator.adapters.evidence.bundle import FORMAT, MANIFEST, SIGNATURE, THINNED
from orchestrator.adapters.evidence.check_people import (
    check_approval,
    check_people,
    check_requester,
    check_votes,
    check_waivers,
)
from orchestrator.adapters.evidence.check_plan import check_plan, check_population, check_request
from orchestrator.adapters.evidence.check_trail import check_checkpoint, check_trail
from orchestrator.adapters.evidence.check_work import check_journal, check_outcomes, check_tasks, removals
from orchestrator.adapters.evidence.keys import read_signature
from orchestrator.adapters.evidence.opened import ALWAYS, WITH_A_PLAN, Bundle, NotThere, is_expected, open_bundle
from orchestrator.adapters.evidence.strict import (
    Malformed,
    Object,
    entry,
    hash_text,
    is_hash,
    number,
    parse,
    sha256,
    text,
)
from orchestrator.adapters.evidence.trust import Pins
from orchestrator.domain.audit import AuditEvent, broken_at
from orchestrator.domain.evidence import Finding, Head, Verdict, leaves, read_checkpoint, root
from orchestrator.domain.identity import SignedStatement
from orchestrator.errors import Unavailable

_Check = Callable[[Bundle], Iterator[str]]

_MANIFEST = ("chain", "change", "files", "format", "plan_digest")


def verify_bundle(path: Path, *, pins: Pins, is_valid: Callable[[SignedStatement], bool]) -> Verdict:
    """Check a bundle offline, against nothing but itself and what the auditor pinned.

    ``is_valid`` tells whether a person's SSH signature is good. Raises Unavailable where the file cannot be read.
    """
    try:
        bundle = open_bundle(path, pins=pins, is_valid=is_valid)
    except OSError as error:
        raise Unavailable(f"the bundle {path} cannot be read: {error.strerror}.") from error
    except Malformed as error:
        return Verdict(subject=str(path), findings=(Finding(check="archive", message=f"{error}"),))
    findings = [Finding(check="canonical", message=trouble) for trouble in bundle.troubles]
    for name, check in CHECKS.items():
        findings += _run(name, check, bundle)
    return _verdict(path, bundle, tuple(findings))


def verify_trail(chain: str, events: Iterable[AuditEvent]) -> Verdict:
    """Check one chain of the live database."""
    found = tuple(events)
    wrong = [f"event {event.seq} belongs to chain {event.chain}" for event in found if event.chain != chain]
    if broken := broken_at(found):
        wrong.append(broken)
    return Verdict(
        subject=f"the trail of {chain}",
        events=len(found),
        head=found[-1].hash if found else "",
        checks=("trail",),
        findings=tuple(Finding(check="trail", message=message) for message in wrong),
    )


def verify_checkpoint(
    document: bytes, signature: bytes, *, pins: Pins, heads: Iterable[Head] = (), previous: bytes | None = None
) -> Verdict:
    """Check one checkpoint of the live database: its signature, the one before it and, where given, its heads."""
    subject, findings, unknown, seq = "a checkpoint", [], "", 0
    try:
        checkpoint = read_checkpoint(document)
        seq, subject, made = checkpoint.seq, f"checkpoint {checkpoint.seq}", read_signature(parse(signature))
        if pins.signer(made, document) is None:
            unknown = pins.why_unknown(made.key)
        if previous is not None and checkpoint.prev != sha256(previous):
            findings.append("it does not follow the checkpoint before it")
        tree = leaves(heads)
        if tree and (len(tree), root(tree)) != (checkpoint.size, checkpoint.root):
            findings.append("it is not the checkpoint of these heads")
    except (Malformed, ValueError) as error:
        findings.append(str(error))
    return Verdict(
        subject=subject,
        checkpoint=seq,
        unknown_signer=unknown,
        checks=("checkpoint",),
        findings=tuple(Finding(check="checkpoint", message=message) for message in findings),
    )


def check_manifest(bundle: Bundle) -> Iterator[str]:
    """The manifest is of this format and well formed."""
    manifest = bundle.entry(MANIFEST, *_MANIFEST)
    if text(manifest, "format") not in {FORMAT, THINNED}:
        yield f"the format is {manifest['format']!r}, and this verifier knows {FORMAT} and {THINNED}"
    text(manifest, "change")
    if text(manifest, "plan_digest"):
        hash_text(manifest, "plan_digest")
    entry(manifest["chain"], "chain", frozenset({"count", "head"}))
    number_of_events, _ = bundle.end
    if number_of_events < 1:
        yield "it names no event at all"
    for name, digest in _files(manifest).items():
        if not isinstance(digest, str) or not is_hash(digest):
            yield f"it names no sha256 for {name}"


def check_files(bundle: Bundle) -> Iterator[str]:
    """Exactly the files that the manifest names are there, each with its sha256, and none that the format lacks."""
    manifest = bundle.entry(MANIFEST)
    with_a_plan, listed = bool(manifest.get("plan_digest")), _files(manifest)
    there = bundle.hashes.keys() - {MANIFEST, SIGNATURE}
    wanted = ALWAYS | (WITH_A_PLAN if with_a_plan else frozenset())
    for name in sorted((listed.keys() | wanted) - bundle.hashes.keys()):
        yield f"{name} is missing"
    for name in sorted(listed.keys() & {MANIFEST, SIGNATURE}):
        yield f"{name} cannot be in the manifest"
    for name in sorted(there - listed.keys()):
        yield f"{name} is not in the manifest"
    for name in sorted(name for name in bundle.hashes if not is_expected(name, with_a_plan=with_a_plan)):
        yield f"{name} is no file that the format knows"
    for name in sorted(listed.keys() & there):
        if listed[name] != bundle.hashes[name]:
            yield f"{name} was changed: its sha256 is {bundle.hashes[name]}, the manifest says {listed[name]}"


def check_signature(bundle: Bundle) -> Iterator[str]:
    """The manifest's signature is the one of the key that it names, where that key is pinned."""
    bundle.signer()
    return iter(())


CHECKS: dict[str, _Check] = {
    "manifest": check_manifest,
    "files": check_files,
    "signature": check_signature,
    "trail": check_trail,
    "checkpoint": check_checkpoint,
    "plan": check_plan,
    "population": check_population,
    "request": check_request,
    "people": check_people,
    "requester": check_requester,
    "votes": check_votes,
    "approval": check_approval,
    "waivers": check_waivers,
    "journal": check_journal,
    "outcomes": check_outcomes,
    "tasks": check_tasks,
}


def _run(name: str, check: _Check, bundle: Bundle) -> list[Finding]:
    found: list[Finding] = []
    try:
        for message in check(bundle):
            found.append(Finding(check=name, message=message))
    except NotThere as error:
        # Said as missing or not canonical already, except where the archive lacks what every check begins with.
        if str(error) in {MANIFEST, SIGNATURE} and name in {"manifest", "signature"}:
            found.append(Finding(check=name, message=f"{error} is missing or unreadable"))
    except Malformed as error:
        found.append(Finding(check=name, message=str(error)))
    return found


def _verdict(path: Path, bundle: Bundle, findings: tuple[Finding, ...]) -> Verdict:
    signer, unknown = _signer(bundle)
    verdict = Verdict(
        subject=str(path),
        signer=signer,
        unknown_signer=unknown,
        checks=("archive", "canonical", *CHECKS),
        findings=findings,
    )
    try:
        events, head = bundle.end
        checkpoint = entry(bundle.entry("checkpoint.json").get("checkpoint"), "checkpoint")
        return replace(
            verdict,
            change=bundle.change,
            plan_digest=bundle.plan_digest,
            events=events,
            head=head,
            checkpoint=number(checkpoint, "seq"),
            removed=len(removals(bundle)),
        )
    except (Malformed, NotThere):
        return verdict  # The findings say why there is no more to tell.


def _signer(bundle: Bundle) -> tuple[str, str]:
    """Return the pinned key that signed, or why it is unknown."""
    try:
        key = bundle.signer()
        named = read_signature(bundle.document(SIGNATURE)).key
    except (Malformed, NotThere):
        return "", "the signature does not hold"
    return (key.public.fingerprint, "") if key else ("", bundle.pins.why_unknown(named))


def _files(manifest: Object) -> Object:
    return entry(manifest.get("files"), "files")
