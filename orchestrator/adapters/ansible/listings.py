"""What Ansible answered about an inventory, kept for the next command that asks the same of the same files."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from orchestrator.adapters.ansible.site_files import is_variable_file

#: So many answers are kept, most under two names; of the others the oldest go.
KEPT = 128
#: A file that was written so many seconds ago may be written again without looking any different.
SETTLED = 2.0
#: An inventory plugin's configuration names the plugin, and ansible.cfg those for variables; their answers can differ.
_PLUGIN = re.compile(rb"^\s*(plugin\s*:|vars_plugins)", re.MULTILINE)
_VAULTED = b"$ANSIBLE_VAULT;"
#: Path, inode, size and time of change of a file.
_Mark = tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class Stamp:
    """What changes whenever a file of an inventory does. ``newest`` is when the last one was written (Unix time)."""

    digest: str
    newest: float
    marks: tuple[_Mark, ...]

    @property
    def is_settled(self) -> bool:
        """Tell whether the files cannot have become others that look the same."""
        return time.time() - self.newest >= SETTLED

    def says_who_is_there(self) -> bool:
        """Tell whether the files alone decide: none of them configures a plugin."""
        return not any(_has_plugin(mark) for mark in self.marks[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What an inventory is read from: its files, those of variables beside it, ``ansible.cfg``, and who reads them.

    Of frozen content only the files that list hosts are ever replaced: those with variables need no look.
    """

    folder: Path
    inventory: Path
    program: Path
    is_frozen: bool = False

    def stamp(self) -> Stamp | None:
        """Return the stamp of the files.

        None where files do not say it all: one of them is a program, a link leads to another folder, or one is missing.
        """
        marks = []
        try:
            for file in (self.program, *self._files(with_variables=not self.is_frozen)):
                if file.is_dir():
                    return None
                status = file.stat()
                if status.st_mode & 0o111 and file != self.program:
                    return None
                marks.append((str(file), status.st_ino, status.st_size, status.st_mtime_ns))
        except OSError:
            return None
        newest = max(mark[3] for mark in marks) / 1e9
        return Stamp(hashlib.sha256(repr(marks).encode()).hexdigest(), newest, tuple(marks))

    def content(self) -> str:
        """Return a digest of all that the files say; of the same files in another folder it is the same.

        Empty where the answer is not to be kept. Ansible opens a file that is vaulted as a whole, and answers what is
        in it; single values that are vaulted stay so.
        """
        try:
            program = self.program.stat()
            found = hashlib.sha256(f"{self.program} {program.st_ino} {program.st_size} {program.st_mtime_ns}".encode())
            for file in self._files(with_variables=True):
                content = file.read_bytes()
                if _PLUGIN.search(content) or content.startswith(_VAULTED):
                    return ""
                found.update(f"\0{file.relative_to(self.folder)}\0{len(content)}\0".encode() + content)
        except OSError:
            return ""
        return found.hexdigest()

    def _files(self, *, with_variables: bool) -> Sequence[Path]:
        return (self.folder / "ansible.cfg", *sorted(_files(self.inventory, with_variables=with_variables)))


@dataclass(frozen=True, slots=True)
class Listings:
    """Answers of ``ansible-inventory``, in files that only this account can read. Losing them costs time alone.

    An answer is kept by what the files say, so that a change whose content was frozen finds that of the site; and by
    their stamp, since looking at files takes less than reading them.
    """

    folder: Path

    def answer(self, pattern: str, source: Source, stamp: Stamp, ask: Callable[[], str]) -> str:
        """Return the answer that was kept for these files; where there is none, ask, and keep what may be kept."""
        seen = self._file(pattern, stamp.digest) if stamp.is_settled else None
        if seen and (kept := _read(seen)) is not None:
            return kept
        content = source.content()
        said = self._file(pattern, content) if content else None
        answer = _read(said) if said else None
        if answer is None:
            answer = ask()
            # Whoever has changed them meanwhile, and changed them back, has left another stamp.
            if said and (source.stamp(), source.content()) == (stamp, content):
                self._keep(said, answer)
        if said and seen and source.stamp() == stamp:
            with suppress(OSError):
                seen.unlink(missing_ok=True)
                seen.hardlink_to(said)
        return answer

    def _keep(self, file: Path, answer: str) -> None:
        """Keep an answer; where the disk refuses, nothing is kept."""
        with suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=self.folder, prefix="new-")
            with os.fdopen(descriptor, "wb") as handle:
                handle.write(gzip.compress(answer.encode(), compresslevel=1))
            Path(temporary).replace(file)
            self._forget_the_oldest()

    def _forget_the_oldest(self) -> None:
        files = sorted(self.folder.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True)
        for file in files[KEPT:]:
            file.unlink(missing_ok=True)

    def _file(self, pattern: str, digest: str) -> Path:
        return self.folder / hashlib.sha256(f"{digest}\0{pattern}".encode()).hexdigest()


def _read(file: Path) -> str | None:
    """Return the answer in a file, if there is one that can be read."""
    try:
        answer = gzip.decompress(file.read_bytes()).decode()
        os.utime(file)
    except (OSError, EOFError, ValueError):  # None, or one that a full disk has cut.
        return None
    return answer


def _files(inventory: Path, *, with_variables: bool) -> Iterator[Path]:
    if not inventory.is_dir():
        yield inventory
    for folder, within, names in os.walk(inventory):
        if not with_variables:
            within[:] = [name for name in within if not is_variable_file(f"{name}/file")]
        # A folder behind a link is not walked into; whoever asks finds it, and looks no further.
        yield from (Path(folder) / name for name in within if (Path(folder) / name).is_symlink())
        yield from (Path(folder) / name for name in names)


@lru_cache(maxsize=1 << 15)
def _has_plugin(mark: _Mark) -> bool:
    """Tell whether a file configures a plugin; also where nobody can tell."""
    try:
        return _PLUGIN.search(Path(mark[0]).read_bytes()) is not None
    except OSError:
        return True
