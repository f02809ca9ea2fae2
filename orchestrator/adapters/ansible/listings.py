"""What Ansible answered about an inventory, kept for the next command that asks the same of the same files."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

#: So many answers are kept; of the others the oldest go.
KEPT = 64
#: An inventory plugin's configuration names the plugin; what it answers can differ each time.
_PLUGIN = re.compile(rb"^\s*plugin\s*:", re.MULTILINE)
_VAULTED = b"$ANSIBLE_VAULT;"


@dataclass(frozen=True, slots=True)
class Contents:
    """What the files of an inventory hold: the same ``digest`` means the same answer.

    ``open`` says that the answer may lie on a disk: Ansible opens a file that is vaulted as a whole, and answers what
    is in it; single values that are vaulted stay so.
    """

    digest: str
    open: bool


def contents_of(folder: Path, inventory: Path, program: Path) -> Contents | None:
    """Return what decides what ``program`` answers.

    None where that is more than files: executable ones, plugins, links that lead to other folders; or where it cannot
    be read: Ansible says then why.
    """
    digest, is_open = hashlib.sha256(), True
    try:
        # Of the program it is enough to know whether it was installed anew.
        digest.update(f"{program}\0{program.stat().st_mtime_ns}\0".encode())
        for file in (folder / "ansible.cfg", inventory, *sorted(inventory.rglob("*"))):
            if file.is_dir():
                if file.is_symlink():
                    return None
                continue
            content = file.read_bytes()
            if file.stat().st_mode & 0o111 or _PLUGIN.search(content):
                return None
            is_open = is_open and not content.startswith(_VAULTED)
            digest.update(f"{file}\0{len(content)}\0".encode() + content)
    except OSError:
        return None
    return Contents(digest.hexdigest(), is_open)


@dataclass(frozen=True, slots=True)
class Listings:
    """Answers of ``ansible-inventory``, in files that only this account can read. Losing them costs time alone."""

    folder: Path

    def find(self, pattern: str, contents: Contents) -> str | None:
        """Return the answer that was kept, if there is one that can be read."""
        file = self._file(pattern, contents)
        try:
            answer = gzip.decompress(file.read_bytes()).decode()
            os.utime(file)
        except (OSError, EOFError, ValueError):  # None, or one that a full disk has cut.
            return None
        return answer

    def keep(self, pattern: str, contents: Contents, answer: str) -> None:
        """Keep an answer, unless it has opened what was vaulted. Where the disk refuses, nothing is kept."""
        if not contents.open:
            return
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=self.folder, prefix="new-")
            with os.fdopen(descriptor, "wb") as file:
                file.write(gzip.compress(answer.encode(), compresslevel=1))
            Path(temporary).replace(self._file(pattern, contents))
            self._forget_the_oldest()
        except OSError:
            return

    def _forget_the_oldest(self) -> None:
        files = sorted(self.folder.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True)
        for file in files[KEPT:]:
            file.unlink(missing_ok=True)

    def _file(self, pattern: str, contents: Contents) -> Path:
        return self.folder / hashlib.sha256(f"{contents.digest}\0{pattern}".encode()).hexdigest()
