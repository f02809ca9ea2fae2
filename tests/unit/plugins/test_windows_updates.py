"""Windows updates as items of a lock, and the expressions by which win_updates takes exactly these."""

import json
from typing import Any

import pytest

from tests.unit.plugins.windows_support import IDS, FakeHands, item, job, load, row

updates = load("patch_windows.updates")
judging = load("patch_windows.judging")
PatchError = load("patch_host.errors").PatchError


def read(*rows: dict[str, Any]) -> Any:
    return updates.read_updates(rows)


def test_expression_takes_one_update_and_not_those_that_begin_or_end_like_it() -> None:
    wanted, *others = read(
        row("KB1", title="Update (KB1)"),
        row("KB2", kbs=["KB10"], title="Update (KB1)0"),
        row("KB3", title="An Update (KB1)"),
    )
    (pattern,) = updates.expressions([wanted], [wanted, *others])
    assert pattern == r"^Update \(KB1\)(?:KB1)?$"
    assert updates.accepted([pattern], [wanted, *others]) == {wanted.id}


def test_expression_of_an_update_with_several_kbs_or_none() -> None:
    several, none = read(row("KB1", kbs=["KB1", "KB7"]), row("KB2", kbs=[], title="Driver"))
    assert updates.expressions([several, none], [several, none]) == ["^Driver(?:)?$", r"^Update \(KB1\)(?:KB1 KB7)?$"]


def test_two_updates_of_one_kb_are_told_apart_by_their_titles() -> None:
    both = read(row("KB1", title="For x64 (KB9) [1.0]"), row("KB2", kbs=["KB1"], title="For ARM (KB9)"))
    assert [one.name for one in both] == [f"KB1.{IDS['KB1'][:8]}", f"KB1.{IDS['KB2'][:8]}"]
    patterns = updates.expressions(both[:1], both)
    assert patterns == [r"^For x64 \(KB9\) \[1\.0\](?:KB1)?$"]
    assert updates.accepted(patterns, both) == {both[0].id}


def test_updates_that_nobody_can_tell_apart_are_not_installed() -> None:
    both = read(row("KB1", title="Same"), row("KB2", kbs=["KB1"], title="Same"))
    with pytest.raises(PatchError, match="cannot tell them apart"):
        updates.expressions(both[:1], both)


def test_update_without_a_kb_is_named_by_its_id() -> None:
    (driver,) = read(row("KB1", kbs=[], categories=["Drivers"]))
    assert (driver.name, updates.kb_of(driver.name)) == (IDS["KB1"], "")
    assert updates.classification(driver.categories) == "unknown"
    assert not updates.candidate(driver, "x64", "")["removable"]


@pytest.mark.parametrize(
    ("categories", "kind"),
    [
        (["Windows Server 2022", "Security Updates"], "security"),
        (["Updates", "Critical Updates"], "bugfix"),
        (["Update Rollups"], "bugfix"),
        (["Feature Packs"], "enhancement"),
        ([], "unknown"),
    ],
)
def test_categories_become_a_classification(categories: list[str], kind: str) -> None:
    assert updates.classification(categories) == kind


def test_definitions_are_nobodys_candidates() -> None:
    rows = [row("KB1"), row("KB2", categories=["Definition Updates", "Microsoft Defender Antivirus"])]
    assert [one.name for one in updates.read_updates(rows)] == ["KB1"]
    assert updates.definitions(rows) == {"KB2"}


def test_lock_against_what_is_found() -> None:
    found = read(row("KB1"), row("KB2", installed=True), row("KB3", reboot_required=True))
    work = judging.judge(job(item("KB1"), item("KB2"), item("KB3"), item("KB4")), found)
    assert [one.name for one in work.install] == ["KB1"]
    assert [one.name for one in work.present] == ["KB2", "KB3"], "what waits for its boot is done"
    assert [one.name for one in work.gone] == ["KB4"]
    assert work.problems == []


