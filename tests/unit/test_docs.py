"""The documentation is what the code says, and leads where it says."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from orchestrator.domain.change import ChangeState
from orchestrator.domain.lifecycle import MOVES
from orchestrator.settings import load_settings

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "lab").glob("*.md")])

_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize(
    ("script", "page"),
    [("draw-states", "states.md"), ("draw-commands", "commands.md"), ("draw-windows-faults", "windows-faults.md")],
)
def test_the_committed_page_is_what_its_script_writes(script: str, page: str) -> None:
    said = f"docs/{page} is out of date: .venv/bin/python script/{script}"
    assert (ROOT / "docs" / page).read_text() == _written_by(script), said


def test_every_move_of_the_table_is_in_the_diagram() -> None:
    drawn = _FENCED.findall((ROOT / "docs" / "states.md").read_text())[0]
    for state, moves in MOVES.items():
        for event, target in moves.items():
            arrow = f"{_node(state)} --> {_node(target)}: "
            assert any(
                event in line.removeprefix(arrow).split(", ") for line in _lines(drawn) if line.startswith(arrow)
            )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert [link for link in _links(page) if not _leads_somewhere(page, link)] == []


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.suffix == ".md" and page.is_file():
            reached.add(page)
            waiting += [(page.parent / link.partition("#")[0]).resolve() for link in _links(page)]
    assert sorted(p.name for p in (ROOT / "docs").glob("*.md") if p not in reached) == []


def test_the_settings_page_shows_settings_that_can_be_read(tmp_path: Path) -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        text = block if "[site]" in block else f'[site]\nname = "example"\n\n{block}'
        (tmp_path / "orchestrator.toml").write_text(text)
        assert load_settings(tmp_path, environ={"HOME": "/nonexistent"}).name == "example"


def _written_by(script: str) -> str:
    page = cast(Callable[[], str], runpy.run_path(str(ROOT / "script" / script))["page"])
    return page()


def _links(page: Path) -> Iterator[str]:
    text = _FENCED.sub("", page.read_text())
    return (link for link in _LINK.findall(text) if "://" not in link and not link.startswith("mailto:"))


def _leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return target.exists() and (not anchor or anchor in _anchors(target))


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines()]


def _node(state: ChangeState) -> str:
    return state.replace("-", "_")
