"""Who may begin a step on a host: the journal's fencing rules."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plugins.rpm_support import load

journal_module = load("journal")
Refused = load("errors").Refused


def token(counter: int = 1, installation: str = "ours", seen: int = 0) -> Any:
    return journal_module.Token(installation, counter, seen)


class Clock:
    def __call__(self) -> float:
        return 1764633600.5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "host"


def journal(folder: Path) -> Any:
    """Stand for a new process: another one's lock is not ours."""
    return journal_module.Journal(str(folder), clock=Clock())


def step(folder: Path, name: str, who: Any, change: str = "CHG-1", *, ends: bool = True) -> None:
    acting = journal(folder)
    acting.begin(who, change, name)
    if ends:
        acting.end(who, change, name, "ok")
    acting.let_go()  # its process ends


def adopt(folder: Path, who: Any) -> list[str]:
    acting = journal(folder)
    taken: list[str] = acting.adopt(who, "adopt", "their controller is gone")
    acting.let_go()
    return taken


def test_host_is_not_adopted_while_the_other_one_acts(folder: Path) -> None:
    acting = journal(folder)
    acting.begin(token(5, "theirs"), "CHG-9", "protect")
    with pytest.raises(Refused, match="still at work"):
        journal(folder).adopt(token(1), "adopt", "too early")


def test_host_tells_whether_a_step_is_at_work(folder: Path) -> None:
    assert not journal(folder).is_at_work()
    assert not folder.exists(), "looking leaves nothing behind"
    acting = journal(folder)
    acting.begin(token(1), "CHG-1", "protect")
    assert journal(folder).is_at_work()
    assert not acting.is_at_work(), "whoever reports of its own step is not waited for"
    acting.let_go()  # its process ends without a word
    assert not journal(folder).is_at_work()


def test_protect_claims_the_host_and_writes_both_ends(folder: Path) -> None:
    step(folder, "protect", token(7))
    records = journal(folder).records()
    assert [(r["event"], r["outcome"]) for r in records] == [("begin", ""), ("end", "ok")]
    assert records[0] == {
        "at": 1764633600, "change": "CHG-1", "step": "protect", "installation": "ours", "counter": 7,
        "event": "begin", "outcome": "", "detail": "",
    }  # fmt: skip
    assert journal(folder).claim()["change"] == "CHG-1"


def test_older_token_is_refused_and_leaves_no_record(folder: Path) -> None:
    step(folder, "protect", token(9))
    with pytest.raises(Refused, match="older than 9") as refused:
        journal(folder).begin(token(8), "CHG-1", "patch")
    assert refused.value.report["claim"]["counter"] == 9
    assert len(journal(folder).records()) == 2


def test_patch_needs_the_claim_of_its_own_change(folder: Path) -> None:
    with pytest.raises(Refused, match=r"protect\.yml"):
        journal(folder).begin(token(), "CHG-1", "patch")
    step(folder, "protect", token(1))
    step(folder, "patch", token(1))
    with pytest.raises(Refused, match=r"protect\.yml"):
        journal(folder).begin(token(2), "CHG-2", "patch")


def test_foreign_claim_is_refused_until_adopted(folder: Path) -> None:
    step(folder, "protect", token(5, "theirs"), "CHG-9")
    with pytest.raises(Refused, match="host adopt"):
        journal(folder).begin(token(1), "CHG-1", "protect")
    assert adopt(folder, token(1)) == ["CHG-9"]
    step(folder, "protect", token(2))
    assert journal(folder).claim()["installation"] == "ours"


def test_foreign_open_step_is_refused_even_without_a_claim(folder: Path) -> None:
    step(folder, "release", token(5, "theirs"), "CHG-9", ends=False)
    with pytest.raises(Refused, match="host adopt"):
        journal(folder).begin(token(1), "CHG-1", "protect")


def test_installation_whose_change_was_adopted_is_refused(folder: Path) -> None:
    step(folder, "protect", token(5, "theirs"), "CHG-9")
    adopt(folder, token(1))
    journal(folder).release_claim("CHG-9")
    with pytest.raises(Refused, match="adopted this change"):
        journal(folder).begin(token(6, "theirs"), "CHG-9", "restore")


def test_adopting_where_nothing_stands_changes_nothing(folder: Path) -> None:
    step(folder, "protect", token(1))
    assert adopt(folder, token(2)) == []
    assert len(journal(folder).records()) == 2


def test_journal_shorter_than_seen_is_refused(folder: Path) -> None:
    step(folder, "protect", token(1))
    with pytest.raises(Refused, match="taken back"):
        journal(folder).begin(token(1, seen=4), "CHG-1", "patch")


def test_step_is_refused_while_another_process_acts_and_goes_on_after_it_died(folder: Path) -> None:
    step(folder, "protect", token(1))
    acting = journal(folder)
    acting.begin(token(1), "CHG-1", "patch")
    with pytest.raises(Refused, match="still at work"):
        journal(folder).begin(token(2), "CHG-1", "restore")
    acting.let_go()
    step(folder, "patch", token(1), ends=False)
    assert journal(folder).records()[-1]["detail"] == "begins again after an interruption"


def test_torn_line_is_no_record_and_spoils_no_other(folder: Path) -> None:
    step(folder, "protect", token(1))
    with (folder / "journal.jsonl").open("a") as file:
        file.write('{"at": 17, "chan')
    step(folder, "patch", token(1))
    assert [r["step"] for r in journal(folder).records()] == ["protect", "protect", "patch", "patch"]
    lines = (folder / "journal.jsonl").read_text().splitlines()
    assert len(lines) == 5
    assert json.loads(lines[-1])["event"] == "end"


def test_older_change_of_ours_may_be_followed_by_a_newer_one(folder: Path) -> None:
    step(folder, "protect", token(1), "CHG-1")
    step(folder, "protect", token(2), "CHG-2")
    assert journal(folder).claim()["change"] == "CHG-2"
    assert journal(folder).release_claim("CHG-1") is False


def test_released_change_leaves_no_step_open(folder: Path) -> None:
    step(folder, "protect", token(1, "theirs"), ends=False)
    journal(folder).note(token(1, "theirs"), "CHG-1", "release", "released")
    journal(folder).release_claim("CHG-1")
    step(folder, "protect", token(1))
