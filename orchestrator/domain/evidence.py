"""What an auditor can check without us: the tree over all trails, its checkpoints, and what a bundle is made of.

The tree is the one of RFC 6962 (section 2.1) over the heads of all chains. docs/evidence-format.md is the public page.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from orchestrator.domain.audit import GENESIS, AuditEvent
from orchestrator.domain.canonical import Plain, canonical, parse_rfc3339
from orchestrator.domain.change import ChangeRequest
from orchestrator.domain.identity import Person
from orchestrator.domain.journal import StepRecord
from orchestrator.domain.plan import PatchPlan
from orchestrator.errors import EvidenceRefused, SignerUnknown


class Head(Protocol):
    """How long a chain is, and the hash of its last event."""

    @property
    def chain(self) -> str:
        """The chain's name."""

    @property
    def count(self) -> int:
        """How many events it holds."""

    @property
    def head(self) -> str:
        """The hash of the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The heads of all chains at one moment, as the root of a tree with ``size`` leaves.

    ``prev`` is the sha256 of the canonical checkpoint before this one, 64 zeros for the first (``seq`` 1).
    """

    seq: int
    prev: str
    at: datetime
    size: int
    root: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointProof:
    """A signed checkpoint, and the path that leads from one chain's leaf to its root."""

    document: bytes
    signature: bytes
    chain: str
    count: int
    head: str
    index: int
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFile:
    """A file of task events as the run left it: its name within ``tasks/``, its sha256, and where it lies."""

    name: str
    sha256: str
    source: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleContents:
    """Everything about one change that goes to the auditor.

    ``plan`` is the one that stands, None where none does. ``people`` are those who acted, as they were known when they
    acted; a person whose record changed meanwhile may stand there twice. ``trail`` is exactly what ``checkpoint``
    covers. The mappings go by host and may be lazy: each value is asked for twice and not kept.
    """

    change: ChangeRequest
    plan: PatchPlan | None
    people: Sequence[Person]
    steps: Sequence[StepRecord]
    trail: Sequence[AuditEvent]
    checkpoint: CheckpointProof
    packages_before: Mapping[str, Plain] = field(default_factory=dict)
    packages_after: Mapping[str, Plain] = field(default_factory=dict)
    health: Mapping[str, Plain] = field(default_factory=dict)
    tasks: Sequence[TaskFile] = ()


class Standing(StrEnum):
    """What a verification comes to."""

    VERIFIED = "verified"
    SIGNER_UNKNOWN = "intact, signer unknown"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that does not hold: the check that found it, and a sentence."""

    check: str
    message: str

    def __str__(self) -> str:
        return f"{self.check}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was checked and what does not hold.

    ``signer`` is the pinned key, ``unknown_signer`` why there is none; ``removed`` counts the files of task events that
    are not there any more, as the trail says.
    """

    subject: str
    change: str = ""
    plan_digest: str = ""
    events: int = 0
    head: str = ""
    checkpoint: int = 0
    signer: str = ""
    unknown_signer: str = ""
    removed: int = 0
    checks: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def standing(self) -> Standing:
        """Return what it comes to; what is refused is refused whoever signed it."""
        if self.findings:
            return Standing.REFUSED
        return Standing.SIGNER_UNKNOWN if self.unknown_signer else Standing.VERIFIED

    def require(self) -> None:
        """Raise EvidenceRefused or SignerUnknown, with every reason, unless the evidence is verified."""
        if self.standing is Standing.REFUSED:
            reasons = "\n".join(f"  {finding}" for finding in self.findings)
            raise EvidenceRefused(f"{self.subject} does not hold:\n{reasons}\nKeep it as it is and ask where it was.")
        if self.standing is Standing.SIGNER_UNKNOWN:
            raise SignerUnknown(
                f"{self.subject} is intact, signer unknown: {self.unknown_signer}. Get the public key from somebody "
                "other than whoever gave you this, and name it with --key."
            )


def leaf(chain: str, count: int, head: str) -> bytes:
    """Return the leaf of one chain."""
    return canonical({"chain": chain, "count": count, "head": head})


def leaves(heads: Iterable[Head]) -> tuple[bytes, ...]:
    """Return the leaves of all chains, sorted by chain name. Raises ValueError where a name comes twice."""
    ordered = _in_order(heads)
    return tuple(leaf(head.chain, head.count, head.head) for head in ordered)


