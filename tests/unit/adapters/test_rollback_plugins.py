"""Plugins are found by entry point, and one that cannot be used says why."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from orchestrator.errors import InvalidInput, NotFound, Unavailable
from orchestrator.plugins import Registry

MODULE = """
class Good:
    def __init__(self, name, options):
        self.name, self.options = name, dict(options)

class NeedsATool(Good):
    @staticmethod
    def unusable_because():
        return "the program virsh is not installed"

def breaks(name, options):
    raise ValueError("no such pool")

def picky(name, options):
    from orchestrator.errors import InvalidInput
    raise InvalidInput("pool: is missing")
"""
ENTRIES = """[orchestrator.tests]
good = {0}:Good
tool = {0}:NeedsATool
breaks = {0}:breaks
picky = {0}:picky
missing = {0}_not_there:Good
"""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    install(tmp_path, "one_plugin")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("one_plugin", "two_plugin"):
        sys.modules.pop(name, None)


def install(folder: Path, name: str) -> None:
    (folder / f"{name}.py").write_text(MODULE)
    about = folder / f"{name}-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (about / "entry_points.txt").write_text(ENTRIES.format(name))


def registry() -> Registry[object]:
    return Registry[object]("orchestrator.tests")


def test_plugin_is_made_with_its_settings() -> None:
    made = registry().create("good", "lab", {"pool": "ssd"})
    assert vars(made) == {"name": "lab", "options": {"pool": "ssd"}}


def test_every_plugin_is_listed_with_what_keeps_it_from_working() -> None:
    problems: Mapping[str, str] = {plugin.name: plugin.problem for plugin in registry().plugins()}
    assert sorted(problems) == ["breaks", "good", "missing", "picky", "tool"]
    assert problems["good"] == ""
    assert "the program virsh is not installed" in problems["tool"]
    assert "cannot be loaded: ModuleNotFoundError" in problems["missing"]
    assert {(plugin.distribution, plugin.version) for plugin in registry().plugins()} == {("one_plugin", "1.2")}


def test_unknown_plugin_is_told_with_those_that_are_known() -> None:
    with pytest.raises(NotFound, match="installed are: breaks, good, missing"):
        registry().create("none", "lab", {})


@pytest.mark.parametrize("name", ["tool", "missing", "breaks"])
def test_plugin_that_cannot_be_used_is_unavailable(name: str) -> None:
    with pytest.raises(Unavailable, match=name):
        registry().create(name, "lab", {})


def test_wrong_settings_are_told_as_such() -> None:
    with pytest.raises(InvalidInput, match="pool: is missing"):
        registry().create("picky", "lab", {})


def test_two_plugins_of_one_name_are_refused(tmp_path: Path) -> None:
    install(tmp_path, "two_plugin")
    with pytest.raises(Unavailable, match="one_plugin, two_plugin"):
        registry().create("good", "lab", {})
