"""What is drift: every line of the rule, on hosts and sites that really change after the approval."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lab.packages import Package
from orchestrator.domain.change import ChangeState
from tests.acceptance.conftest import WEB, Web
from tests.acceptance.machines import Park, as_soon_as
from tests.acceptance.site import Site

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("acceptance-web")]

CHANGE = "CHG-0001"
ROLE = "roles/patch_apt/defaults/main.yml"


@pytest.fixture
def site(web: Web, tmp_path: Path) -> Site:
    return web.copy(tmp_path)


@pytest.fixture
def scheduled(web: Web, tmp_path: Path) -> Site:
    return web.scheduled(tmp_path)


@pytest.fixture
def park(web: Web) -> Park:
    return web.park


def change_role(site: Site) -> None:
    file = site.folder / ROLE
    file.write_text(file.read_text() + "# Nobody has approved this line.\n")


def is_void(site: Site) -> bool:
    change = site.change(CHANGE)
    assert f"{ROLE} was changed" in site.told(CHANGE, "drift-found")
    return change.state is ChangeState.REQUESTED and not change.votes and not change.plan_digest


def test_a_changed_role_voids_the_approval_before_scheduling(site: Site) -> None:
    change_role(site)
    refused = site.give("change", "schedule", CHANGE, "--yes", code=4)
    assert f"{ROLE} was changed" in refused.err
    assert is_void(site)


def test_a_changed_role_voids_the_approval_before_the_start(site: Site, park: Park) -> None:
    site.give("change", "schedule", CHANGE, "--yes")
    change_role(site)
    refused = site.give("change", "start", CHANGE, "--yes", code=4)
    assert f"{ROLE} was changed" in refused.err
    assert is_void(site)
    assert "started" not in site.tags(CHANGE)
    assert not any(park[name].was_patched() for name in WEB)


def test_a_vote_that_was_edited_in_the_database_starts_nothing(site: Site) -> None:
    with site.edited(CHANGE) as document:
        document["votes"][0]["reason"] = "Nobody has looked at it."
    refused = site.give("change", "schedule", CHANGE, "--yes", code=5)
    assert "the vote of cora on CHG-0001 is not good: it says something else than what was signed" in refused.err
    assert "something else" in site.told(CHANGE, "vote-not-genuine")
    assert site.is_in(CHANGE, ChangeState.APPROVED)


def test_hosts_that_are_not_as_planned_leave_the_change_and_the_lock_stands(scheduled: Site, park: Park) -> None:
    site, repository = scheduled, park.lab.repository
    park.lab.install("w2", "labapp=1.1")
    repository.publish(Package(name="labapp", version="1.0.5"))
    park.lab.install("w3", "labapp=1.0.5")
    repository.withdraw("labapp", "1.1")
    repository.publish(Package(name="labapp", version="1.2"))
    # w4 leaves the inventory, and its machine comes back as a host that the plan does not know.
    inventory = site.edit_hosts("production")
    inventory["hosts"]["newcomer"] = inventory["hosts"].pop("w4")
    site.rewrite_hosts("production", inventory)
    try:
        change = site.run(CHANGE)
    finally:
        repository.withdraw("labapp", "1.2")
        repository.withdraw("labapp", "1.0.5")
        repository.publish(Package(name="labapp", version="1.1", behaviour="new-dependency"))
    assert change.state is ChangeState.SUCCEEDED
    assert site.statuses(CHANGE) == {"w1": "done", "w2": "skipped", "w3": "skipped", "w4": "skipped"}
    reasons = {str(e.data["host"]): str(e.data["reason"]) for e in site.trail(CHANGE, "host-skipped")}
    assert "already at the locked versions" in reasons["w2"]
    assert "labapp is 1.0.5, planned from 1.0" in reasons["w3"]
    assert "no longer in the inventory" in reasons["w4"]
    assert sorted(issue.partition(":")[0] for issue in change.issues) == ["w2", "w3", "w4"]
    assert [park[name].version("labapp") for name in WEB] == ["1.1", "1.1", "1.0.5", "1.0"]
    assert [park[name].was_patched() for name in WEB] == [True, False, False, False]
    assert not park["w4"].journal()
    assert _came_from(site, "w1") == "pushed"


def test_drift_during_the_run_pauses_it_and_only_rolling_back_leads_on(scheduled: Site, park: Park) -> None:
    site = scheduled

    def edit_in_the_soak() -> None:
        time.sleep(2)
        change_role(site)

    with as_soon_as("the canary", lambda: "host-done" in site.tags(CHANGE), edit_in_the_soak):
        change = site.run(CHANGE)
    assert change.state is ChangeState.PAUSED
    assert f"{ROLE} was changed" in change.drifted
    assert f"{ROLE} was changed" in site.told(CHANGE, "drift-found")
    assert ROLE in site.give("change", "resume", CHANGE, "--yes", code=4).err
    assert [park[name].was_patched() for name in WEB] == [True, False, False, False]
    site.give("change", "rollback", CHANGE, "--reason", "The role was changed.", "--yes", "--detach")
    assert site.ended(CHANGE).state is ChangeState.ROLLED_BACK
    assert site.statuses(CHANGE)["w1"] == "restored"
    assert [park[name].version("labapp") for name in WEB] == ["1.0"] * 4
    assert park["w1"].journal()[-1]["event"] in ("restored", "released")


def _came_from(site: Site, host: str) -> str:
    """Return where the locked file came from, as the host's report in the job's folder says."""
    reports = (site.state / "jobs").glob("*.w1.b1.protect/reports.jsonl")
    rows = [row for file in reports for row in file.read_text().splitlines() if '"packages"' in row and host in row]
    return "pushed" if any('"source":"pushed"' in row.replace(" ", "") for row in rows) else "\n".join(rows)
