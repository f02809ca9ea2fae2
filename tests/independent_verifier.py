"""A second verifier of evidence bundles, written from docs/evidence-format.md and nothing else.

It imports no line of the product: only the standard library, `cryptography` and the program `ssh-keygen`.

    python tests/independent_verifier.py BUNDLE --key signing-key.pub.pem [--key sha256:…] [--history key-history.json]
        [--checkpoints FILE] [--signers FILE]

Exit code 0: verified; 8: refused; 9: intact, signer unknown.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

VERIFIED, UNKNOWN, REFUSED = "verified", "intact, signer unknown", "refused"

FORMATS = ["patch-orchestrator-evidence/1", "patch-orchestrator-evidence/2"]
EVENT = ["chain", "actor", "origin", "tag", "outcome", "change", "seq", "at", "data", "prev", "hash"]
STATEMENT = ["subject", "change", "digest", "decision", "reason", "signer", "at"]
STEPS = ["check", "protect", "drain", "patch", "verify", "undrain", "reboot", "restore", "release"]
NEEDED = {"manifest.json", "manifest.sig", "trail.jsonl", "checkpoint.json", "request.json", "people.json"} | {
    "approvals.json", "journal.jsonl"
}  # fmt: skip
PLANNED = {"plan.json", "lock.json", "content.json", "population.json"}
PER_HOST = re.compile(r"(packages)/([^/]+)\.(?:before|after)\.json|(health)/([^/]+)\.json")


#: What reading a document raises that is of another shape than the format says.
NOT_AS_SAID = (AttributeError, IndexError, KeyError, TypeError)


class Bad(Exception):
    """One reason to refuse."""


def must(condition: object, why: str) -> None:
    if not condition:
        raise Bad(why)


# Section 1: words.


def canon(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def load(raw: bytes) -> Any:
    def integer(spelled: str) -> int:
        must(len(spelled) < 18 and -(2**53) < int(spelled) < 2**53, "integer out of range")
        return int(spelled)

    def never(spelled: str) -> None:
        raise Bad(f"{spelled[:20]} is no integer")

    try:
        value = json.loads(raw.decode("utf-8"), parse_int=integer, parse_float=never, parse_constant=never)
        must(levels_and_keys(value) <= 64, "too many levels")
        must(canon(value) == raw, "not canonical")
    except (ValueError, RecursionError) as error:
        raise Bad(f"not canonical: {error}") from error
    return value


def levels_and_keys(value: Any) -> int:
    if isinstance(value, dict):
        must(all(key.isascii() for key in value), "key is not ASCII")
        return 1 + max(map(levels_and_keys, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(levels_and_keys, value), default=0)
    return 1


def load_lines(raw: bytes) -> list[Any]:
    must(not raw or raw[-1:] == b"\n", "last line is not ended")
    return [load(line) for line in raw.split(b"\n")[:-1]]


def is_sha(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def kind(value: Any, what: type, why: str) -> Any:
    must(type(value) is what, f"{why} is not of type {what.__name__}")
    return value


def get(of: Any, key: str, what: type) -> Any:
    must(key in kind(of, dict, "what holds " + key), f"{key} is missing")
    return kind(of[key], what, key)


def objects(value: Any, why: str) -> list[dict[str, Any]]:
    return [kind(item, dict, why) for item in kind(value, list, why)]


def names(of: Any, key: str) -> list[str]:
    return [kind(item, str, key) for item in get(of, key, list)]


def exactly(value: Any, keys: Iterable[str], why: str) -> dict[str, Any]:
    must(set(kind(value, dict, why)) == set(keys), f"{why} has other fields than it must have")
    return value  # type: ignore[no-any-return]


def time(of: Any, key: str) -> datetime:
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{6})?Z", get(of, key, str), re.ASCII)
    must(found and found[2] != ".000000", f"{key} is no time")
    assert found
    try:
        return datetime.strptime(found[1] + (found[2] or ".000000") + "+0000", "%Y-%m-%dT%H:%M:%S.%f%z")
    except ValueError as error:
        raise Bad(f"{key} is no time") from error


def openssh(key: str) -> tuple[str, ...]:
    return tuple(key.split()[:2])


# Section 2: the file.


def unpack(path: Path) -> dict[str, bytes]:
    packed = path.read_bytes()
    must(packed[:10] == bytes.fromhex("1f8b08000000000000ff"), "gzip header")
    inflate = zlib.decompressobj(31)
    try:
        tar = inflate.decompress(packed) + inflate.flush()
    except zlib.error as error:
        raise Bad(f"gzip: {error}") from error
    must(inflate.eof and not inflate.unused_data, "gzip end")
    files: dict[str, bytes] = {}
    at = 0
    while tar[at : at + 512].strip(b"\0"):
        block = tar[at : at + 512]
        folder, base = (part.rstrip(b"\0").decode("latin-1") for part in (block[345:500], block[:100]))
        name = f"{folder}/{base}" if folder else base
        must(re.fullmatch("[0-7]{11}", block[124:135].decode("latin-1")), "size")
        size = int(block[124:135], 8)
        must(make_header(name, size) == block, "header")
        must(not files or name > max(files), "order")
        must(name.startswith("tasks/") or size <= 256 << 20, "too large")
        end = at + 512 + size
        next_at = end + -size % 512
        must(len(tar) >= next_at and not tar[end:next_at].strip(b"\0"), "padding")
        files[name], at = tar[at + 512 : end], next_at
    must(tar[at:] == bytes(1024), "end")
    return files


def make_header(name: str, size: int) -> bytes:
    parts = name.split("/")
    sound = len(parts) < 3 and all(re.fullmatch(r"[A-Za-z0-9._~%-]+", p) and p not in {".", ".."} for p in parts)
    must(sound and len(parts[-1]) <= 100 and (len(parts) == 1 or len(parts[0]) <= 64), "path")
    block = bytearray(512)

    def put(at: int, what: str) -> None:
        block[at : at + len(what)] = what.encode("ascii")

    put(0, name if len(name) <= 100 else parts[1])
    put(345, "" if len(name) <= 100 else parts[0])
    for at, what in ((100, "0000644"), (108, "0" * 7), (116, "0" * 7), (124, f"{size:011o}"), (136, "0" * 11)):
        put(at, what)
    for at, what in ((148, " " * 8), (156, "0"), (257, "ustar\x0000"), (329, "0" * 7), (337, "0" * 7)):
        put(at, what)
    put(148, f"{sum(block):06o}\0 ")
    return bytes(block)


# Section 4: keys.


@dataclass
class Pins:
    """What the auditor holds: keys by fingerprint with the time at which they were replaced, checkpoints, people."""

    keys: dict[str, Any] = field(default_factory=dict)
    replaced: dict[str, datetime] = field(default_factory=dict)
    checkpoints: dict[int, Any] | None = None
    signers: dict[str, set[tuple[str, ...]]] | None = None


def public_key(pem: bytes) -> tuple[str, str, Any]:
    """Return fingerprint, algorithm and key."""
    try:
        key = load_pem_public_key(pem)
    except ValueError as error:
        raise Bad("no public key") from error
    p256 = isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1"
    must(p256 or isinstance(key, ed25519.Ed25519PublicKey), "a key for neither algorithm")
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "sha256:" + sha(der), "ecdsa-p256-sha256" if p256 else "ed25519", key


def pinned(
    keys: Sequence[str], history: Path | None = None, checkpoints: Path | None = None, signers: Path | None = None
) -> Pins:
    named = {key for key in keys if key.startswith("sha256:")}
    pins = Pins()
    for key in set(keys) - named:
        fingerprint, algorithm, public = public_key(Path(key).read_bytes())
        pins.keys[fingerprint] = (algorithm, public)
        named.add(fingerprint)
    if history:
        follow(load(history.read_bytes()), named, pins)
    if checkpoints:
        pins.checkpoints = outside(load_lines(checkpoints.read_bytes()), pins)
    if signers:
        pins.signers = {}
        for line in signers.read_text().splitlines():
            words = line.split()
            if words and not words[0].startswith("#"):
                for name in words[0].split(","):
                    pins.signers.setdefault(name, set()).add(openssh(" ".join(words[2 if "=" in words[1] else 1 :])))
    return pins


def follow(entries: Any, named: set[str], pins: Pins) -> None:
    before = ""
    for item in objects(entries, "history"):
        exactly(item, ("algorithm", "at", "key", "public", "signature"), "history")
        fingerprint, algorithm, public = public_key(get(item, "public", str).encode())
        must((item["key"], item["algorithm"]) == (fingerprint, algorithm), "history names another key")
        if before:
            body = canon({name: value for name, value in item.items() if name != "signature"})
            must(signed_by(item["signature"], body, pins.keys) == before, "history is not signed by the key before")
            pins.replaced[before] = time(item, "at")
        if before or fingerprint in named:
            pins.keys[fingerprint] = (algorithm, public)
            before = fingerprint


def outside(lines: list[Any], pins: Pins) -> dict[int, Any]:
    series: dict[int, Any] = {}
    for line in lines:
        exactly(line, ("checkpoint", "signature"), "line")
        checkpoint = read_checkpoint(line["checkpoint"])
        must(signed_by(line["signature"], canon(checkpoint), pins.keys) or not pins.keys, "line of a stranger")
        known = series.setdefault(checkpoint["seq"], checkpoint)
        must(known == checkpoint, "two checkpoints of one number")
    for seq, checkpoint in series.items():
        must(seq - 1 not in series or checkpoint["prev"] == sha(canon(series[seq - 1])), "lines do not follow")
    return series


def signed_by(signature: Any, document: bytes, keys: dict[str, Any]) -> str:
    """Return the trusted key that signed, "" for one that is not trusted."""
    exactly(signature, ("algorithm", "key", "signature"), "signature")
    text = get(signature, "signature", str)
    get(signature, "algorithm", str)
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Bad("signature is not base64") from error
    must(base64.b64encode(raw).decode() == text, "base64 in another form")
    name = get(signature, "key", str)
    if name not in keys:
        return ""
    algorithm, key = keys[name]
    must(signature["algorithm"] == algorithm, "another algorithm")
    try:
        key.verify(raw, document, *([ec.ECDSA(hashes.SHA256())] if algorithm.startswith("ecdsa") else []))
    except InvalidSignature as error:
        raise Bad("signature is not good") from error
    return str(name)


# Section 5: trail and checkpoint.


def read_checkpoint(value: Any) -> Any:
    exactly(value, ("seq", "prev", "at", "size", "root"), "checkpoint")
    must(get(value, "seq", int) >= 1 and get(value, "size", int) >= 0, "checkpoint numbers")
    must(is_sha(value["prev"]) and is_sha(value["root"]), "checkpoint hashes")
    time(value, "at")
    return value


def root_from(leaf: bytes, index: int, size: int, path: list[str]) -> str:
    """Climb the tree by its recursive definition: the top of the path is the other half of the whole tree."""
    must(0 <= index < size, "index")
    if size == 1:
        must(not path, "path is too long")
        return sha(b"\0" + leaf)
    must(path, "path is too short")
    half = 1
    while half * 2 < size:
        half *= 2
    other = bytes.fromhex(path[-1])
    if index < half:
        return sha(b"\1" + bytes.fromhex(root_from(leaf, index, half, path[:-1])) + other)
    return sha(b"\1" + other + bytes.fromhex(root_from(leaf, index - half, size - half, path[:-1])))


@dataclass
class Course:
    """Where the change stands at the end of its trail."""

    plan: str = ""
    staged: Any = None
    votes: list[Any] = field(default_factory=list)
    approved: Any = None
    scheduled: list[Any] = field(default_factory=list)
    started: Any = None


def follow_trail(events: list[Any]) -> Course:
    now = Course()
    for event in events:
        tag = event["tag"]
        must(tag not in {"voted", "rejected", "approved"} or now.plan, f"{tag} without a plan")
        must(tag not in {"scheduled", "started", "resumed"} or now.approved, f"{tag} without approval")
        if tag == "staged":
            must(is_sha(event["data"].get("digest")), "staged names no plan")
            now = Course(plan=event["data"]["digest"], staged=event)
        elif tag in {"staging-started", "vote-expired", "waived"} or (tag, event["outcome"]) == (
            "drift-found",
            "requested",
        ):
            now = Course()
        elif tag in {"voted", "rejected"}:
            now.votes.append(event)
        elif tag == "approved":
            now.approved = event
        elif tag == "scheduled":
            now.scheduled.append(event)
        elif tag == "started":
            now.started = now.started or event
    return now


# The checks. Each may stop at its first reason.


class Bundle:
    """The files, and what they say."""

    def __init__(self, files: dict[str, bytes], pins: Pins) -> None:
        self.files, self.pins = files, pins
        self.said: dict[str, Any] = {
            name: load_lines(raw) if name.endswith(".jsonl") else load(raw)
            for name, raw in files.items()
            if not name.startswith("tasks/")
        }
        self.manifest = exactly(
            self.said.get("manifest.json"), ("format", "change", "plan_digest", "chain", "files"), "manifest"
        )
        self.change = get(self.manifest, "change", str)
        self.digest = get(self.manifest, "plan_digest", str)
        must(set(files) >= NEEDED, "files are missing")
        must(not self.digest or set(files) >= PLANNED, "files of the plan are missing")
        self.events = objects(self.said["trail.jsonl"], "trail")
        for event in self.events:
            exactly(event, EVENT, "event")
            for name in ("chain", "actor", "origin", "tag", "outcome", "change", "prev", "hash"):
                get(event, name, str)
            get(event, "seq", int), get(event, "data", dict), time(event, "at")
            must(is_sha(event["prev"]) and is_sha(event["hash"]), "hash")
        self.course = follow_trail(self.events)
        self.people = objects(self.said["people.json"], "people")
        self.plan: dict[str, Any] = kind(self.said["plan.json"], dict, "plan") if self.digest else {}
        self.journal = objects(self.said["journal.jsonl"], "journal")
        self.hosts = {get(host, "host", str) for host in objects(self.plan["hosts"], "hosts")} if self.digest else set()


def check_files(bundle: Bundle) -> None:
    must(bundle.manifest["format"] in FORMATS, "format")
    must(not bundle.digest or is_sha(bundle.digest), "plan digest")
    listed = get(bundle.manifest, "files", dict)
    must(set(listed) == set(bundle.files) - {"manifest.json", "manifest.sig"}, "other files than in the manifest")
    for name, digest in listed.items():
        must(digest == sha(bundle.files[name]), f"{name} was changed")
    for name in set(bundle.files) - NEEDED - {"waivers.json"} - (PLANNED if bundle.digest else set()):
        host = PER_HOST.fullmatch(name)
        must(host or name.startswith("tasks/"), f"{name} is no file of the format")
        if host:
            value = exactly(bundle.said[name], ("host", host[1] or host[3]), name)
            must(file_name(get(value, "host", str)) == (host[2] or host[4]), f"{name} is about another host")


def file_name(host: str) -> str:
    safe = quote(host, safe="")
    return safe if len(safe) <= 80 else safe[:47] + "~" + sha(host.encode())[:32]


def check_trail(bundle: Bundle) -> None:
    before = "0" * 64
    for number, event in enumerate(bundle.events, 1):
        must((event["seq"], event["prev"]) == (number, before), f"event {number} is missing or moved")
        body = {name: value for name, value in event.items() if name != "hash"}
        must(event["hash"] == sha(canon(body)), f"event {number} was changed")
        must(event["chain"] == event["change"] == bundle.change, f"event {number} is another change's")
        before = event["hash"]
    chain = exactly(bundle.manifest["chain"], ("count", "head"), "chain")
    must(
        bundle.events and (get(chain, "count", int), chain["head"]) == (len(bundle.events), before), "end of the trail"
    )
    must(bundle.events[0]["tag"] == "requested", "begin of the trail")


def check_checkpoint(bundle: Bundle) -> None:
    found = exactly(
        bundle.said["checkpoint.json"], ("checkpoint", "signature", "leaf", "index", "path"), "checkpoint.json"
    )
    checkpoint, chain = read_checkpoint(found["checkpoint"]), bundle.manifest["chain"]
    leaf = canon({"chain": bundle.change, "count": chain["count"], "head": chain["head"]})
    must(canon(found["leaf"]) == leaf, "leaf")
    path = names(found, "path")
    must(all(map(is_sha, path)), "path")
    must(root_from(leaf, get(found, "index", int), checkpoint["size"], path) == checkpoint["root"], "root")
    signer = signed_by(found["signature"], canon(checkpoint), bundle.pins.keys)
    mine = signed_by(bundle.said["manifest.sig"], bundle.files["manifest.json"], bundle.pins.keys)
    must(signer or not mine, "checkpoint signed by a stranger")
    for key in {signer, mine} & set(bundle.pins.replaced):
        must(time(checkpoint, "at") <= bundle.pins.replaced[key], "signed with a key that had been replaced")
    if bundle.pins.checkpoints is not None:
        must(bundle.pins.checkpoints.get(checkpoint["seq"]) == checkpoint, "not the checkpoint that was sent outside")


def check_plan(bundle: Bundle) -> None:
    must(bundle.course.plan == bundle.digest, "another plan stands")
    if not bundle.digest:
        return
    plan = bundle.plan
    must(sha(bundle.files["plan.json"]) == bundle.digest and get(plan, "change", str) == bundle.change, "plan digest")
    for name in ("lock", "content"):
        must(canon(bundle.said[f"{name}.json"]) == canon(get(plan, name, dict)), f"{name}.json")
    spec = get(plan, "spec", dict)
    policy = get(spec, "approval", dict)
    get(spec, "production", str), get(policy, "deadline", int), get(policy, "exclude_authors", bool)
    for role in get(policy, "required", dict):
        get(policy["required"], role, int)
    names(get(plan, "content", dict), "authors")
    proved = set()
    for lock in objects(get(plan["lock"], "platforms", list), "lock"):
        must("platform" in lock, "platform")
        proved |= {(canon(lock["platform"]), *same_bytes(item)) for item in objects(lock.get("items"), "items")}
    waived = {get(waiver, "subject", str) for waiver in objects(plan.get("waivers"), "waivers")}
    for host in objects(plan["hosts"], "hosts"):
        must("platform" in host, "platform")
        for item in objects(host.get("items"), "items"):
            must((canon(host["platform"]), *same_bytes(item)) in proved, "an item that was not proved")
        must(get(host, "rollback_class", str) != "none" or f"rollback:{host['host']}" in waived, "no way back")
    placed: list[str] = []
    for wave in objects(plan.get("waves"), "waves"):
        for batch in get(wave, "batches", list):
            placed += [kind(host, str, "host") for host in kind(batch, list, "batch")]
    must(sorted(placed) == sorted(host["host"] for host in plan["hosts"]), "waves")


def same_bytes(item: Any) -> tuple[str, ...]:
    return tuple(get(item, key, str) for key in ("name", "arch", "version", "sha256"))


def check_population(bundle: Bundle) -> None:
    if not bundle.digest:
        return
    told = exactly(bundle.said["population.json"], ("query", "count", "hosts"), "population")
    must(get(told, "query", str) == bundle.plan["spec"]["production"], "query")
    hosts = objects(told["hosts"], "hosts")
    for host in hosts:
        exactly(host, ("host", "included", "reason"), "host")
        get(host, "included", bool), get(host, "reason", str)
    found = [get(host, "host", str) for host in hosts]
    must(found == sorted(set(found)) and get(told, "count", int) == len(found), "population is not in order")
    left = [(get(out, "host", str), get(out, "reason", str)) for out in objects(bundle.plan.get("not_included"), "out")]
    must(len(dict(left)) == len(left) and len(bundle.hosts) == len(bundle.plan["hosts"]), "a host twice")
    must({host["host"] for host in hosts if host["included"]} == bundle.hosts, "included")
    must(not any(host["included"] and host["reason"] for host in hosts), "included for a reason")
    said = sorted((host["host"], host["reason"]) for host in hosts if not host["included"])
    must(said == sorted(left) and all(reason for _, reason in left), "not included")
    must(set(names(bundle.plan, "population")) <= set(found), "somebody is missing")


def check_people(bundle: Bundle) -> None:
    for person in bundle.people:
        get(person, "name", str), get(person, "account", str)
        for key in ("roles", "keys", "emails", "acts_for"):
            names(person, key)


def check_request(bundle: Bundle) -> None:
    keys = ("change", "requester", "source_key", "created_at", "spec", "signed")
    request = exactly(bundle.said["request.json"], keys, "request.json")
    get(request, "source_key", str), time(request, "created_at")
    requester = get(request, "requester", str)
    must(get(request, "change", str) == bundle.change, "request of another change")
    must(bundle.events[0]["actor"] == requester, "trail begins with somebody else")
    must(not bundle.digest or canon(bundle.plan["spec"]) == canon(request["spec"]), "another specification")
    digest = sha(canon(request["spec"]))
    must(bundle.events[0]["data"].get("request") == digest, "trail begins with another request")
    holds(bundle, request["signed"], {"subject": "request", "digest": digest, "signer": requester})
    fits(bundle.events[0], request["signed"])


def holds(bundle: Bundle, signed: Any, wanted: dict[str, str], seats: Sequence[str] = ()) -> None:
    exactly(signed, ("statement", "signature", "key"), "signed")
    statement = exactly(signed["statement"], STATEMENT, "statement")
    for key in STATEMENT:
        get(statement, key, str)
    time(statement, "at")
    for key, value in {**wanted, "change": bundle.change}.items():
        must(statement[key] == value, f"the statement says another {key}")
    made_with, signer = openssh(get(signed, "key", str)), wanted["signer"]
    entries = [person for person in bundle.people if person["name"] == signer]
    mine = [p for p in entries if made_with in map(openssh, p["keys"]) and set(seats) <= set(p["roles"])]
    must(mine, f"not a key of {signer} in these roles")
    must(bundle.pins.signers is None or made_with in bundle.pins.signers.get(signer, ()), "not in the auditor's list")
    must(ssh_verifies(canon(statement), get(signed, "signature", str), made_with), f"not a signature of {signer}")


@lru_cache(maxsize=4096)
def ssh_verifies(message: bytes, signature: str, key: tuple[str, ...]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        allowed, armored = Path(folder, "allowed_signers"), Path(folder, "signature")
        allowed.write_text(f'someone namespaces="patch-orchestrator" {" ".join(key)}\n')
        armored.write_text(signature)
        command = ["ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", "someone", "-n", "patch-orchestrator"]
        done = subprocess.run([*command, "-s", str(armored)], input=message, capture_output=True, check=False)
    return done.returncode == 0


def fits(event: Any, signed: Any) -> None:
    must(event["data"].get("signed") in (None, sha(canon(signed))), "the trail names another signature")


def check_votes(bundle: Bundle) -> None:
    votes = objects(bundle.said["approvals.json"], "approvals")
    must(bundle.digest or not votes, "votes without a plan")
    left = list(bundle.course.votes)
    for vote in votes:
        for key in ("approver", "decision", "digest", "reason", "account"):
            get(vote, key, str)
        seats, policy = names(vote, "seats"), bundle.plan["spec"]["approval"]
        time(vote, "at")
        must(vote["decision"] in {"approve", "reject"} and vote["digest"] == bundle.digest, "a vote for something else")
        wanted = {"subject": "vote", "digest": bundle.digest, "signer": vote["approver"]}
        wanted |= {"decision": vote["decision"], "reason": vote["reason"]}
        holds(bundle, vote.get("signed"), wanted, seats)
        must(seats and set(seats) <= set(policy["required"]), "seats")
        must_not_be_barred(bundle, vote)
        event = next((event for event in left if tells_of(event, vote)), None)
        must(event, "a vote that the trail does not know")
        fits(event, vote["signed"])
        left.remove(event)
    must(not left, "a vote of the trail is missing")
    must(len({vote["approver"] for vote in votes}) == len(votes), "somebody voted twice")


def tells_of(event: Any, vote: Any) -> bool:
    told = event["data"]
    words = [told.get("decision"), told.get("digest"), told.get("reason"), event["actor"], event["tag"]]
    tag = "voted" if vote["decision"] == "approve" else "rejected"
    return words == [vote["decision"], vote["digest"], vote["reason"], vote["approver"], tag]


def must_not_be_barred(bundle: Bundle, vote: Any) -> None:
    requester = get(bundle.said["request.json"], "requester", str)
    voter = [person for person in bundle.people if person["name"] == vote["approver"]]
    accounts = {person["account"] for person in bundle.people if person["name"] == requester} - {""}
    must(vote["approver"] != requester, "the requester voted")
    must(not any(requester in person["acts_for"] for person in voter), "somebody acting for the requester voted")
    must(vote["account"] not in accounts, "a vote from the requester's account")
    if bundle.plan["spec"]["approval"]["exclude_authors"]:
        authors = set(bundle.plan["content"]["authors"])
        must(not any(authors & {person["name"], *person["emails"]} for person in voter), "an author voted")


def check_approval(bundle: Bundle) -> None:
    course = bundle.course
    if not course.approved:
        return
    must(course.approved["data"].get("digest") == course.plan, "another plan was approved")
    must(all(event["data"].get("decision") == "approve" for event in course.votes), "somebody said no")
    policy = bundle.plan["spec"]["approval"]
    before = [event for event in course.votes if event["seq"] < course.approved["seq"]]
    try:
        ends = time(course.staged, "at") + timedelta(seconds=policy["deadline"])
    except OverflowError as error:
        raise Bad("deadline") from error
    must(all(time(event, "at") <= ends for event in before), "a vote came too late")
    votes = [
        v for v in bundle.said["approvals.json"] if v["decision"] == "approve" and any(tells_of(e, v) for e in before)
    ]
    for role, number in policy["required"].items():
        must(len({vote["approver"] for vote in votes if role in vote["seats"]}) >= number, f"too few votes from {role}")


def check_waivers(bundle: Bundle) -> None:
    waivers = objects(bundle.said.get("waivers.json", []), "waivers")
    must(not bundle.digest or canon(waivers) == canon(bundle.plan["waivers"]), "other waivers than in the plan")
    for waiver in waivers:
        subject, reason, by = (get(waiver, key, str) for key in ("subject", "reason", "by"))
        must(by != bundle.said["request.json"]["requester"], "the requester waived")
        wanted = {"subject": "waiver", "digest": sha(canon(subject)), "signer": by, "reason": reason}
        holds(bundle, waiver.get("signed"), wanted)
        told = [e for e in bundle.events if (e["tag"], e["actor"], e["data"].get("subject")) == ("waived", by, subject)]
        must(told and told[-1]["data"].get("reason") == reason, "a waiver that the trail does not know")
        fits(told[-1], waiver["signed"])


def check_journal(bundle: Bundle) -> None:
    slots = [(time(event["data"], "start"), time(event["data"], "end")) for event in bundle.course.scheduled]
    protected = set()
    for record in bundle.journal:
        for key in ("change", "host", "step", "job", "outcome", "detail"):
            get(record, key, str)
        get(record, "token", int)
        at, host, step = time(record, "started_at"), record["host"], record["step"]
        if record.get("finished_at") is not None:
            time(record, "finished_at")
        must(record["change"] == bundle.change and step in STEPS, "a step of something else")
        must(record["outcome"] in {"", "ok", "failed", "unknown"}, "outcome")
        if step == "patch" and not is_of_the_run(bundle, record):
            must(host not in bundle.hosts, f"{host} was patched before the start")
        elif step == "patch":
            must(host in bundle.hosts and host in protected, f"{host} was not planned or not protected")
            must(any(start <= at < end for start, end in slots), f"{host} was patched outside the window")
        elif step == "protect" and record["outcome"] == "ok" and is_of_the_run(bundle, record):
            protected.add(host)


def is_of_the_run(bundle: Bundle, record: Any) -> bool:
    started = bundle.course.started
    return bool(started) and time(record, "started_at") >= time(started, "at")


def check_outcomes(bundle: Bundle) -> None:
    if not bundle.course.started:
        return
    steps = {(record["host"], record["step"]) for record in bundle.journal if is_of_the_run(bundle, record)}
    for event in bundle.events[bundle.events.index(bundle.course.started) :]:
        host = event["data"].get("host")
        if event["tag"].startswith("host-") and isinstance(host, str):
            must(host in bundle.hosts, "a host that is not in the plan")
            step = {"done": "patch", "restored": "restore"}.get(event["outcome"])
            must(
                step is None or event["tag"] == "host-reconciled" or (host, step) in steps, f"no step {step} on {host}"
            )


def check_tasks(bundle: Bundle) -> None:
    named = set()
    for event in bundle.events:
        artifacts = event["data"].get("artifacts")
        if isinstance(artifacts, dict):
            must(all(map(is_sha, artifacts.values())), "artifacts")
            named |= set(artifacts.values())
    there = {sha(raw) for name, raw in bundle.files.items() if name.startswith("tasks/")}
    gone = removed(bundle) if bundle.manifest["format"] == FORMATS[1] else set()
    must(named - gone <= there <= named, "other task events than the trail names")


def removed(bundle: Bundle) -> set[str]:
    said, named, ended = list[list[str]](), set[str](), False
    for event in bundle.events:
        if isinstance(artifacts := event["data"].get("artifacts"), dict):
            named |= set(artifacts.values())
        if event["tag"] == "task-events-removed":
            said.append(names(event["data"], "removed"))
            must(ended and set(said[-1]) <= named, "task events were removed too early")
        ended = ended or event["outcome"] in {"closed", "rejected", "cancelled"}
    must(said, "format 2, and nothing was removed")
    return {digest for digests in said for digest in digests}


CHECKS: list[Callable[[Bundle], None]] = [
    check_files, check_trail, check_checkpoint, check_plan, check_population, check_people, check_request, check_votes,
    check_approval, check_waivers, check_journal, check_outcomes, check_tasks,
]  # fmt: skip


def verify(path: Path, pins: Pins) -> tuple[str, list[str]]:
    """Return the result and the reasons."""
    try:
        bundle = Bundle(unpack(path), pins)
        signer = signed_by(bundle.said["manifest.sig"], bundle.files["manifest.json"], pins.keys)
    except (Bad, *NOT_AS_SAID) as error:
        return REFUSED, [f"not as the format says: {error!r}"]
    reasons = []
    for check in CHECKS:
        try:
            check(bundle)
        except Bad as error:
            reasons.append(f"{check.__name__}: {error}")
        except NOT_AS_SAID as error:
            # An earlier check has said already that something is not of the kind that this one needs.
            reasons.append(f"{check.__name__}: not as the format says: {error!r}")
    return (REFUSED if reasons else VERIFIED if signer else UNKNOWN), reasons


def main() -> int:
    parser = argparse.ArgumentParser(description="Verify an evidence bundle offline.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--key", action="append", default=[], help="PEM file or sha256:… fingerprint")
    for option in ("--history", "--checkpoints", "--signers"):
        parser.add_argument(option, type=Path)
    args = parser.parse_args()
    try:
        pins = pinned(args.key, args.history, args.checkpoints, args.signers)
    except Bad as error:
        result, reasons = REFUSED, [f"what you hold yourself: {error}"]
    else:
        result, reasons = verify(args.bundle, pins)
    print(result, *reasons, sep="\n  ")
    return {VERIFIED: 0, REFUSED: 8, UNKNOWN: 9}[result]


if __name__ == "__main__":
    sys.exit(main())
