"""Pinned SSH host keys: a file in OpenSSH's known_hosts format, which Ansible's ssh reads as well.

Format: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT". Hashed names, patterns and ``@revoked`` lines of files that OpenSSH or
other people wrote are understood; what this module writes are plain names. ``@cert-authority`` lines are kept but not
used, since a pinned key is what is asked for here.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from orchestrator.errors import Refused, Unavailable

SSH_PORT = 22


@dataclass(frozen=True, slots=True, order=True)
class HostKey:
    """A host's public key: its kind (``ssh-ed25519``) and its base64."""

    kind: str
    base64: str

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint as ``ssh-keygen -l`` shows it: ``SHA256:…``."""
        hashed = hashlib.sha256(base64.b64decode(self.base64)).digest()
        return "SHA256:" + base64.b64encode(hashed).decode().rstrip("=")

    def __str__(self) -> str:
        return f"{self.kind} {self.fingerprint}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedKey:
    """A line of the file: ``names`` as it names hosts, ``marker`` "" or ``@revoked``, ``@cert-authority``."""

    names: str
    key: HostKey
    marker: str = ""

    def is_for(self, name: str) -> bool:
        """Tell whether the line speaks of the host called so (as ``known_name`` writes it)."""
        if self.names.startswith("|1|"):
            return _is_hash_of(self.names, name)
        patterns = self.names.split(",")
        if any(p.startswith("!") and _matches(name, p[1:]) for p in patterns):
            return False
        return any(_matches(name, p) for p in patterns if not p.startswith("!"))


class Pins:
    """Pinned keys at hand for many look-ups."""

    def __init__(self, pinned: Iterable[PinnedKey]) -> None:
        self._by_name: dict[str, list[PinnedKey]] = {}
        self._patterns: list[PinnedKey] = []
        for one in pinned:
            if set(one.names) & set("|*?!"):
                self._patterns.append(one)
            else:
                for name in one.names.lower().split(","):
                    self._by_name.setdefault(name, []).append(one)

    def good_for(self, name: str) -> Sequence[HostKey]:
        """Return the keys that are good for the host called so (as ``known_name`` writes it); none that was revoked."""
        found = [*self._by_name.get(name, ()), *(one for one in self._patterns if one.is_for(name))]
        revoked = {one.key for one in found if one.marker == "@revoked"}
        return list(dict.fromkeys(one.key for one in found if not one.marker and one.key not in revoked))


def known_name(address: str, port: int = SSH_PORT) -> str:
    """Return how known_hosts names a host: lower case, with the port where it is not 22."""
    return address.lower() if port == SSH_PORT else f"[{address.lower()}]:{port}"


class KnownHosts:
    """The file of pinned keys. Writing is atomic, one writer at a time, and leaves it readable by its owner only."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pinned(self) -> Sequence[PinnedKey]:
        """Return every line that names a key. Raises Unavailable where the file cannot be read."""
        return [pinned for line in self._lines() if (pinned := _parsed(line))]

    def keys_of(self, address: str, port: int = SSH_PORT) -> Sequence[HostKey]:
        """Return the keys that are good for a host; none that was revoked."""
        return Pins(self.pinned()).good_for(known_name(address, port))

    def add(self, address: str, keys: Iterable[HostKey], port: int = SSH_PORT) -> None:
        """Pin keys of a host. Raises Refused where another key of the same kind is pinned: that takes ``replace``."""
        name, wanted = known_name(address, port), list(keys)
        with self._writing() as lines:
            there = Pins([pinned for line in lines if (pinned := _parsed(line))]).good_for(name)
            for key in wanted:
                others = [old for old in there if old.kind == key.kind and old != key]
                if others:
                    raise Refused(
                        f"{name} is to be pinned with {key}, but {others[0]} is pinned in {self.path}. "
                        "If the host was set up anew, replace the key; if not, somebody else may be answering."
                    )
            lines += [_line(name, key) for key in wanted if key not in there]

    def replace(self, address: str, keys: Iterable[HostKey], port: int = SSH_PORT) -> None:
        """Pin exactly these keys of a host, whatever was pinned before."""
        name = known_name(address, port)
        with self._writing() as lines:
            lines[:] = [*_without(lines, name), *(_line(name, key) for key in keys)]

    def remove(self, address: str, port: int = SSH_PORT) -> bool:
        """Take away what is pinned under the host's own name; tell whether there was something."""
        with self._writing() as lines:
            before = list(lines)
            lines[:] = _without(lines, known_name(address, port))
            return lines != before

    def _lines(self) -> list[str]:
        try:
            return self.path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise Unavailable(f"the pinned host keys in {self.path} cannot be read: {error.strerror}.") from error

    @contextmanager
    def _writing(self) -> Iterator[list[str]]:
        """Yield the lines under a lock; what they are at the end of the block is written."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # The folder is locked, not the file: the file is another one after each writing.
            fcntl.flock(folder, fcntl.LOCK_EX)
            lines = self._lines()
            before = list(lines)
            yield lines
            if lines != before:
                _write_atomically(self.path, "".join(f"{line}\n" for line in lines))
                os.fsync(folder)
        except OSError as error:
            raise Unavailable(f"the pinned host keys in {self.path} cannot be written: {error.strerror}.") from error
        finally:
            os.close(folder)


def _parsed(line: str) -> PinnedKey | None:
    words = line.split()
    marker = words.pop(0) if words and words[0].startswith("@") else ""
    if len(words) < 3 or words[0].startswith("#"):
        return None
    try:
        base64.b64decode(words[2], validate=True)
    except ValueError:
        return None
    return PinnedKey(names=words[0], key=HostKey(words[1], words[2]), marker=marker)


def _line(name: str, key: HostKey) -> str:
    return f"{name} {key.kind} {key.base64}"


def _without(lines: Iterable[str], name: str) -> list[str]:
    """Return the lines without this name. Patterns and markers stay: they were not written for one host."""
    kept = []
    for line in lines:
        pinned = _parsed(line)
        if pinned is None or pinned.marker:
            kept.append(line)
        elif pinned.names.startswith("|1|"):
            kept += [] if _is_hash_of(pinned.names, name) else [line]
        else:
            names = pinned.names.split(",")
            others = [one for one in names if one != name]
            kept += [line] if others == names else [line.replace(pinned.names, ",".join(others), 1)] * bool(others)
    return kept


def _matches(name: str, pattern: str) -> bool:
    # The brackets in "[host]:port" are letters here, not the set that fnmatch takes them for.
    return fnmatchcase(name, pattern.lower().replace("[", "[[]"))


def _is_hash_of(hashed: str, name: str) -> bool:
    try:
        salt, expected = (base64.b64decode(part, validate=True) for part in hashed.split("|")[2:4])
    except ValueError:
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), expected)


def _write_atomically(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
