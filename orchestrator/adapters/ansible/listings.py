"""What Ansible answered about an inventory, kept for the next command that asks the same of the same files."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from orchestrator.adapters.ansible.site_files import is_variable_file

#: So many answers are kept; of the others the oldest go.
KEPT = 64
#: A file that was written so many seconds ago may be written again without looking any different.
SETTLED = 2.0
#: An inventory plugin's configuration names the plugin; what it answers can differ each time.
_PLUGIN = re.compile(rb"^\s*plugin\s*:", re.MULTILINE)
_VAULTED = b"$ANSIBLE_VAULT;"
#: Path, inode, size and time of change of a file.
_Mark = tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class Stamp:
    """What changes whenever a file of an inventory does. ``newest`` is when the last one was written (Unix time)."""

    digest: str
    newest: float
    marks: tuple[_Mark, ...]


def stamp_of(folder: Path, inventory: Path, program: Path, *, is_frozen: bool = False) -> Stamp | None:
    """Return the stamp of an inventory, and of the program that reads it.

    None where files do not say it all: one of them is a program, a link leads to another folder, or one is missing.
    Of frozen content only the files that list hosts are ever replaced: those with variables need no look.
    """
    marks = []
    try:
        for file in (program, folder / "ansible.cfg", *sorted(_files(inventory, with_variables=not is_frozen))):
            if file.is_dir():
                return None
            status = file.stat()
            if status.st_mode & 0o111 and file != program:
                return None
            marks.append((str(file), status.st_ino, status.st_size, status.st_mtime_ns))
    except OSError:
        return None
    newest = max(mark[3] for mark in marks) / 1e9
    return Stamp(hashlib.sha256(repr(marks).encode()).hexdigest(), newest, tuple(marks))


def says_who_is_there(stamp: Stamp) -> bool:
    """Tell whether the files alone decide: none of them configures a plugin."""
    return not any(_looked_at(mark)[0] for mark in stamp.marks[1:])


@dataclass(frozen=True, slots=True)
class Listings:
    """Answers of ``ansible-inventory``, in files that only this account can read. Losing them costs time alone."""

    folder: Path

    def find(self, pattern: str, stamp: Stamp) -> str | None:
        """Return the answer that was kept, if there is one that can be read."""
        file = self._file(pattern, stamp)
        try:
            answer = gzip.decompress(file.read_bytes()).decode()
            os.utime(file)
        except (OSError, EOFError, ValueError):  # None, or one that a full disk has cut.
            return None
        return answer

    def keep(self, pattern: str, stamp: Stamp, inventory: Path, answer: str) -> None:
        """Keep an answer that will be the same; where the disk refuses, nothing is kept.

        Ansible opens a file that is vaulted as a whole, and answers what is in it: that is never kept. Single values
        that are vaulted stay so.
        """
        if time.time() - stamp.newest < SETTLED or not says_who_is_there(stamp) or _has_vaulted_file(inventory):
            return
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=self.folder, prefix="new-")
            with os.fdopen(descriptor, "wb") as file:
                file.write(gzip.compress(answer.encode(), compresslevel=1))
            Path(temporary).replace(self._file(pattern, stamp))
            self._forget_the_oldest()
        except OSError:
            return

    def _forget_the_oldest(self) -> None:
        files = sorted(self.folder.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True)
        for file in files[KEPT:]:
            file.unlink(missing_ok=True)

    def _file(self, pattern: str, stamp: Stamp) -> Path:
        return self.folder / hashlib.sha256(f"{stamp.digest}\0{pattern}".encode()).hexdigest()


def _files(inventory: Path, *, with_variables: bool) -> Iterator[Path]:
    if not inventory.is_dir():
        yield inventory
    for folder, within, names in os.walk(inventory):
        if not with_variables:
            within[:] = [name for name in within if not is_variable_file(f"{name}/file")]
        # A folder behind a link is not walked into; whoever asks finds it, and looks no further.
        yield from (Path(folder) / name for name in within if (Path(folder) / name).is_symlink())
        yield from (Path(folder) / name for name in names)


def _has_vaulted_file(inventory: Path) -> bool:
    marks = ((str(file), 0, 0, file.stat().st_mtime_ns) for file in _files(inventory, with_variables=True))
    return any(_looked_at(mark)[1] for mark in marks)


@lru_cache(maxsize=1 << 15)
def _looked_at(mark: _Mark) -> tuple[bool, bool]:
    """Tell whether a file configures a plugin, and whether it is vaulted as a whole; both, where nobody can tell."""
    try:
        content = Path(mark[0]).read_bytes()
    except OSError:
        return True, True
    return _PLUGIN.search(content) is not None, content.startswith(_VAULTED)
