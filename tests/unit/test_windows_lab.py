"""The simulated Windows host from inside: updates as a state machine, arguments, faults, scenarios."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

import lab.windows.modules  # noqa: F401  (registers them)
from lab.errors import LabError
from lab.windows import arguments, scenario, scripts
from lab.windows.arguments import ModuleFailed
from lab.windows.faults import KINDS, Fault, Faults
from lab.windows.host import WindowsHost
from lab.windows.machine import Machine, Service
from lab.windows.manifest import ModuleCall
from lab.windows.process import Inner
from lab.windows.scripts import Answer, Asked
from lab.windows.tasks import MODULES
from lab.windows.updates import MOVES, Event, State, Update, Updates
from tests.waiting import until


def test_update_waits_for_the_reboot_and_the_boot_settles_it() -> None:
    good, bad = Update(kb="KB1", title="good", build=9), Update(kb="KB2", title="bad", outcome="rolls-back")
    updates = Updates([good, bad])
    for update in (good, bad):
        update.move(Event.INSTALLED_UNTIL_REBOOT)
    assert updates.need_reboot
    assert updates.build(5) == 5, "what waits is not in effect"
    assert updates.offered() == []
    assert [one.kb for one in updates.boot()] == ["KB2"]
    assert (good.state, bad.state, updates.need_reboot) == (State.INSTALLED, State.ROLLED_BACK, False)
    assert (updates.offered(), updates.build(5)) == ([bad], 9)


def test_update_is_offered_only_once_what_it_needs_is_installed() -> None:
    stack, cumulative = Update(kb="KB1", title="stack"), Update(kb="KB2", title="cumulative", needs=("KB1",))
    updates = Updates([stack, cumulative])
    assert updates.offered() == [stack]
    stack.move(Event.INSTALLED)
    assert updates.offered() == [cumulative]


def test_what_cannot_happen_to_an_update_is_refused() -> None:
    update = Update(kb="KB1", title="t", state=State.SUPERSEDED)
    with pytest.raises(LabError, match="KB1 is superseded: installed cannot happen"):
        update.move(Event.INSTALLED)
    assert set(MOVES) == set(State)
    assert {event for moves in MOVES.values() for event in moves} == set(Event)


def test_same_update_has_the_same_id_on_every_host() -> None:
    ids = {Update(kb="KB1", title=title, revision=revision).id for title, revision in (("a", 1), ("b", 1), ("a", 2))}
    assert len(ids) == 2


def test_boot_starts_what_starts_by_itself_and_tells_what_did_not() -> None:
    host = WindowsHost(Machine(name="win1"), Updates(), reboot_seconds=0)
    host.machine.add_services(
        [
            Service(name="Good", state="stopped"),
            Service(name="Bad", fails_after_boot=True),
            Service(name="Off", start_mode="manual"),
        ]
    )
    up = threading.Event()
    host.on_up = up.set
    assert host.shut_down(0)
    assert up.wait(5)
    assert {one.name: one.state for one in host.machine.services.values()} == {
        "Good": "started",
        "Bad": "stopped",
        "Off": "stopped",
    }
    assert [entry.id for entry in host.machine.event_log if entry.level == "Error"] == [7000]
    assert [entry.deed for entry in host.journal.entries()] == ["reboot-asked", "down", "up"]


def test_fault_strikes_what_it_matches_and_as_often_as_told() -> None:
    faults = Faults()
    faults.set(Fault(kind="hang", match="win_updates poll", times=2))
    assert not faults.strike("hang", "win_ping")
    assert faults.strike("hang", "win_updates poll")
    assert faults.strike("hang", "win_updates poll")
    assert not faults.strike("hang", "win_updates poll")
    assert faults.told() == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"name": "x", "colour": "red"}, r"Unsupported parameters .*: colour\. Supported parameters include: "),
        ({}, "missing required arguments: name"),
        ({"name": "x", "state": "lit"}, "value of state must be one of: .*Got no match for: lit"),
        ({"name": "x", "desktop_interact": "maybe"}, "argument for desktop_interact .* unable to convert to bool"),
        ({"name": "x", "desktop_interact": True}, "lab: the simulated win_service does not know .* desktop_interact"),
    ],
)
def test_argument_that_is_wrong_is_refused_in_words(given: dict[str, object], says: str) -> None:
    with pytest.raises(ModuleFailed, match=says):
        arguments.check("win_service", given, ("name", "state"), ())


def test_aliases_and_defaults_are_those_of_the_documentation() -> None:
    checked = arguments.check("win_updates", {"category_names": "Tools, Upgrades"}, ("category_names",), ())
    assert checked["category_names"] == ["Tools", "Upgrades"]
    assert (checked["state"], checked["skip_optional"], checked["accept_list"]) == ("installed", False, None)


def test_script_that_nobody_taught_fails_and_is_noted() -> None:
    host = WindowsHost(Machine(name="win1"), Updates())
    process = Inner()
    assert host.run_command("format d:", process) == 1
    assert "win1 does not know this cmd script" in process.stderr
    assert host.journal.entries("unknown-script")


def test_scenario_tells_every_mistake_at_once(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yml"
    path.write_text(
        """
