"""What the installed Ansible collections document: options, return values and the texts of modules."""

import functools
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lab.errors import LabError

COLLECTION = "ansible.windows"


@functools.cache
def folder(collection: str = COLLECTION) -> Path:
    """Return the folder of an installed collection."""
    found = importlib.util.find_spec("ansible_collections")
    for root in found.submodule_search_locations or () if found else ():
        path = Path(root, *collection.split("."))
        if path.is_dir():
            return path
    raise LabError(f"The collection {collection} is not installed: the Python package `ansible` brings it.")


@functools.cache
def options(module: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the documented options of a module of ansible.windows."""
    return _document(module, "DOCUMENTATION").get("options") or {}


@functools.cache
def returns(module: str) -> frozenset[str]:
    """Return the names of the documented return values of a module of ansible.windows."""
    return frozenset(_document(module, "RETURN"))


@functools.cache
def text(module: str) -> str:
    """Return the PowerShell of a module of ansible.windows."""
    path = folder() / "plugins/modules" / f"{module}.ps1"
    return path.read_text(encoding="utf-8-sig")


def has(module: str) -> bool:
    return (folder() / "plugins/modules" / f"{module}.ps1").is_file()


def _document(module: str, part: str) -> dict[str, Any]:
    modules = folder() / "plugins/modules"
    sidecar, source = modules / f"{module}.yml", modules / f"{module}.py"
    if sidecar.is_file():
        loaded = yaml.safe_load(sidecar.read_text()).get(part)
        return dict(loaded or {})
    if not source.is_file():
        raise LabError(f"The installed collection {COLLECTION} documents no module {module}.")
    found = re.search(rf"^{part}\s*=\s*r?('''|\"\"\")(.*?)\1", source.read_text(), re.DOTALL | re.MULTILINE)
    return dict(yaml.safe_load(found.group(2)) or {}) if found else {}
