"""Patching and putting back a Windows host whose connection breaks: what is told is what was seen."""

from typing import Any

import pytest

from tests.unit.plugins.windows_support import Clock, FakeHands, item, job, load, row

host_module = load("patch_windows.host")
patching = load("patch_windows.patching")
phases = load("patch_windows.phases")
errors = load("patch_host.errors")
Lost = host_module.Lost


def host(hands: FakeHands, *items: dict[str, Any], **more: Any) -> Any:
    clock = Clock()
    return host_module.Host(job(*items, **more), hands, settle=5, clock=clock, sleep=clock.sleep)


def claimed(hands: FakeHands, *items: dict[str, Any], **more: Any) -> Any:
    phases.protect(host(hands, *items, **more))
    hands.deeds.clear()
    return host(hands, *items, **more)


def kinds(reports: list[dict[str, Any]]) -> list[str]:
    return [one["kind"] for one in reports]


def test_patch_reports_and_writes_both_ends() -> None:
    hands = FakeHands(row("KB1"), row("KB2"))
    reports = patching.patch(claimed(hands, item("KB1")))
    assert kinds(reports) == ["transaction", "reboot", "state"]
    assert [one["name"] for one in reports[0]["actual"]] == ["KB1"]
    assert hands.records()[-2:] == [("patch", "begin", ""), ("patch", "end", "ok")]
    assert not hands.rows[1]["installed"]


@pytest.mark.parametrize("deed", ["win_updates", "record.ps1", "search.ps1", "look.ps1"])
@pytest.mark.parametrize("done", [True, False])
def test_broken_connection_is_looked_past(deed: str, done: bool) -> None:
    hands = FakeHands(row("KB1"))
    acting = claimed(hands, item("KB1"))
    hands.breaks, hands.is_done_all_the_same = [deed], done
    reports = patching.patch(acting)
    assert [one["name"] for one in reports[0]["actual"]] == ["KB1"]
    assert hands.deeds.count("win_updates") == (2 if (deed, done) == ("win_updates", False) else 1)
    assert hands.records()[-2:] == [("patch", "begin", ""), ("patch", "end", "ok")]


def test_host_that_is_lost_for_good_leaves_its_step_open() -> None:
    hands = FakeHands(row("KB1"))
    acting = claimed(hands, item("KB1"), timeout=30)
    hands.breaks = ["win_updates", *["look.ps1"] * 100]
    with pytest.raises(Lost):
        patching.patch(acting)
    assert hands.records()[-1] == ("patch", "begin", "")