updates: [{kb: KB1, title: t, outcome: maybe}, {kb: KB2, titel: t}]
hosts:
  win1: {updates: {KB9: {}}, colour: red, authentication: [magic], faults: [{kind: flood}], scripts: [{stdout: x}]}
"""
    )
    with pytest.raises(LabError) as told:
        scenario.read(path).plan("win1")
    assert "KB1 cannot end with 'maybe'" in str(told.value)
    path.write_text(path.read_text().replace(", outcome: maybe", "").replace("titel", "title"))
    with pytest.raises(LabError) as told:
        scenario.read(path)
    for mistake in ("has no KB9", "no colour", "no magic", "no fault 'flood'", "match, a regular expression"):
        assert mistake in str(told.value)


def test_shipped_scenarios_are_sound_and_others_are_named() -> None:
    for path in scenario.SHIPPED.glob("*.yml"):
        assert scenario.read(Path(path.stem)).plan("win1").updates.catalogue
    with pytest.raises(LabError, match="one of: monthly"):
        scenario.read(Path("yearly"))


def test_script_sees_the_parameters_and_whether_it_is_only_to_look() -> None:
    host = WindowsHost(Machine(name="win1"), Updates(), taught=())

    @scripts.knows(r"^# lab test: (\w+)")
    def told(_: WindowsHost, asked: Asked) -> Answer:
        return Answer(output=[asked[1], asked.parameters, asked.check], changed=False)

    script = "# lab test: probe\n[CmdletBinding(SupportsShouldProcess)]param($a)"
    call = ModuleCall(
        name="win_powershell",
        arguments={"script": script, "parameters": {"a": 1}},
        check=True,
        become_user="",
        job=None,
    )
    result = host.task(call, Inner())
    assert (result["output"], result["changed"]) == (["probe", {"a": 1}, True], False)
    blind = replace(call, arguments={"script": "# lab test: probe"})
    assert host.task(blind, Inner())["msg"] == "skipped, running in check mode"


def test_reboot_in_the_middle_of_an_installation_leaves_it_undone() -> None:
    update = Update(kb="KB1", title="long", seconds=30)
    host = WindowsHost(Machine(name="win1"), Updates([update]), reboot_seconds=0)
    came_back = threading.Event()
    host.on_up = came_back.set
    call = ModuleCall(name="win_updates", arguments={"category_names": ["*"]}, check=False, become_user="", job=None)
    host.task(call, Inner())
    until(lambda: host.journal.entries("update-begun"))
    host.shut_down(0)
    assert came_back.wait(5)
    until(lambda: host.journal.entries("update-interrupted"))
    assert update.state is State.DOWNLOADED
    assert host.updates.offered() == [update]


def test_disabled_update_service_finds_nothing_and_says_why() -> None:
    host = WindowsHost(Machine(name="win1"), Updates([Update(kb="KB1", title="t")]))
    host.machine.add_services([Service(name="wuauserv", state="stopped", start_mode="disabled")])
    call = ModuleCall(
        name="win_updates",
        arguments={"state": "searched", "_operation_options": {"wait": True}},
        check=False,
        become_user="",
        job=None,
    )
    result = host.task(call, Inner())
    assert (result["failed"], result["found_update_count"]) == (True, 0)
    assert "0x80070422" in result["msg"]


def test_readme_names_every_fault_and_every_module() -> None:
    page = (Path(__file__).resolve().parents[2] / "lab/README.md").read_text()
    assert [kind for kind, what in KINDS.items() if f"| `{kind}` | {what} |" not in page] == []
    listed = page.partition("* Modules, all of `ansible.windows`: `")[2].partition("`.")[0].split()
    assert set(listed) == {*MODULES, "win_reboot"}
