"""From the votes to the end of a run on web hosts: who may agree, what is drift, and hosts that die.

One file, because proving the change is most of what these tests cost.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.packages import Package
from orchestrator.domain.change import ChangeState
from tests.acceptance.machines import Park, as_soon_as
from tests.acceptance.site import Done, Site

pytestmark = pytest.mark.lab

CHANGE = "CHG-0001"
ROLE = "roles/patch_apt/defaults/main.yml"
WEB = ("w1", "w2", "w3", "w4", "w5", "w6")


@dataclass(frozen=True)
class Web:
    """Six web hosts, and a site with one change: one canary, a soak, then the other five.

    ``staged`` is the site before anybody voted, ``approved`` afterwards.
    """

    park: Park
    staged: Site
    approved: Site

    @contextmanager
    def scheduled(self, folder: Path) -> Iterator[Site]:
        """Give the site with the change in its window, and the hosts as they were then."""
        self.park.renew(*WEB)
        with self.approved.copied(folder) as site:
            site.give("change", "schedule", CHANGE, "--yes")
            yield site


@pytest.fixture(scope="module")
def web(park: Park, tmp_path_factory: pytest.TempPathFactory) -> Web:
    """Give the web hosts and the site, to be copied: proving a change is most of what a test costs."""
    park.lab.repository.publish(Package(name="labapp", version="1.0"))
    park.up("s1", *WEB, packages=("labapp",))
    park.lab.repository.publish(Package(name="labapp", version="1.1", behaviour="new-dependency"))
    site = Site.found(tmp_path_factory.mktemp("web"))
    site.inventory("staging", park.lab, {"s1": {}})
    # The canary is the one that will be dead, which nobody here has to wait a minute for.
    site.inventory("production", park.lab, {name: {} for name in WEB} | {"w1": {"patch_lost_after": "20s"}})
    assert site.submit({"canary": 1, "soak": "6s", "max_unfit": 1}) == CHANGE
    site.stage(CHANGE)
    staged = site.copy(tmp_path_factory.mktemp("staged"))
    site.approve(CHANGE)
    park.keep(*WEB)
    return Web(park, staged, site)


@pytest.fixture
def staged(web: Web, tmp_path: Path) -> Site:
    return web.staged.copy(tmp_path)


@pytest.fixture
def approved(web: Web, tmp_path: Path) -> Site:
    return web.approved.copy(tmp_path)


@pytest.fixture
def scheduled(web: Web, tmp_path: Path) -> Iterator[Site]:
    with web.scheduled(tmp_path) as site:
        yield site


def vote(staged: Site, *, by: str, code: int, plan: str = "", reason: str = "Read and understood.") -> Done:
    shown = plan or staged.change(CHANGE).digest[:12]
    words = ("change", "approve", CHANGE, "--reason", reason, "--plan", shown, "--key", str(staged.keys / by))
    return staged.give(*words, code=code)


def test_votes_that_do_not_count_are_refused_and_the_change_stays_staged(staged: Site) -> None:
    before = staged.change(CHANGE)
    assert "nobody approves their own request" in vote(staged, by="rae", code=4).err
    assert "own request" in staged.told(CHANGE, "vote-refused")
    assert "belongs to nobody in people.yml" in vote(staged, by="stranger", code=5).err
    assert "you are answering plan 000000000000" in vote(staged, by="cora", plan="0" * 12, code=4).err
    assert "8 or more digits" in vote(staged, by="cora", plan=before.digest[:6], code=2).err
    assert "needs a reason" in vote(staged, by="cora", reason=" ", code=4).err
    assert staged.change(CHANGE) == before


def test_a_vote_is_given_once(staged: Site) -> None:
    assert "cora has voted to approve" in vote(staged, by="cora", code=0).out
    assert staged.is_in(CHANGE, ChangeState.APPROVED)
    plan = staged.change(CHANGE).digest[:12]
    assert "cannot happen now" in vote(staged, by="cora", plan=plan, code=4).err
    assert staged.tags(CHANGE).count("voted") == 1


def test_one_veto_ends_it(staged: Site) -> None:
    shown, key = staged.change(CHANGE).digest[:12], str(staged.keys / "cora")
    staged.give("change", "reject", CHANGE, "--reason", "Not this month.", "--plan", shown, "--key", key)
    assert staged.is_in(CHANGE, ChangeState.REJECTED)
    assert "Not this month." in staged.told(CHANGE, "rejected")
    assert "cannot happen now" in staged.give("change", "schedule", CHANGE, "--yes", code=4).err


def change_role(site: Site) -> None:
    file = site.folder / ROLE
    file.write_text(file.read_text() + "# Nobody has approved this line.\n")


def is_void(site: Site) -> bool:
    change = site.change(CHANGE)
    assert f"{ROLE} was changed" in site.told(CHANGE, "drift-found")
    return change.state is ChangeState.REQUESTED and not change.votes and not change.plan_digest


def test_a_changed_role_voids_the_approval_before_scheduling(approved: Site) -> None:
    change_role(approved)
    refused = approved.give("change", "schedule", CHANGE, "--yes", code=4)
    assert f"{ROLE} was changed" in refused.err
    assert is_void(approved)


def test_a_changed_role_voids_the_approval_before_the_start(approved: Site, park: Park) -> None:
    approved.give("change", "schedule", CHANGE, "--yes")
    change_role(approved)
    refused = approved.give("change", "start", CHANGE, "--yes", code=4)
    assert f"{ROLE} was changed" in refused.err
    assert is_void(approved)
    assert "started" not in approved.tags(CHANGE)
    assert not any(park[name].was_patched() for name in WEB)


def test_a_vote_that_was_edited_in_the_database_starts_nothing(approved: Site) -> None:
    with approved.edited(CHANGE) as document:
        document["votes"][0]["reason"] = "Nobody has looked at it."
    refused = approved.give("change", "schedule", CHANGE, "--yes", code=5)
    assert "the vote of cora on CHG-0001 is not good: it says something else than what was signed" in refused.err
    assert "something else" in approved.told(CHANGE, "vote-not-genuine")
    assert approved.is_in(CHANGE, ChangeState.APPROVED)


def test_hosts_that_are_dead_or_not_as_planned_leave_and_the_lock_stands(scheduled: Site, park: Park) -> None:
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
    park.lab.power_off("w5")
    try:
        change = site.run(CHANGE)
    finally:
        repository.withdraw("labapp", "1.2")
        repository.withdraw("labapp", "1.0.5")
        repository.publish(Package(name="labapp", version="1.1", behaviour="new-dependency"))
    assert change.state is ChangeState.SUCCEEDED
    assert site.statuses(CHANGE) == {"w1": "done", **dict.fromkeys(("w2", "w3", "w4", "w5"), "skipped"), "w6": "done"}
    reasons = {str(e.data["host"]): str(e.data["reason"]) for e in site.trail(CHANGE, "host-skipped")}
    assert "already at the locked versions" in reasons["w2"]
    assert "labapp is 1.0.5, planned from 1.0" in reasons["w3"]
    assert "no longer in the inventory" in reasons["w4"]
    assert "unfit at connect" in reasons["w5"]
    assert sorted(issue.partition(":")[0] for issue in change.issues) == ["w2", "w3", "w4", "w5"]
    assert [park[name].version("labapp") for name in WEB] == ["1.1", "1.1", "1.0.5", "1.0", "1.0", "1.1"]
    assert [park[name].was_patched() for name in WEB] == [True, False, False, False, False, True]
    assert not park["w4"].journal()
    assert not park["w5"].journal()
    assert _came_from(site, "w1") == "pushed"
    site.give("change", "close", CHANGE, "--yes")
    assert site.change(CHANGE).close_code == "successful with issues"


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
    assert [park[name].was_patched() for name in WEB] == [True, False, False, False, False, False]
    site.give("change", "rollback", CHANGE, "--reason", "The role was changed.", "--yes", "--detach")
    assert site.ended(CHANGE).state is ChangeState.ROLLED_BACK
    assert site.statuses(CHANGE)["w1"] == "restored"
    assert [park[name].version("labapp") for name in WEB] == ["1.0"] * len(WEB)
    assert park["w1"].journal()[-1]["event"] in ("restored", "released")


def test_a_host_that_dies_after_its_patch_stops_the_change(scheduled: Site, park: Park) -> None:
    w1 = park["w1"]
    with as_soon_as("the end of the patch", lambda: w1.count("patch", "end"), lambda: park.lab.power_off("w1")):
        change = scheduled.run(CHANGE)
    assert change.state is ChangeState.FAILED
    assert scheduled.hosts(CHANGE)["w1"].failed
    assert "1 of 6 hosts failed, 0 allowed" in scheduled.told(CHANGE, "budget-tripped")
    assert '"host": "w1"' in scheduled.told(CHANGE, "host-reconciled")
    assert '"host": "w1"' in scheduled.told(CHANGE, "host-restore-failed")
    assert "w1" in scheduled.give("change", "show", CHANGE).out
    assert w1.count("patch", "begin") == 1
    assert not any(park[name].journal() for name in WEB if name != "w1")
    assert [park[name].version("labapp") for name in WEB] == ["1.1", *["1.0"] * 5]


def _came_from(site: Site, host: str) -> str:
    """Return where the locked file came from, as the host's report in the job's folder says."""
    reports = (site.state / "jobs").glob("*.w1.b1.protect/reports.jsonl")
    rows = [row for file in reports for row in file.read_text().splitlines() if '"packages"' in row and host in row]
    return "pushed" if any('"source":"pushed"' in row.replace(" ", "") for row in rows) else "\n".join(rows)
