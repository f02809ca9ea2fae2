"""The bytes of every locked package, each in a file named by its sha256."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from orchestrator.errors import InvalidInput, Refused

#: What a file looked like when its content was last checked: inode, size, and the times of its bytes and its entry.
_Look: TypeAlias = list[int]

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_SEEN = ".verified.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageStore:
    """Implements ``ports.PackageKeeper`` in ``state``/packages."""

    state: Path

    @property
    def folder(self) -> Path:
        """Return where the files lie, each under its sha256."""
        return self.state / "packages"

    def adopt(self, file: Path, sha256: str = "") -> str:
        """Move a file in and return its sha256; one that is there already is only removed from where it was.

        ``sha256`` is what it must be; where it is not given, a file that is named by a digest must be that.
        Raises Refused where it is something else.
        """
        found = _digest(file)
        expected = sha256 or (file.name if _SHA256.match(file.name) else found)
        if found != expected:
            raise Refused(
                f"{file} is not the package that was announced: sha256 {found}, not {expected}. Fetch it anew."
            )
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.missing([found]):
            self._move_in(file, found)
        else:
            file.unlink()
        return found

    def missing(self, digests: Iterable[str]) -> Sequence[str]:
        """Return those of which no file with that content is kept; a file is read again where it looks different."""
        wanted = sorted(set(digests))
        for digest in wanted:
            if not _SHA256.match(digest):
                raise InvalidInput(f"{digest!r} is no sha256 of a package.")
        before = self._seen()
        now = {digest: look for digest in wanted if (look := self._checked(digest, before.get(digest)))}
        if any(before.get(digest) != look for digest, look in now.items()):
            self._remember(before | now)
        return [digest for digest in wanted if digest not in now]

    def unreferenced(self, referenced: Iterable[str]) -> Sequence[str]:
        """Return the kept files that nothing refers to, by sha256."""
        needed = set(referenced)
        return [file.name for file in self._files() if file.name not in needed]

    def remove(self, digests: Iterable[str]) -> int:
        """Remove the files with these sha256, where they are kept; return how many bytes that freed."""
        freed = 0
        for digest in digests:
            file = self.folder / digest
            if _SHA256.match(digest) and file.is_file():
                freed += file.stat().st_size
                file.unlink()
        return freed

    def _files(self) -> Iterator[Path]:
        with suppress(FileNotFoundError):
            yield from sorted(file for file in self.folder.iterdir() if _SHA256.match(file.name))

    def _move_in(self, file: Path, digest: str) -> None:
        draft = self.folder / f".{digest}.{os.getpid()}"
        # Copied rather than renamed: it may come from another file system, and its owner must be us.
        shutil.copyfile(file, draft)
        draft.chmod(0o444)
        if _digest(draft) != digest:
            draft.unlink()
            raise Refused(f"{file} changed while it was read. Fetch it anew.")
        _sync(draft)
        draft.rename(self.folder / digest)
        file.unlink()

    def _checked(self, digest: str, seen: _Look | None) -> _Look | None:
        """Return how the file looks if it holds what its name says."""
        try:
            file = self.folder / digest
            look = _look(file)
            return look if look == seen or _digest(file) == digest else None
        except FileNotFoundError:
            return None

    def _seen(self) -> dict[str, _Look]:
        try:
            found = json.loads((self.folder / _SEEN).read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _remember(self, seen: dict[str, _Look]) -> None:
        draft = self.folder / f"{_SEEN}.{os.getpid()}"
        draft.write_text(json.dumps({digest: look for digest, look in seen.items() if (self.folder / digest).exists()}))
        draft.rename(self.folder / _SEEN)


def _look(file: Path) -> _Look:
    status = file.stat()
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _digest(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
