"""A bundle as it was found: the files' digests, the documents that are understood, and what was wrong on the way."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.adapters.evidence.archive import Member, members
from orchestrator.adapters.evidence.bundle import host_file
from orchestrator.adapters.evidence.keys import read_signature
from orchestrator.adapters.evidence.strict import (
    Malformed,
    Object,
    entries,
    entry,
    hash_text,
    number,
    parse,
    parse_lines,
    text,
)
from orchestrator.adapters.evidence.trust import Pins, TrustedKey
from orchestrator.domain.canonical import Plain
from orchestrator.domain.identity import SignedStatement

#: Documents beyond this are nothing that we write; files under ``tasks/`` may be larger, they are only hashed.
LARGEST_DOCUMENT = 256 << 20

ALWAYS = frozenset(
    {"approvals.json", "checkpoint.json", "journal.jsonl", "manifest.json", "manifest.sig", "people.json"}
    | {"request.json", "trail.jsonl"}
)
WITH_A_PLAN = frozenset({"content.json", "lock.json", "plan.json", "population.json"})
MAY_BE = frozenset({"waivers.json"})

_PER_HOST = re.compile(r"packages/[^/]+\.(?:before|after)\.json|health/[^/]+\.json")


class NotThere(Exception):
    """A document that a check needs is missing or unreadable, which was said already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What was found in the archive.

    ``hashes`` goes over every file, ``raw`` and ``said`` over the documents of fixed name; ``troubles`` are those that
    could not be understood. ``checked`` remembers the events of the trail, for which most checks ask.
    """

    hashes: Mapping[str, str]
    raw: Mapping[str, bytes]
    said: Mapping[str, Plain]
    troubles: tuple[str, ...]
    pins: Pins = field(default_factory=Pins)
    is_valid: Callable[[SignedStatement], bool]
    checked: list[Object] = field(default_factory=list)

    def document(self, name: str) -> Plain:
        """Return what a document says. Raises NotThere."""
        if name not in self.said:
            raise NotThere(name)
        return self.said[name]

    def entry(self, name: str, *keys: str) -> Object:
        """Return a document that is an object with exactly these fields. Raises NotThere, Malformed."""
        return entry(self.document(name), name, frozenset(keys) if keys else None)

    def entries(self, name: str, *keys: str) -> list[Object]:
        """Return a document that is a list of objects with exactly these fields. Raises NotThere, Malformed."""
        return entries(self.document(name), name, frozenset(keys) if keys else None)

    @property
    def change(self) -> str:
        """Return the change that the manifest names. Raises NotThere, Malformed."""
        return text(self.entry("manifest.json"), "change")

    @property
    def plan_digest(self) -> str:
        """Return the digest of the plan that the manifest names, "" for none. Raises NotThere, Malformed."""
        return text(self.entry("manifest.json"), "plan_digest")

    @property
    def end(self) -> tuple[int, str]:
        """Return the length and the last hash of the trail that the manifest names. Raises NotThere, Malformed."""
        chain = entry(self.entry("manifest.json").get("chain"), "chain")
        return number(chain, "count"), hash_text(chain, "head")

    def signer(self) -> TrustedKey | None:
        """Return the pinned key that signed the manifest, or None. Raises NotThere, Malformed."""
        signature = read_signature(self.document("manifest.sig"))
        return self.pins.signer(signature, self.raw.get("manifest.json", b""))


def open_bundle(path: Path, *, pins: Pins, is_valid: Callable[[SignedStatement], bool]) -> Bundle:
    """Read a bundle once, from its beginning to its end. Raises Malformed where it is no bundle at all, OSError."""
    hashes: dict[str, str] = {}
    raw: dict[str, bytes] = {}
    said: dict[str, Plain] = {}
    troubles: list[str] = []
    for member in members(path):
        document = _read(member, hashes)
        if document is None:
            continue
        try:
            value = _understand(member.name, document)
        except Malformed as error:
            troubles.append(f"{member.name} {error}")
            continue
        if not _PER_HOST.fullmatch(member.name):
            raw[member.name], said[member.name] = document, value
    return Bundle(hashes=hashes, raw=raw, said=said, troubles=tuple(troubles), pins=pins, is_valid=is_valid)


def is_expected(name: str, *, with_a_plan: bool) -> bool:
    """Tell whether the format has a file of that name."""
    fixed = ALWAYS | MAY_BE | (WITH_A_PLAN if with_a_plan else frozenset())
    return name in fixed or name.startswith("tasks/") or bool(_PER_HOST.fullmatch(name))


def _read(member: Member, hashes: dict[str, str]) -> bytes | None:
    hashed, kept = hashlib.sha256(), bytearray()
    is_document = not member.name.startswith("tasks/")
    if is_document and member.size > LARGEST_DOCUMENT:
        raise Malformed(f"{member.name} is larger than any document may be ({member.size} bytes)")
    for chunk in member.chunks:
        hashed.update(chunk)
        if is_document:
            kept += chunk
    hashes[member.name] = hashed.hexdigest()
    return bytes(kept) if is_document else None


def _understand(name: str, document: bytes) -> Plain:
    if name.endswith(".jsonl"):
        return list(_lines(document))
    value = parse(document)
    if _PER_HOST.fullmatch(name):
        _require_host(name, value)
    return value


def _lines(document: bytes) -> Iterator[Plain]:
    yield from parse_lines(document)


def _require_host(name: str, value: Plain) -> None:
    folder = name.split("/", 1)[0]
    host = text(entry(value, "it", frozenset({"host", folder})), "host")
    wanted = {f"{folder}/{host_file(host)}{end}" for end in (".before.json", ".after.json", ".json")}
    if name not in wanted:
        raise Malformed(f"is about {host}, whose file is not called so")
