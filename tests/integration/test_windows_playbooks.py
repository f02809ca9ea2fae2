"""The playbooks on the lab's Windows hosts, over both connection plugins: phases, rules and faults."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from lab.windows.faults import KINDS
from lab.windows.instance import WindowsLab
from lab.windows.inventory import AUTHENTICATION, CONNECTIONS
from orchestrator.domain.journal import Settlement, Step, StepRecord, settle
from orchestrator.domain.lock import Platform
from orchestrator.domain.plan import HostPlan, PlannedItem
from orchestrator.flow import reports
from tests.windows_faults import DONE, FAILED, FAULTS, FaultCase
from tests.windows_phases import Item, Job, Outcome, Site

STACK, CUMULATIVE, DEFINITIONS, NEXT = "KB1001", "KB1003", "KB1004", "KB1005"
#: A host on which neither update asks for a reboot.
CALM = {STACK: {"reboot": False, "exclusive": False}, CUMULATIVE: {"reboot": False}}
PLAIN = {STACK: {"reboot": False, "exclusive": False}}
KINDS_OF_LOGIN = [kind for kind in AUTHENTICATION if kind != "kerberos"]
RULES: dict[str, dict[str, Any]] = {
    "superseded": {"updates": CALM},
    "revised": {"updates": CALM},
    "undone": {"updates": {**PLAIN, CUMULATIVE: {"outcome": "rolls-back"}}},
    "fails": {"updates": {**PLAIN, CUMULATIVE: {"outcome": "fails"}}},
    "never": {"updates": PLAIN},
    "foreign": {"updates": CALM},
    "old": {"updates": CALM},
    "shorter": {"updates": CALM},
    "unclaimed": {"updates": CALM},
    "stays": {"updates": {STACK: {"reboot": False, "exclusive": False, "removable": False}}},
    "works": {"updates": {**CALM, CUMULATIVE: {"reboot": False, "seconds": 12}}},
    "full": {"updates": CALM, "disk_free_gb": 0.2},
    "disabled": {"updates": CALM, "services": [{"name": "wuauserv", "start_mode": "disabled", "state": "stopped"}]},
    "hidden": {"updates": {**CALM, CUMULATIVE: {"reboot": False, "hidden": True}}},
}
SCENARIO: dict[str, Any] = {
    "every_host": {
        "reboot_seconds": 0.3,
        "settle_seconds": 0.2,
        "services": [{"name": "App", "fails_after_boot": True}, {"name": "CcmExec", "start_mode": "delayed"}],
        "registry": {r"HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU": {"AUOptions": 4}},
    },
    "updates": [
        {"kb": STACK, "title": f"Servicing Stack Update ({STACK})", "exclusive": True, "seconds": 0.05},
        {"kb": CUMULATIVE, "title": f"Cumulative Update ({CUMULATIVE})", "build": 2227, "seconds": 0.3},
        {"kb": DEFINITIONS, "title": f"Definitions ({DEFINITIONS})", "categories": ["Definition Updates"]},
        {"kb": NEXT, "title": f"Next month ({NEXT})", "supersedes": [CUMULATIVE], "published": False},
    ],
    "hosts": RULES,
}
AFFECTED = {f"{plugin}-{case}": FAULTS[case] for plugin in CONNECTIONS for case in FAULTS}


@pytest.fixture(scope="module")
def site(new_windows_lab: Callable[..., WindowsLab], tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    described = {**SCENARIO, "hosts": {**RULES, **{name: {"updates": CALM} for name in AFFECTED}}}
    (folder / "night.yml").write_text(yaml.safe_dump(described))
    ways = {plugin: (plugin, "ntlm") for plugin in CONNECTIONS}
    ways |= {f"{plugin}-{kind}": (plugin, kind) for plugin in CONNECTIONS for kind in KINDS_OF_LOGIN}
    ways |= dict.fromkeys(RULES, ("winrm", "ntlm"))
    for name in AFFECTED:
        plugin, _, case = name.partition("-")
        ways[name] = (plugin, "ntlm-https" if case == "expired" else "ntlm")
    return Site(new_windows_lab(*ways, scenario=folder / "night.yml"), folder, ways)


@pytest.fixture(scope="module")
def scanned(site: Site) -> dict[str, Outcome]:
    names = [*CONNECTIONS, *(f"{plugin}-{kind}" for plugin in CONNECTIONS for kind in KINDS_OF_LOGIN)]
    return site.phase("scan", {name: site.job([]) for name in names})


@pytest.fixture(scope="module")
def items(scanned: dict[str, Outcome]) -> list[Item]:
    return [dict(one) for one in scanned["winrm"]["scan"]["candidates"]]


@pytest.fixture(scope="module")
def protected(site: Site, items: list[Item]) -> dict[str, Outcome]:
    """Claim every host; those that another installation holds, or that nobody claims, are left for their own tests."""
    theirs = {**site.job(items), "token": {"installation": "theirs", "counter": 7}, "change": "CHG-9"}
    site.phase("protect", {"foreign": theirs})
    names = [*CONNECTIONS, *AFFECTED, *(set(RULES) - {"unclaimed"})]
    jobs = {name: site.job(items) for name in names}
    jobs["revised"]["items"] = [{**one, "version": one["version"].replace(":1", ":2")} for one in items]
    return site.phase("protect", jobs)


@pytest.fixture(scope="module")
def patched(site: Site, items: list[Item], protected: dict[str, Outcome]) -> dict[str, Outcome]:
    site.lab.publish(NEXT, "superseded")
    site.lab.fault("works", "reset-while-polling", times=1)
    for name, case in AFFECTED.items():
        site.lab.fault(name, **{"seconds": 3600, **case.fault})
    rules = ("superseded", "undone", "fails", "never", "old", "shorter", "unclaimed", "stays", "works")
    jobs = {name: site.job(items) for name in (*CONNECTIONS, *rules)}
    jobs["never"]["reboot"] = "never"
    jobs["old"]["token"] = {"installation": "ours", "counter": 1}
    jobs["shorter"]["token"]["seen"] = 99
    jobs["works"]["timeout"] = 1
    jobs |= {name: site.job(items, **case.job) for name, case in AFFECTED.items()}
    return site.phase("patch", jobs)


@pytest.fixture(scope="module")
def settled(site: Site, items: list[Item], patched: dict[str, Outcome]) -> dict[str, tuple[Outcome, Settlement]]:
    """Lift the faults, and ask every host of which nobody knows the outcome."""
    lost = [name for name in AFFECTED if patched[name].outcome == "unreachable"]
    for name in lost:
        site.lab.mend(name)
        if site.lab.host(name)["state"] == "down":
            site.lab.power_on(name)
    looked = site.phase("verify", {name: site.job([]) for name in lost})
    return {name: (outcome, settlement(items, outcome)) for name, outcome in looked.items()}


@pytest.fixture(scope="module")
def again(site: Site, items: list[Item], settled: dict[str, tuple[Outcome, Settlement]]) -> dict[str, Outcome]:
    """Take up again what was never begun, as the orchestrator does, and patch hosts again that are patched."""
    names = [name for name, (_, known) in settled.items() if known is Settlement.NOT_BEGUN]
    return site.phase("patch", {name: site.job(items) for name in (*names, *CONNECTIONS)})


@pytest.fixture(scope="module")
def restored(site: Site, items: list[Item], again: dict[str, Outcome]) -> list[dict[str, Outcome]]:
    first = site.phase("restore", {name: site.job(items) for name in (*CONNECTIONS, "stays")})
    return [first, site.phase("restore", {name: site.job(items) for name in CONNECTIONS})]


@pytest.fixture(scope="module")
def released(site: Site, restored: list[dict[str, Outcome]]) -> list[dict[str, Outcome]]:
    jobs: dict[str, Job] = {name: site.job([]) for name in CONNECTIONS}
    return [site.phase("release", jobs), site.phase("release", {name: site.job([]) for name in CONNECTIONS})]


@pytest.fixture(params=CONNECTIONS)
def host(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# Phases. ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plugin", CONNECTIONS)
@pytest.mark.parametrize("kind", KINDS_OF_LOGIN)
def test_hosts_are_scanned_whatever_the_login(scanned: dict[str, Outcome], plugin: str, kind: str) -> None:
    assert scanned[f"{plugin}-{kind}"].outcome == "ok", scanned[f"{plugin}-{kind}"].message


def test_scan_tells_updates_as_items_of_a_lock_and_leaves_definitions_out(
    scanned: dict[str, Outcome], host: str
) -> None:
    report = scanned[host]["scan"]
    assert [one["name"] for one in report["candidates"]] == [STACK, CUMULATIVE]
    seen = reports.scan(report)
    assert seen.platform == Platform(family="windows", distribution="windows-server", release="20348", arch="x64")
    stack = seen.candidates[0]
    assert (stack.sha256, stack.origin, stack.classification) == ("", "Windows Update", "security")
    assert stack.version.endswith(":1")


def test_scan_with_a_lock_says_what_would_be_done(site: Site, items: list[Item]) -> None:
    package = {"name": "openssl", "arch": "amd64", "version": "3.0.20-1", "from_version": ""}
    report = site.phase("scan", {"hidden": site.job([*items, package])})["hidden"]["scan"]["simulation"]
    assert [one["name"] for one in report["applicable"]] == [STACK, CUMULATIVE], "a package is no affair of Windows"
    assert report["problems"] == [f"{CUMULATIVE} is hidden on this host"]


def test_download_leaves_the_bytes_on_the_host(site: Site, items: list[Item], host: str) -> None:
    name = f"{host}-basic"
    rows = site.phase("download", {name: site.job(items)})[name]["download"]["items"]
    assert [(one["name"], one["sha256"]) for one in rows] == [(STACK, ""), (CUMULATIVE, "")]
    assert site.lab.host(name)["updates"][CUMULATIVE] == "downloaded"


def test_protect_claims_downloads_and_takes_a_point(site: Site, protected: dict[str, Outcome], host: str) -> None:
    came = protected[host]
    assert came["point"]["class"] == "package"
    assert [one["source"] for one in came["packages"]["items"]] == ["repository", "repository"]
    assert came["state"]["units"]["running"] == ["App", "Spooler", "W3SVC", "WinRM"], "a held rival is not missed"
    assert site.lab.journal(host, "rivals-held")


def test_patch_goes_in_rounds_with_a_reboot_after_each(site: Site, patched: dict[str, Outcome], host: str) -> None:
    came = patched[host]
    assert came.outcome == "ok", came.message
    assert site.installations(host) == [STACK, CUMULATIVE], "what wants to be alone goes first, and alone"
    assert len(site.lab.journal(host, "up")) == 2
    assert [one["name"] for one in came["transaction"]["actual"]] == [STACK, CUMULATIVE]
    assert (came["transaction"]["missing"], came["transaction"]["unexpected"]) == ([], [])
    assert came["reboot"]["done"]
    assert came["state"]["kernel"]["running"] == "20348.2227"
    assert not came["state"]["reboot_required"]["needed"]


def test_services_that_ran_before_run_after(patched: dict[str, Outcome], host: str) -> None:
    assert patched[host]["transaction"]["restarted"] == ["App"]
    assert "App" in patched[host]["state"]["units"]["running"]
    assert any("App service failed to start" in event for event in patched[host]["state"]["events"])


def test_hosts_journal_has_every_step_from_both_ends(site: Site, patched: dict[str, Outcome], host: str) -> None:
    steps = [("protect", "begin", ""), ("protect", "end", "ok"), ("patch", "begin", "")]
    steps += [("reboot", "begin", ""), ("reboot", "end", "ok")] * 2
    assert site.journal(host)[:8] == [*steps, ("patch", "end", "ok")]


def test_patching_twice_changes_nothing(site: Site, again: dict[str, Outcome], host: str) -> None:
    assert (again[host].outcome, again[host].changed) == ("ok", False), again[host].message
    assert again[host]["transaction"]["actual"] == []
    assert not again[host]["reboot"]["done"]
    assert site.installations(host) == [STACK, CUMULATIVE]


def test_restore_takes_away_what_the_change_brought(
    site: Site, restored: list[dict[str, Outcome]], protected: dict[str, Outcome], host: str
) -> None:
    first, second = (one[host] for one in restored)
    assert first.outcome == "ok", first.message
    assert [one["name"] for one in first["transaction"]["actual"]] == [STACK, CUMULATIVE]
    assert first["state"]["packages"] == protected[host]["state"]["packages"]
    assert first["state"]["kernel"]["running"] == "20348.2113"
    assert (second.outcome, second.changed) == ("ok", False)
    assert (second["transaction"]["actual"], second["reboot"]["done"]) == ([], False)
    assert ("restore", "restored", "ok") in site.journal(host)


def test_release_gives_rivals_back_and_ends_the_claim(
    site: Site, released: list[dict[str, Outcome]], host: str
) -> None:
    first, second = (one[host] for one in released)
    assert first["released"]["rivals"] == ["Windows Update's own schedule", "CcmExec"]
    assert first["released"]["freed"] > 0
    assert (second.changed, second["released"]["rivals"]) == (False, [])
    assert site.lab.host(host)["services"]["CcmExec"] == "started"
    assert site.lab.journal(host, "rivals-given-back")
    assert site.journal(host)[-1] == ("release", "released", "ok")


# Rules. -------------------------------------------------------------------------------------------------------


def test_another_revision_than_the_locked_is_refused(site: Site, protected: dict[str, Outcome]) -> None:
    came = protected["revised"]
    assert came.outcome == "failed"
    assert came["refused"]["kind"] == "refused"
    assert f"{STACK} is offered as" in came.message
    assert site.installations("revised") == []


def test_superseded_meanwhile_is_left_out_and_shown(site: Site, patched: dict[str, Outcome]) -> None:
    came = patched["superseded"]
    assert came.outcome == "ok", came.message
    assert [one["name"] for one in came["transaction"]["missing"]] == [CUMULATIVE]
    assert site.installations("superseded") == [STACK]


def test_update_that_the_boot_undoes_is_not_tried_for_ever(site: Site, patched: dict[str, Outcome]) -> None:
    assert patched["undone"].outcome == "failed"
    assert f"{CUMULATIVE} was installed, and the reboot undid it" in patched["undone"].message
    assert site.installations("undone").count(CUMULATIVE) == 1
    assert site.journal("undone")[-1] == ("patch", "end", "failed")


def test_update_that_fails_is_told_in_windows_words(patched: dict[str, Outcome]) -> None:
    came = patched["fails"]
    assert came.outcome == "failed"
    assert f"{CUMULATIVE} was to be installed, but Windows said" in came.message
    assert [one["name"] for one in came["transaction"]["actual"]] == [STACK]


def test_host_that_must_not_reboot_waits_and_says_so(site: Site, patched: dict[str, Outcome]) -> None:
    came = patched["never"]
    assert came.outcome == "ok", came.message
    assert (came["reboot"]["done"], came["state"]["reboot_required"]["needed"]) == (False, True)
    assert [one["name"] for one in came["transaction"]["actual"]] == [STACK, CUMULATIVE]
    assert site.lab.journal("never", "down") == []


@pytest.mark.parametrize(
    ("name", "why"),
    [("old", "is older than"), ("shorter", "taken back to an older state"), ("unclaimed", "Run protect.yml first")],
)
def test_step_that_is_not_ours_to_begin_is_refused(patched: dict[str, Outcome], name: str, why: str) -> None:
    assert patched[name].outcome == "failed"
    assert patched[name]["refused"]["kind"] == "refused"
    assert why in patched[name].message


def test_host_of_another_installation_is_refused_until_it_is_adopted(
    site: Site, items: list[Item], protected: dict[str, Outcome]
) -> None:
    assert "another installation of the orchestrator holds the host" in protected["foreign"].message
    assert protected["foreign"]["refused"]["claim"]["installation"] == "theirs"
    assert site.phase("adopt", {"foreign": site.job([], reason="theirs is gone")})["foreign"]["adopted"]["changes"] == [
        "CHG-9"
    ]
    assert site.phase("protect", {"foreign": site.job(items)})["foreign"].outcome == "ok"


def test_step_at_work_is_told_and_not_begun_twice(site: Site, items: list[Item], patched: dict[str, Outcome]) -> None:
    assert patched["works"].outcome == "unreachable"
    assert "still at work" in patched["works"].message
    # By now, with the phases before, the update has been installed; nothing wrote the end of the step.
    state = site.phase("verify", {"works": site.job([])})["works"]["state"]
    assert settlement(items, Outcome(reports={"state": state})) in (Settlement.STILL_WORKING, Settlement.DONE)
    assert site.installations("works").count(CUMULATIVE) == 1


def test_what_windows_does_not_let_be_removed_makes_no_way_back(
    protected: dict[str, Outcome], restored: list[dict[str, Outcome]]
) -> None:
    point = protected["stays"]["point"]
    assert (point["class"], [one["name"] for one in point["missing"]]) == ("none", [STACK])
    came = restored[0]["stays"]
    assert came.outcome == "failed"
    assert f"these stay: {STACK}" in came.message
    assert [one["name"] for one in came["transaction"]["actual"]] == [CUMULATIVE]


@pytest.mark.parametrize(
    ("name", "why"),
    [("full", "Make room"), ("disabled", "wuauserv"), ("hidden", "is hidden on this host")],
)
def test_host_that_is_not_fit_is_not_touched(site: Site, protected: dict[str, Outcome], name: str, why: str) -> None:
    assert protected[name].outcome == "failed"
    assert why in protected[name].message
    assert site.installations(name) == []


# Faults. ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", AFFECTED)
def test_fault_in_the_middle_of_a_patch_ends_as_the_page_says(
    site: Site,
    items: list[Item],
    patched: dict[str, Outcome],
    settled: dict[str, tuple[Outcome, Settlement]],
    again: dict[str, Outcome],
    name: str,
) -> None:
    case = AFFECTED[name]
    assert patched[name].outcome == case.told, patched[name].message
    assert case.says in patched[name].message
    known = settled[name][1].value if case.told == "unreachable" else ""
    assert known == case.settled
    last = again.get(name) or (settled[name][0] if name in settled else patched[name])
    assert ended(case, patched[name], settled.get(name), again.get(name)) == case.ends
    installed = site.installations(name)
    assert (installed.count(STACK), installed.count(CUMULATIVE)) == (case.installs, case.installs)
    if case.ends == DONE:
        assert set(last["state"]["packages"].values()) == {item["version"] for item in items}
        assert site.lab.host(name)["updates"][CUMULATIVE] == "installed"


@pytest.mark.parametrize("name", AFFECTED)
def test_hosts_journal_agrees_with_what_was_told(
    site: Site, settled: dict[str, tuple[Outcome, Settlement]], again: dict[str, Outcome], name: str
) -> None:
    records = [record for record in site.journal(name) if record[0] == "patch"]
    ends = {"ok": ("patch", "end", "ok"), "failed": ("patch", "end", "failed")}
    case = AFFECTED[name]
    if case.settled in ("", "not-begun"):
        assert records == [("patch", "begin", ""), ends["failed" if case.ends == FAILED else "ok"]]
    else:
        assert records == [("patch", "begin", "")], "nobody saw the end, so nobody wrote one"


def test_every_fault_of_the_lab_has_its_case() -> None:
    assert {case.kind for case in FAULTS.values()} == set(KINDS)


def ended(case: FaultCase, told: Outcome, known: tuple[Outcome, Settlement] | None, once_more: Outcome | None) -> str:
    """Say in which state the orchestrator leaves the host (flow.batching)."""
    last = once_more or told
    if known is not None and once_more is None:
        return DONE if known[1] is Settlement.DONE else FAILED
    return DONE if last.outcome == "ok" else FAILED


def settlement(items: list[Item], looked: Outcome) -> Settlement:
    """Settle the patch as the orchestrator does, from the host's own journal and updates."""
    plan = HostPlan(
        host="h",
        platform=Platform(family="windows", distribution="", release="", arch=""),
        items=tuple(
            PlannedItem(
                name=one["name"], arch=one["arch"], from_version="", version=one["version"],
                sha256="", filename="", size=0,
            )
            for one in items
        ),
    )  # fmt: skip
    ours = StepRecord(
        change="CHG-1", host="h", step=Step.PATCH, token=1, job="j", started_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    if not looked.reports:
        return Settlement.UNKNOWN
    report = looked["state"]
    at_work = reports.is_at_work(report)
    return settle(plan, ours, reports.host_journal(report), reports.packages(report), at_work=at_work).settlement