def test_refused_login_is_not_tried_again() -> None:
    hands = FakeHands(row("KB1"))
    acting = claimed(hands, item("KB1"))

    def refuse(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
        hands.deeds.append(name)
        raise Lost("ntlm: the specified credentials were rejected by the server")

    hands.script = refuse  # type: ignore[method-assign]
    with pytest.raises(Lost):
        patching.patch(acting)
    assert hands.deeds == ["look.ps1"]


def test_search_that_fails_after_the_act_is_no_failure_of_the_patch() -> None:
    hands = FakeHands(row("KB1"))
    acting = claimed(hands, item("KB1"))
    searched = hands.search_with

    def fail_later(parameters: dict[str, Any]) -> dict[str, Any]:
        if "win_updates" in hands.deeds:
            raise errors.PatchError("0x8024402C")
        return searched(parameters)

    hands.search_with = fail_later
    with pytest.raises(Lost, match="not known: 0x8024402C"):
        patching.patch(acting)


def test_installation_that_goes_on_is_waited_for() -> None:
    hands = FakeHands(row("KB1"))
    acting = claimed(hands, item("KB1"))
    hands.breaks = ["win_updates"]
    installed = hands._install

    def go_on(arguments: dict[str, Any]) -> dict[str, Any]:
        hands.busy = 4
        return installed(arguments)

    hands._install = go_on  # type: ignore[method-assign]
    reports = patching.patch(acting)
    assert hands.deeds.count("win_updates") == 1
    assert [one["name"] for one in reports[0]["actual"]] == ["KB1"]


def test_nothing_comes_of_it_twice_and_the_last_word_is_believed() -> None:
    hands = FakeHands(row("KB1"))
    acting = claimed(hands, item("KB1"))
    hands._install = lambda arguments: {"failed": True, "msg": "0x80240017"}  # type: ignore[method-assign]
    with pytest.raises(errors.PatchError, match="0x80240017"):
        patching.patch(acting)
    assert hands.deeds.count("win_updates") == 2
    assert hands.records()[-1] == ("patch", "end", "failed")


def test_reboot_from_before_is_not_ours_to_skip() -> None:
    hands = FakeHands(row("KB1"))
    acting = claimed(hands, item("KB1"), reboot="never")
    hands.signs = ["servicing"]
    with pytest.raises(errors.PatchError, match="waits for a reboot from before"):
        patching.patch(acting)
    reports = patching.patch(host(hands, item("KB1")))
    assert reports[1]["done"]
    assert hands.deeds.index("win_reboot") < hands.deeds.index("win_updates")


def test_policy_always_reboots_once() -> None:
    hands = FakeHands(row("KB1"))
    acting = claimed(hands, item("KB1"), reboot="always")
    assert patching.patch(acting)[1]["done"]
    assert not patching.patch(host(hands, item("KB1"), reboot="always"))[1]["done"]
    assert hands.boots == 2


def test_answer_that_a_reboot_failed_is_held_against_the_boot_time() -> None:
    hands = FakeHands(row("KB1"))
    acting = claimed(hands, item("KB1"), reboot="always")
    hands.breaks = ["win_reboot"]
    assert patching.patch(acting)[1]["done"], "it has booted, whatever win_reboot says"
    hands.signs, hands.is_done_all_the_same, hands.breaks = ["servicing"], False, ["win_reboot"]
    with pytest.raises(errors.PatchError, match="was to reboot and did not"):
        patching.patch(host(hands, item("KB1")))


def test_restore_needs_a_point_and_takes_away_what_came() -> None:
    hands = FakeHands(row("KB1"), row("KB2", installed=True))
    with pytest.raises(errors.PatchError, match="no rollback point"):
        patching.restore(host(hands))
    patching.patch(claimed(hands, item("KB1")))
    reports = patching.restore(host(hands, item("KB1")))
    assert [one["name"] for one in reports[0]["actual"]] == ["KB1"]
    assert hands.rows[1]["installed"], "what was there before stays"
    assert hands.records()[-1] == ("restore", "restored", "ok")
    assert patching.restore(host(hands, item("KB1")))[0]["actual"] == []


def test_rivals_are_held_before_anything_and_again_for_a_restore() -> None:
    hands = FakeHands(row("KB1"))
    acting = claimed(hands, item("KB1"))
    seen = [hands.holds]
    patching.patch(acting)
    phases.release(host(hands, keep_point=True))
    seen.append(hands.holds)
    patching.restore(host(hands, item("KB1")))
    seen.append(hands.holds)
    assert seen == [True, False, True]


def test_second_protection_changes_nothing() -> None:
    hands = FakeHands(row("KB1"))
    first, again = (host(hands, item("KB1")) for _ in range(2))
    phases.protect(first)
    phases.protect(again)
    assert (first.changed, again.changed) == (True, False)


def test_point_that_covers_the_lock_is_kept() -> None:
    hands = FakeHands(row("KB1"))
    phases.protect(host(hands, item("KB1")))
    before = hands.files["points\\CHG-1\\before.json"]
    hands.rows[0]["installed"] = True
    phases.protect(host(hands, item("KB1")))
    assert hands.files["points\\CHG-1\\before.json"] == before


def test_two_who_write_at_once_are_judged_anew() -> None:
    hands = FakeHands(row("KB1"))
    acting, told = claimed(hands, item("KB1")), hands._record
    theirs = (
        '{"change": "CHG-1", "counter": 9, "event": "begin", "installation": "ours", "outcome": "", "step": "release"}'
    )

    def another_first(parameters: dict[str, Any]) -> dict[str, Any]:
        if parameters["Expected"] >= 0 and theirs not in hands.journal:
            hands.journal += theirs + "\n"
        return told(parameters)

    hands._record = another_first  # type: ignore[method-assign]
    with pytest.raises(errors.Refused, match="older than 9"):
        patching.patch(acting)


@pytest.mark.parametrize("done", [True, False])
def test_connection_that_breaks_while_downloading_costs_a_search(done: bool) -> None:
    hands = FakeHands(row("KB1", downloaded=False))
    hands.breaks, hands.is_done_all_the_same = ["win_updates"], done
    if done:
        assert phases.protect(host(hands, item("KB1")))[2]["items"][0]["source"] == "repository"
    else:
        with pytest.raises(errors.PatchError, match="KB1 was to be downloaded"):
            phases.protect(host(hands, item("KB1")))
        assert hands.records()[-1] == ("protect", "end", "failed")


def test_host_whose_update_service_is_disabled_is_not_touched() -> None:
    hands = FakeHands(row("KB1"))
    hands.agent["start"] = "disabled"
    with pytest.raises(errors.PatchError, match="wuauserv"):
        phases.protect(host(hands, item("KB1")))


def test_verify_that_cannot_search_tells_nothing() -> None:
    hands = FakeHands(row("KB1"))

    def offline(parameters: dict[str, Any]) -> dict[str, Any]:
        raise errors.PatchError("0x8024402C")

    hands.search_with = offline
    with pytest.raises(errors.PatchError, match="0x8024402C"):
        phases.verify(host(hands))


def test_nothing_left_on_offer_is_told_before_the_host_is_touched() -> None:
    hands = FakeHands(row("KB2"))
    with pytest.raises(errors.PatchError, match="nothing of the lock is on offer"):
        phases.protect(host(hands, item("KB1")))


def test_update_that_came_in_beside_the_lock_is_a_failure() -> None:
    hands = FakeHands(row("KB1"), row("KB2"))
    acting = claimed(hands, item("KB1"))
    installed = hands._install

    def both(arguments: dict[str, Any]) -> dict[str, Any]:
        if arguments["state"] == "installed":
            hands.rows[1]["installed"] = True
        return installed(arguments)

    hands._install = both  # type: ignore[method-assign]
    with pytest.raises(errors.PatchError, match="KB2 came in beside it"):
        patching.patch(acting)


def test_release_twice_changes_nothing_and_a_kept_point_stays() -> None:
    hands = FakeHands(row("KB1"))
    phases.protect(host(hands, item("KB1")))
    phases.release(host(hands, keep_point=True))
    assert any(name.startswith("points") for name in hands.files)
    assert "claim.json" not in hands.files
    assert phases.release(host(hands, keep_point=True))[0]["rivals"] == []
    assert phases.release(host(hands))[0]["freed"] > 0
    assert not any(name.startswith("points") for name in hands.files)


def test_adopting_takes_over_the_claim_and_what_is_open() -> None:
    hands = FakeHands(row("KB1"))
    theirs = job(item("KB1"))._replace(token=load("patch_host.journal").Token("theirs", 3))
    clock = Clock()
    host_module.Host(theirs, hands, clock=clock, sleep=clock.sleep).begin("protect")
    with pytest.raises(errors.Refused, match="another installation"):
        phases.protect(host(hands, item("KB1")))
    assert phases.adopt(host(hands), "theirs is gone") == [{"kind": "adopted", "changes": ["CHG-1"]}]
    phases.protect(host(hands, item("KB1")))
