"""Commands that look, on a real site without hosts: templates, hosts, windows, rollback points, tasks, the stop."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from orchestrator.domain.change import ChangeState
from orchestrator.domain.inventory import Environment
from orchestrator.domain.job import TaskResult
from orchestrator.domain.rollback import RollbackClass, RollbackPoint
from tests.commands import NOW, Said, Site
from tests.fakes.values import SLOT

TOP = Path(__file__).parents[2]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site.found(tmp_path)


def hosts(site: Site, environment: Environment, **groups: list[str]) -> None:
    folder = site.folder / "inventories" / environment.value
    known = {
        group: {"hosts": {name: {"ansible_host": "127.0.0.1", "ansible_port": 9} for name in names}}
        for group, names in groups.items()
    }
    file = folder / "hosts.yml"
    file.write_text(yaml.safe_dump({"all": {"children": known}}))
    for written in (*folder.rglob("*"), site.folder / "ansible.cfg"):
        os.utime(written, (0, 0))  # Long ago: of what was written a moment ago no answer is kept.


def wide(site: Site, *words: str, code: int = 0) -> Said:
    """Give a command on a wide screen, so that no line is broken."""
    return site.give(*words, code=code, COLUMNS="250")


# Templates ----------------------------------------------------------------------------------------------------


def test_every_template_is_listed_and_says_what_it_wants_to_know(site: Site) -> None:
    names = sorted(file.stem for file in (TOP / "change_templates").glob("*.yml"))
    assert [one["template"] for one in site.give("template", "list", "--json").json] == names
    listed = wide(site, "template", "list").out
    for name in names:
        assert name in listed
        told = site.give("template", "show", name, "--json").json
        assert told["template"] == name
        shown = wide(site, "template", "show", name).out
        assert all(parameter["name"] in shown for parameter in told["parameters"])
        assert "required" in shown


def test_template_that_is_not_there_is_said_with_those_that_are(site: Site) -> None:
    said = site.give("template", "show", "linux-security-pach", code=3).err
    assert "linux-security-patch" in said


def test_request_is_rendered_without_being_entered(site: Site) -> None:
    request = {
        "template": "linux-security-patch",
        "parameters": {"production": "web", "staging": "stage", "window_start": "2030-01-05 22:00"},
    }
    file = site.folder / "request.yml"
    file.write_text(yaml.safe_dump(request))
    rendered = json.loads(site.give("template", "render", str(file)).out)
    assert (rendered["targets"]["production"], rendered["window"]["start"]) == ("web", "2030-01-05T22:00")
    assert list(site.store.changes()) == []
    file.write_text(yaml.safe_dump(request | {"parameters": {"production": "web", "windowstart": "now"}}))
    assert "windowstart" in site.give("template", "render", str(file), code=2).err


# Hosts --------------------------------------------------------------------------------------------------------


@pytest.fixture
def fleet(site: Site) -> Site:
    hosts(site, Environment.STAGING, web=["s1"])
    hosts(site, Environment.PRODUCTION, web=["w1", "w2"], db=["d1"])
    return site


def test_hosts_of_both_inventories_are_listed_by_pattern(fleet: Site) -> None:
    def listed(*words: str) -> list[str]:
        return [one["host"] for one in fleet.give("host", "list", *words, "--json").json]

    assert sorted(listed()) == ["d1", "s1", "w1", "w2"]
    assert listed("web") == ["s1", "w1", "w2"]
    assert listed("web", "--in", "production") == ["w1", "w2"]
    assert "127.0.0.1" in wide(fleet, "host", "list").out
    assert "nosuch" in fleet.give("host", "list", "nosuch", code=3).err


def test_host_is_shown_with_who_holds_it_and_its_points(fleet: Site) -> None:
    change = fleet.open().id
    with fleet.store.begin() as writing:
        writing.lease(["w1"], change, now=NOW, hold=timedelta(hours=1))
        writing.keep_points([point(change, "w1")])
    shown = wide(fleet, "host", "show", "w1").out
    assert "w1 (production) at 127.0.0.1:9" in shown
    assert f"held by {change} under token 1" in shown
    assert f"rollback point of {change} by packages, class package" in shown
    told = fleet.give("host", "show", "w1", "--json").json
    assert [one["change"] for one in told["points"]] == [change]
    assert [one["change"] for one in told["leases"]] == [change]


@pytest.mark.parametrize("words", [("host", "show", "web"), ("host", "adopt", "web", "--reason", "moved", "--yes")])
def test_group_is_no_host(fleet: Site, words: tuple[str, ...]) -> None:
    said = fleet.give(*words, code=3).err
    assert "'web' is no host, but matches s1, w1, w2" in said


def test_adopting_takes_a_reason_and_a_word(fleet: Site) -> None:
    assert "needs a reason" in fleet.give("host", "adopt", "w1", "--yes", code=4).err
    said = fleet.give("host", "adopt", "w1", "--reason", "the old site is gone").out
    assert "--yes" in said
    assert list(fleet.store.trail("site")) == []


def test_host_that_does_not_answer_is_no_fit_host(fleet: Site) -> None:
    reports = fleet.give("host", "scan", "w1", "--json", code=1).json
    assert [(one["host"], one["failed_at"]) for one in reports] == [("w1", "connect")]
    assert "connect" in wide(fleet, "host", "scan", "w1", code=1).out


# The stop for everything --------------------------------------------------------------------------------------


def test_everything_is_held_until_somebody_lifts_it(site: Site) -> None:
    assert site.give("lockdown", "show", "--json").json == {"held": False, "reason": ""}
    site.give("lockdown", "begin", code=4)
    site.give("lockdown", "begin", "--reason", "the storage is being moved")
    assert "the storage is being moved" in site.give("lockdown", "show").out
    assert "everything is held: the storage is being moved" in site.give("status").err
    assert "Lift it first" in site.give("lockdown", "begin", "--reason", "again", code=4).err
    site.give("lockdown", "lift", "--reason", "it was moved")
    assert site.give("lockdown", "show").out == "Nothing is held.\n"
    assert [(event.tag, event.actor) for event in site.store.trail("site")] == [
        ("lockdown-begun", "olga"), ("lockdown-lifted", "olga"),
    ]  # fmt: skip


# Windows, rollback points, tasks ------------------------------------------------------------------------------


def test_windows_of_open_changes_are_listed_soonest_first(site: Site) -> None:
    later, sooner, ended = (
        site.open(),
        site.open(state=ChangeState.SCHEDULED, slot=SLOT),
        site.open(state=ChangeState.CLOSED),
    )
    told = site.give("window", "list", "--json").json
    assert {one["change"]: one["reserved"] for one in told} == {later.id: False, sooner.id: True}
    starts = [one["slot"]["start"] for one in told]
    assert starts == sorted(starts)
    assert ended.id not in wide(site, "window", "list").out
    assert "has no plan" in site.give("window", "check", later.id, code=4).err


def point(change: str, host: str, *, expired: bool = False) -> RollbackPoint:
    return RollbackPoint(
        change=change, host=host, provider="packages", rollback_class=RollbackClass.PACKAGE,
        taken_at=NOW - timedelta(days=4), expires_at=NOW + timedelta(days=-1 if expired else 1), size=5 << 20,
    )  # fmt: skip


def test_points_are_listed_and_what_has_expired_is_said_loudly(site: Site) -> None:
    change = site.open(state=ChangeState.SUCCEEDED).id
    with site.store.begin() as writing:
        writing.keep_points([point(change, "w1", expired=True), point(change, "w2")])
    listed = wide(site, "rollback-point", "list")
    assert "5 MiB" in listed.out
    assert f"points of {change} have expired" in listed.err
    assert [one["host"] for one in site.give("rollback-point", "list", "--json").json] == ["w1", "w2"]
    assert "1 rollback points are held beyond their time: w1" in wide(site, "status").err
    asked = wide(site, "rollback-point", "release", "--expired").out
    assert "w1" in asked
    assert "w2" not in asked
    assert len(site.store.points()) == 2, "nothing is given up without --yes"
    assert "say whose points" in site.give("rollback-point", "release", "--yes", code=2).err
    site.give("rollback-point", "release", "CHG-0099", "--yes", code=3)


def test_tasks_are_told_by_host_outcome_and_time(site: Site) -> None:
    change = site.open().id
    done = TaskResult(number=1, host="w1", task="Look", action="patch_state", outcome="ok", milliseconds=900)
    lost = replace(
        done, number=2, host="w2", task="Patch", outcome="unreachable", milliseconds=5000, message="no route"
    )
    with site.store.begin() as writing:
        writing.keep_tasks(change, f"{change}.w1b1.patch", [done, lost])

    def told(*words: str) -> list[str]:
        return [one["host"] for one in site.give("change", "tasks", change, *words, "--json").json]

    assert (told(), told("--failed"), told("--host", "w1"), told("--slowest", "1")) == (
        ["w1", "w2"], ["w2"], ["w1"], ["w2"],
    )  # fmt: skip
    assert "no route" in wide(site, "change", "tasks", change).out
    assert "Nothing is kept" in site.give("change", "tasks", change, "--host", "w9").out


def test_trail_tells_a_long_reason_to_its_end(site: Site) -> None:
    reason = f"the storage is being moved, {'which takes its time, ' * 12}and nobody knows how long"
    site.give("lockdown", "begin", "--reason", reason)
    assert "and nobody knows how long" in " ".join(wide(site, "audit", "trail").out.split())


def test_parts_that_are_installed_are_listed(site: Site) -> None:
    assert isinstance(site.give("plugins", "--json").json, list)
    site.give("plugins")
