"""What `orchestrator doctor` says of settings that do not do what somebody may think."""

from __future__ import annotations

from pathlib import Path

from orchestrator.cli.doctoring import examine
from orchestrator.founding import make_site
from orchestrator.wiring import Site
from tests.fakes.values import EVENING


def about(folder: Path, what: str) -> list[tuple[bool, str]]:
    return [(found.ok, found.seen) for found in examine(Site(folder)) if found.what == what]


def test_notifiers_that_nobody_serves_are_named(tmp_path: Path) -> None:
    make_site(tmp_path / "site", tmp_path / "state", at=EVENING)
    assert about(tmp_path / "site", "notify") == []
    settings = tmp_path / "site" / "orchestrator.toml"
    settings.write_text(settings.read_text() + '\n[notify.chat]\nkind = "apprise"\nevents = ["*"]\n')
    assert about(tmp_path / "site", "notify") == [(False, "chat in orchestrator.toml; this release tells nobody")]
