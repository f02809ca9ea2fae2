"""What is asked wrongly: one clear message, the documented exit code, no traceback, and nothing half done."""

from __future__ import annotations

import fcntl
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.domain.change import ChangeState
from tests.acceptance.site import Site, whole


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Give a site with one change that is requested, and hosts that nobody will reach."""
    site = Site.found(tmp_path_factory.mktemp("plain"))
    nowhere = {"ansible_host": "192.0.2.1", "ansible_user": "root"}
    site.say_hosts("staging", {"s1": nowhere}, {})
    site.say_hosts("production", {"w1": nowhere, "w2": nowhere}, {})
    site.submit({})
    return site


@dataclass(frozen=True)
class Wrong:
    """A request that cannot be used, and what has to be said of it."""

    text: str
    code: int
    said: tuple[str, ...]


GOOD = "template: acceptance\nparameters:\n  production: web\n  window_start: now\n"
REQUESTS = {
    "unknown template": Wrong("template: acceptence\n", 2, ("acceptence", "acceptance")),
    "wrong YAML": Wrong("template: acceptance\nparameters: [web\n", 2, ("request.yml:3:1", "not YAML")),
    "unknown parameter": Wrong(GOOD + "  cannary: 1\n", 2, ("request.yml:5:3", "cannary", "did you mean 'canary'")),
    "no template": Wrong("parameters: {}\n", 2, ("template",)),
    "empty file": Wrong("", 2, ("request.yml",)),
    "unknown zone": Wrong(GOOD + "  zone: Europe/Berln\n", 2, ("request.yml:5", "Europe/Berln", "Europe/Berlin")),
    "two mistakes": Wrong(GOOD + "  canary: many\n  soak: 5\n", 2, ("request.yml:5", "request.yml:6")),
    "window in the past": Wrong(
        "template: acceptance\nparameters:\n  production: web\n  window_start: 2020-01-01T22:00\n", 4, ("2020-01-02",)
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_that_cannot_be_used_is_told_and_enters_nothing(site: Site, tmp_path: Path, name: str) -> None:
    wrong, before = REQUESTS[name], stands(site)
    file = tmp_path / "request.yml"
    file.write_text(wrong.text)
    refused = site.give("change", "submit", str(file), "--key", str(site.keys / "rae"), code=wrong.code)
    for text in wrong.said:
        assert text in refused.err, refused.err
    assert stands(site) == before


def test_a_request_that_is_not_there_is_told(site: Site, tmp_path: Path) -> None:
    refused = site.give("change", "submit", str(tmp_path / "none.yml"), "--key", str(site.keys / "rae"), code=None)
    assert refused.code in (2, 3)
    assert "none.yml" in refused.err


def test_a_key_that_is_nobodys_signs_no_request(site: Site, tmp_path: Path) -> None:
    before = stands(site)
    file = site.write("again.yml", whole({"title": "Another"}))
    refused = site.give("change", "submit", str(file), "--key", str(site.keys / "stranger"), code=5)
    assert "belongs to nobody in people.yml" in refused.err
    assert stands(site) == before


def test_the_same_source_twice_is_the_same_change(site: Site) -> None:
    before = stands(site)
    assert site.submit({}) == "CHG-0001"
    assert stands(site) == before


@pytest.mark.parametrize("words", [("show",), ("plan",), ("stage", "--yes"), ("start", "--yes"), ("watch",)])
def test_an_unknown_change_is_told(site: Site, words: tuple[str, ...]) -> None:
    refused = site.give("change", words[0], "CHG-9999", *words[1:], code=3)
    assert "there is no change CHG-9999" in refused.err
    assert "orchestrator change list" in refused.err


@pytest.mark.parametrize(
    ("pattern", "said"), [("databases", "databases"), ("web:!w1:!w2", "matches no host"), ("w1:nobody", "nobody")]
)
def test_hosts_that_are_not_there_stop_staging_before_it_begins(site: Site, pattern: str, said: str) -> None:
    change = site.submit({"production": pattern})
    before = stands(site)
    refused = site.give("change", "stage", change, "--yes", code=2)
    assert said in refused.err
    assert stands(site) == before
    assert site.is_in(change, ChangeState.REQUESTED)


def test_what_is_out_of_turn_is_refused_with_what_is_possible(site: Site) -> None:
    before = stands(site)
    for verb in ("schedule", "start", "resume", "close"):
        refused = site.give("change", verb, "CHG-0001", "--yes", code=4)
        assert "Possible from here: cancelled, staging-started, waived" in refused.err
    approve = ("change", "approve", "CHG-0001", "--reason", "Yes.", "--plan", "0" * 12)
    assert "cannot happen now" in site.give(*approve, "--key", str(site.keys / "cora"), code=4).err
    assert "has no plan yet" in site.give("change", "plan", "CHG-0001", code=4).err
    assert stands(site) == before


def test_without_the_word_yes_nothing_is_done(site: Site) -> None:
    before = stands(site)
    told = site.give("change", "cancel", "CHG-0001", "--reason", "Perhaps.")
    assert "Nothing was done" in told.out
    assert stands(site) == before


def test_an_account_that_is_nobody_may_look_and_not_act(site: Site, tmp_path: Path) -> None:
    other = site.copy(tmp_path)
    people = (other.folder / "people.yml").read_text()
    (other.folder / "people.yml").write_text(people.partition("- name: olga")[0])
    before = stands(other)
    assert "CHG-0001" in other.give("change", "list").out
    refused = other.give("change", "cancel", "CHG-0001", "--reason", "Mine.", "--yes", code=5)
    assert "is nobody in people.yml: it may look, and not act" in refused.err
    assert stands(other) == before


def test_a_change_has_one_carrier(site: Site) -> None:
    before = stands(site)
    lock = site.state / "carriers" / "CHG-0001.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("a") as carrier:
        fcntl.flock(carrier, fcntl.LOCK_EX)
        refused = site.give("change", "stage", "CHG-0001", "--yes", code=4)
        assert "is being carried by another process" in refused.err
    assert stands(site) == before


def test_there_has_to_be_a_site(tmp_path: Path, site: Site) -> None:
    refused = site.give("change", "list", at=tmp_path, code=None)
    assert refused.code in (2, 3)
    assert str(tmp_path) in refused.err


def test_a_state_that_cannot_be_read_is_told(site: Site, tmp_path: Path) -> None:
    other = site.copy(tmp_path)
    for file in other.state.glob("orchestrator.db*"):
        file.unlink()
    (other.state / "orchestrator.db").write_bytes(b"This was a database once.\n" * 100)
    refused = other.give("change", "list", code=7)
    assert "orchestrator.db" in refused.err


def test_a_word_that_is_none_is_told(site: Site) -> None:
    assert "No such command" in site.give("change", "aprove", "CHG-0001", code=2).err
    assert "No such option" in site.give("change", "list", "--stat", code=2).err
    assert "there is no state 'runing'" in site.give("change", "list", "--state", "runing", code=3).err


def test_programs_are_told_in_json(site: Site) -> None:
    answer = site.json("change", "show", "CHG-9999", code=3)
    assert answer["exit_code"] == 3
    assert "there is no change CHG-9999" in answer["error"]


def stands(site: Site) -> list[tuple[object, ...]]:
    """Return everything that a command could have left half done: changes, audit events and outbox rows."""
    with sqlite3.connect(f"file:{site.state / 'orchestrator.db'}?mode=ro", uri=True) as database:
        rows = [
            row
            for query in (
                "SELECT id, version, state, document FROM change ORDER BY id",
                "SELECT chain, seq, hash FROM audit_event WHERE chain != 'site' ORDER BY chain, seq",
                "SELECT chain, seq FROM outbox WHERE chain != 'site' ORDER BY id",
            )
            for row in database.execute(query)
        ]
    database.close()
    return rows