def test_another_revision_is_another_update() -> None:
    work = judging.judge(job(item("KB1", revision=1)), read(row("KB1", revision=2)))
    assert work.problems == [f"KB1 is offered as {IDS['KB1']}:2, and the lock names {IDS['KB1']}:1"]


def test_excluded_and_hidden_updates_are_refused() -> None:
    work = judging.judge(job(item("KB1"), item("KB2"), exclude=["KB1"]), read(row("KB1"), row("KB2", hidden=True)))
    assert work.problems == ["KB1 is on the exclude list", "KB2 is hidden on this host"]


def test_item_of_another_family_is_no_affair_of_windows() -> None:
    package = {"name": "openssl", "arch": "amd64", "version": "3.0.20-1"}
    work = judging.judge(job(package), read(row("KB1")))
    assert (work.install, work.present, work.gone, work.problems) == ([], [], [], [])


def test_update_that_wants_to_be_alone_goes_first() -> None:
    work = judging.judge(job(item("KB1"), item("KB2")), read(row("KB1"), row("KB2", exclusive=True)))
    assert [one.name for one in work.next] == ["KB2"]


def test_what_came_in_beside_the_lock_is_named_and_what_a_newer_one_hides_is_not() -> None:
    before, after = {"KB1:x64": "a", "KB0:x64": "b"}, {"KB1:x64": "a", "KB2:x64": "c", "KB3:x64": "d"}
    locked = job({**item("KB3"), "version": f"{IDS['KB3']}:1"}).items
    assert [one["name"] for one in judging.appeared(before, after, locked)] == ["KB2"]


def test_hotfix_that_the_update_agent_forgot_keeps_its_name() -> None:
    hands = FakeHands(row("KB2", installed=True))
    hands.files["points\\CHG-1\\before.json"] = json.dumps({"packages": {"KB7:x64": "known"}, "services": []})
    hands.files["points\\CHG-1\\transaction.json"] = json.dumps(
        [{"name": "KB8", "arch": "x64", "from": "", "to": "locked"}]
    )
    told = hands._look({"Change": "CHG-1"}) | {"hotfixes": ["KB2", "kb7", "KB8", "KB9", "File 1", "KB5"]}
    looked = load("patch_windows.look")
    assert looked.packages(looked.read_look(told, 0), read(*hands.rows), {"KB5"}) == {
        "KB2:x64": f"{IDS['KB2']}:1", "KB7:x64": "known", "KB8:x64": "locked", "KB9:x64": "installed",
    }  # fmt: skip


def test_services_that_come_and_go_are_not_missed() -> None:
    hands = FakeHands()
    names: dict[str, dict[str, Any]] = {
        "App": {}, "sppsvc": {}, "Triggered": {"trigger": True}, "Manual": {"start": "manual"}, "CDPUserSvc": {},
        "CDPUserSvc_3f2a1": {}, "Broken": {"state": "stopped", "exit_code": 1067}, "New": {"state": "stopped",
        "exit_code": 1077}, "My_app": {},
    }  # fmt: skip
    plain = {"state": "running", "start": "auto", "trigger": False, "exit_code": 0}
    hands.services = [{"name": name, **plain, **more} for name, more in names.items()]
    looked = load("patch_windows.look")
    look = looked.read_look(hands._look({"Change": "CHG-1"}), 0)
    assert looked.units(look) == {"running": ["App", "CDPUserSvc", "My_app"], "failed": ["Broken"]}
    assert looked.units(look, ["My*"])["running"] == ["App", "CDPUserSvc"]


def test_ports_that_change_with_each_boot_are_not_missed() -> None:
    ports = [("0.0.0.0", 80), ("::", 5985), ("0.0.0.0", 49664)]
    told = FakeHands()._look({"Change": "CHG-1"}) | {
        "listening": [{"address": address, "port": port, "process": "System"} for address, port in ports]
    }
    looked = load("patch_windows.look")
    assert looked.listening(looked.read_look(told, 0)) == ["tcp 0.0.0.0:80 System", "tcp [::]:5985 System"]
