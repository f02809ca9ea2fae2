"""What Ansible runs: the site's files as they are now, and read-only copies of what was approved."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.adapters.ansible.authors import authors
from orchestrator.adapters.ansible.site_files import SiteFiles, is_variable_file, site_files
from orchestrator.adapters.ansible.versions import versions
from orchestrator.domain.canonical import canonical
from orchestrator.domain.plan import Content, ContentFile
from orchestrator.errors import OrchestratorError, Refused

_LIST = ".content.json"
_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteContent:
    """Implements ``ports.ContentKeeper``: ``site`` is what people edit, ``state`` keeps the frozen copies.

    ``installations`` are the virtual environments that some hosts need instead of the controller's own Ansible.
    """

    site: Path
    state: Path
    site_key: bytes = field(repr=False)
    installations: Mapping[str, Path] = field(default_factory=dict)

    def read(self) -> Content:
        """Return the site's content as it is now. Raises Refused where a path leads out of the site."""
        files = site_files(self.site).content
        return Content(files=self._digests(files), versions=self._versions(), authors=authors(self.site, files))

    def root(self, digest: str) -> Path:
        """Return the folder of the frozen copy: ansible.cfg, playbooks and all else as in the site."""
        return self.state / "content" / digest

    def freeze(self, content: Content) -> None:
        """Keep a read-only copy under ``content.digest``, with the hosts files as they are now.

        Raises Refused where the files changed meanwhile. Where the copy exists, only its hosts files are brought up
        to date: they are no content, and a later change with the same content has to find its hosts.
        """
        files = site_files(self.site)
        found = Content(files=self._digests(files.content), versions=self._versions())
        _refuse(_differences(content, found))
        root = self.root(content.digest)
        with _alone(root.parent):
            if self.frozen_is_whole(content.digest):
                self._replace(root, content, files)
            else:
                _refresh(root, files.hosts)

    def frozen_is_whole(self, digest: str) -> str:
        """Return what differs in the frozen copy from its digest, or an empty text."""
        root = self.root(digest)
        if not root.is_dir():
            return f"there is no frozen copy of the content {digest[:12]}"
        try:
            listed = _listed(root)
            found = Content(files=self._digests(site_files(root).content), versions=listed.versions)
        except (OrchestratorError, OSError, ValueError, KeyError, TypeError) as error:
            return f"the frozen copy {digest[:12]} cannot be read: {error}"
        if listed.digest != digest:
            return f"the list of files of the frozen copy {digest[:12]} was changed"
        return _told(_differences(listed, found))

    def _versions(self) -> dict[str, str]:
        return versions(self.site, self.installations)

    def _digests(self, files: Mapping[str, Path]) -> tuple[ContentFile, ...]:
        return tuple(
            ContentFile(path=path, sha256=self._digest(path, file.read_bytes())) for path, file in sorted(files.items())
        )

    def _digest(self, path: str, content: bytes) -> str:
        if is_variable_file(path):
            return hmac.digest(self.site_key, content, "sha256").hex()
        return hashlib.sha256(content).hexdigest()

    def _replace(self, root: Path, content: Content, files: SiteFiles) -> None:
        with tempfile.TemporaryDirectory(prefix=".freezing-", dir=root.parent) as folder:
            fresh, broken = Path(folder) / "fresh", Path(folder) / "broken"
            self._copy(fresh, content, files)
            if root.exists():
                # Not whole: whatever it is, nobody may run from it.
                _unlock(root)
                root.rename(broken)
            fresh.rename(root)
            root.chmod(0o555)

    def _copy(self, fresh: Path, content: Content, files: SiteFiles) -> None:
        expected = {file.path: file.sha256 for file in content.files}
        for path, file in files.content.items():
            copied = _put(fresh / path, file)
            if self._digest(path, copied) != expected[path]:
                raise _changed([f"{path} changed"])
        for path, file in files.hosts.items():
            _put(fresh / path, file)
        (fresh / _LIST).write_bytes(canonical({"files": content.files, "versions": content.versions}))
        _lock(fresh)
        # To be moved, a folder has to be writable for whoever is not root (rename(2), EACCES).
        fresh.chmod(0o755)


def remove_frozen(root: Path) -> None:
    """Remove a frozen copy that nobody needs any more."""
    with _alone(root.parent), tempfile.TemporaryDirectory(prefix=".freezing-", dir=root.parent) as folder:
        _unlock(root)
        # Out of its place first: what is half removed must not be taken for a frozen copy.
        gone = root.rename(Path(folder) / "gone")
        shutil.rmtree(gone)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others from freezing at the same time."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _listed(root: Path) -> Content:
    said = json.loads((root / _LIST).read_bytes())
    files = tuple(ContentFile(path=str(file["path"]), sha256=str(file["sha256"])) for file in said["files"])
    return Content(files=files, versions={str(name): str(text) for name, text in said["versions"].items()})


def _put(target: Path, source: Path) -> bytes:
    content = source.read_bytes()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    target.chmod(0o555 if source.stat().st_mode & stat.S_IXUSR else 0o444)
    return content


def _refresh(root: Path, hosts: Mapping[str, Path]) -> None:
    kept = site_files(root).hosts
    stale = [path for path, file in hosts.items() if path not in kept or kept[path].read_bytes() != file.read_bytes()]
    gone = [path for path in kept if path not in hosts]
    for path in stale:
        with _writable(root, (root / path).parent):
            draft = (root / path).with_name(f".{Path(path).name}.tmp")
            _put(draft, hosts[path])
            draft.rename(root / path)
    for path in gone:
        with _writable(root, (root / path).parent):
            (root / path).unlink()


@contextmanager
def _writable(root: Path, folder: Path) -> Iterator[None]:
    """Open the folders from the root down to this one for writing, and close them again."""
    above = [root, *(root / part for part in reversed(folder.relative_to(root).parents)), folder]
    try:
        for place in above:
            place.mkdir(exist_ok=True)
            place.chmod(0o755)
        yield
    finally:
        for place in above:
            place.chmod(0o555)


def _lock(root: Path) -> None:
    (root / _LIST).chmod(0o444)
    for folder, _, _ in os.walk(root):
        Path(folder).chmod(0o555)


def _unlock(root: Path) -> None:
    for folder, _, _ in os.walk(root):
        Path(folder).chmod(0o755)


def _differences(before: Content, now: Content) -> list[str]:
    old, new = ({file.path: file.sha256 for file in content.files} for content in (before, now))
    told = [_difference(path, old.get(path), new.get(path)) for path in sorted({*old, *new})]
    names = sorted({*before.versions, *now.versions})
    told += [_version(name, before.versions.get(name), now.versions.get(name)) for name in names]
    return [text for text in told if text]


def _difference(path: str, old: str | None, new: str | None) -> str:
    if old == new:
        return ""
    return f"{path} is new" if old is None else f"{path} is gone" if new is None else f"{path} changed"


def _version(name: str, old: str | None, new: str | None) -> str:
    return "" if old == new else f"{name} is {new or 'gone'}, was {old or 'absent'}"


def _told(differences: Iterable[str]) -> str:
    told = list(differences)
    more = f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    return "; ".join(told[:_SHOWN]) + more


def _refuse(differences: list[str]) -> None:
    if any(differences):
        raise _changed(differences)


def _changed(differences: list[str]) -> Refused:
    return Refused(f"what Ansible would run is not what the plan was made from: {_told(differences)}. Stage it again.")