def root(leaves: Sequence[bytes]) -> str:
    """Return the root of the tree over the leaves, in hexadecimal."""
    level = [_leaf_hash(each) for each in leaves]
    if not level:
        return hashlib.sha256(b"").hexdigest()
    while len(level) > 1:
        level = _next_level(level)
    return level[0].hex()


def inclusion(leaves: Sequence[bytes], index: int) -> tuple[str, ...]:
    """Return the path from a leaf to the root, lowest sibling first. Raises IndexError."""
    if not 0 <= index < len(leaves):
        raise IndexError(f"no leaf {index} in a tree of {len(leaves)}")
    level, path = [_leaf_hash(each) for each in leaves], []
    while len(level) > 1:
        if (sibling := index ^ 1) < len(level):
            path.append(level[sibling].hex())
        level, index = _next_level(level), index // 2
    return tuple(path)


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[str], root: str) -> bool:
    """Tell whether the path leads from the leaf at ``index`` of ``size`` to the root (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    at, last, node = index, size - 1, _leaf_hash(leaf)
    for step in path:
        if last == 0:
            return False
        sibling = _digest_of(step)
        if at % 2 or at == last:
            node = _node_hash(sibling, node)
            while at % 2 == 0 and at:
                at, last = at // 2, last // 2
        else:
            node = _node_hash(node, sibling)
        at, last = at // 2, last // 2
    return last == 0 and node.hex() == root


def next_checkpoint(heads: Iterable[Head], *, at: datetime, previous: bytes | None) -> Checkpoint:
    """Return the checkpoint that follows ``previous`` (its canonical document; None for the first)."""
    tree = leaves(heads)
    return Checkpoint(
        seq=read_checkpoint(previous).seq + 1 if previous else 1,
        prev=hashlib.sha256(previous).hexdigest() if previous else GENESIS,
        at=at,
        size=len(tree),
        root=root(tree),
    )


def read_checkpoint(document: bytes) -> Checkpoint:
    """Return the checkpoint that a canonical document says. Raises ValueError."""
    try:
        said = json.loads(document)
        checkpoint = Checkpoint(**{**said, "at": parse_rfc3339(said["at"])})
        sound = checkpoint.seq >= 1 and checkpoint.size >= 0
        sound &= all(len(bytes.fromhex(text)) == 32 for text in (checkpoint.prev, checkpoint.root))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError("it is not a checkpoint: seq, prev, at, size and root") from error
    if not sound or bool in {type(checkpoint.seq), type(checkpoint.size)} or canonical(checkpoint) != document:
        raise ValueError("it is not a checkpoint as the format writes it")
    return checkpoint


def prove(chain: str, heads: Iterable[Head], document: bytes, signature: bytes) -> CheckpointProof:
    """Return the proof that a signed checkpoint, made of these heads, covers the chain.

    Raises ValueError where the heads are not those of the checkpoint or the chain is not among them.
    """
    ordered = _in_order(heads)
    tree = leaves(ordered)
    if root(tree) != read_checkpoint(document).root:
        raise ValueError("these heads are not the ones that the checkpoint was made of")
    index = next((at for at, head in enumerate(ordered) if head.chain == chain), None)
    if index is None:
        raise ValueError(f"chain {chain!r} is not in the checkpoint")
    mine = ordered[index]
    return CheckpointProof(
        document=document, signature=signature, chain=chain, count=mine.count, head=mine.head, index=index,
        path=inclusion(tree, index),
    )  # fmt: skip


def checkpoint_line(document: bytes, signature: bytes) -> bytes:
    """Return a signed checkpoint as the one line that is sent outside, without the newline."""
    return canonical({"checkpoint": json.loads(document), "signature": json.loads(signature)})


def _in_order(heads: Iterable[Head]) -> list[Head]:
    ordered = sorted(heads, key=lambda head: head.chain)
    for first, second in pairwise(ordered):
        if first.chain == second.chain:
            raise ValueError(f"chain {first.chain!r} has two heads")
    return ordered


def _next_level(level: Sequence[bytes]) -> list[bytes]:
    # A last node without a sibling rises unchanged: that gives RFC 6962's tree, whose left half is a full one.
    pairs = [_node_hash(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
    return [*pairs, level[-1]] if len(level) % 2 else pairs


def _leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + leaf).digest()


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _digest_of(text: str) -> bytes:
    # Whatever is no hexadecimal digest simply does not lead to the root.
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
