"""Which ansible-core and which collections would run here."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from orchestrator.adapters.ansible.defaults import read_config, search_path
from orchestrator.adapters.ansible.installations import installed
from orchestrator.domain.plan import NOT_INSTALLED
from orchestrator.errors import Unavailable


def versions(site: Path, installations: Mapping[str, Path] | None = None) -> dict[str, str]:
    """Return the versions of ansible-core, of the package ``ansible`` and of each collection that Ansible would find.

    Those of the other installations are told under ``INSTALLATION/NAME``; one that cannot be used is told as not
    installed, so that it stops the changes that need it and no others. Raises Unavailable where the controller's own
    ansible-core is not installed.
    """
    found = _own(site)
    for name, environment in (installations or {}).items():
        found |= {f"{name}/{what}": text for what, text in versions_in(environment, site).items()}
    return dict(sorted(found.items()))


def versions_in(environment: Path, site: Path) -> dict[str, str]:
    """Return the versions in another installation, as runs of this site would find them."""
    try:
        there = installed(environment)
    except Unavailable:
        return {"ansible-core": NOT_INSTALLED}
    found = {"ansible-core": NOT_INSTALLED, **there.versions}
    return _with_collections(found, site, there.search)


def _own(site: Path) -> dict[str, str]:
    found = {name: _installed(name) for name in ("ansible-core", "ansible")}
    if not found["ansible-core"]:
        raise Unavailable(f"ansible-core is not installed for {sys.executable}. Install it: pip install ansible-core")
    return _with_collections({name: text for name, text in found.items() if text}, site, sys.path)


def _with_collections(found: dict[str, str], site: Path, search: Sequence[str]) -> dict[str, str]:
    for folder in _collections(site, search):
        # The first on the path is the one that Ansible takes.
        found.setdefault(f"{folder.parent.name}.{folder.name}", _collection(folder))
    return found


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _collections(site: Path, search: Sequence[str]) -> Iterator[Path]:
    for place in _places(site, search):
        root = place if place.name == "ansible_collections" else place / "ansible_collections"
        for folder in sorted(root.glob("*/*/")):
            if (folder / "MANIFEST.json").exists() or (folder / "galaxy.yml").exists():
                yield folder


def _places(site: Path, search: Sequence[str]) -> Iterator[Path]:
    config = read_config(site / "ansible.cfg")
    yield site / "playbooks" / "collections"
    said = [*search_path(config, site, "collections_path"), *search_path(config, site, "collections_paths")]
    yield from said or (Path("~/.ansible/collections").expanduser(), Path("/usr/share/ansible/collections"))
    yield from (Path(entry) for entry in search if entry)


def _collection(folder: Path) -> str:
    try:
        manifest = json.loads((folder / "MANIFEST.json").read_bytes())
        return str(manifest["collection_info"]["version"])
    except FileNotFoundError:
        # A working copy has no version that says what is in it.
        return f"files {_digest(folder)}"
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"the collection in {folder} is damaged: {error!r}. Install it again.") from error


def _digest(folder: Path) -> str:
    found = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not {".git", "__pycache__"} & set(file.parts):
            found.update(f"{file.relative_to(folder)}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()
