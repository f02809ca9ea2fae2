"""Which ansible-core and which collections would run here."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from orchestrator.adapters.ansible.defaults import read_config, search_path
from orchestrator.errors import Unavailable


def versions(site: Path) -> dict[str, str]:
    """Return the versions of ansible-core, of the package ``ansible`` and of each collection that Ansible would find.

    Raises Unavailable where ansible-core is not installed.
    """
    found = {name: _installed(name) for name in ("ansible-core", "ansible")}
    if not found["ansible-core"]:
        raise Unavailable(f"ansible-core is not installed for {sys.executable}. Install it: pip install ansible-core")
    for folder in _collections(site):
        # The first on the path is the one that Ansible takes.
        found.setdefault(f"{folder.parent.name}.{folder.name}", _collection(folder))
    return {name: text for name, text in sorted(found.items()) if text}


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _collections(site: Path) -> Iterator[Path]:
    for place in _places(site):
        root = place if place.name == "ansible_collections" else place / "ansible_collections"
        for folder in sorted(root.glob("*/*/")):
            if (folder / "MANIFEST.json").exists() or (folder / "galaxy.yml").exists():
                yield folder


def _places(site: Path) -> Iterator[Path]:
    config = read_config(site / "ansible.cfg")
    yield site / "playbooks" / "collections"
    said = [*search_path(config, site, "collections_path"), *search_path(config, site, "collections_paths")]
    yield from said or (Path("~/.ansible/collections").expanduser(), Path("/usr/share/ansible/collections"))
    yield from (Path(entry) for entry in sys.path if entry)


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
