"""Killed in the middle, held, stopped: what was begun is found again, and no host is patched twice or forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lab.packages import Package
from orchestrator.domain.canonical import rfc3339
from orchestrator.domain.change import ChangeState
from tests.acceptance.machines import Park, kill
from tests.acceptance.site import Site
from tests.waiting import wait_for

pytestmark = pytest.mark.lab

HOSTS = ("w1", "w2", "w3")
CHANGE = "CHG-0001"
FIRST_PATCH = f"{CHANGE}.l1.w1.b1.patch"


@pytest.fixture(scope="module")
def scheduled(park: Park, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Give a site whose change has its window: a wave of two, a wave of one, and a package that takes its time.

    Its staging was killed in the middle of a patch, and taken up again.
    """
    park.lab.repository.publish(Package(name="labapp", version="1.0"))
    park.up("s1", *HOSTS, packages=("labapp",))
    park.lab.repository.publish(Package(name="labapp", version="1.1", behaviour="slow", seconds=4))
    site = Site.found(tmp_path_factory.mktemp("scheduled"))
    site.inventory("staging", park.lab, {"s1": {}})
    site.inventory("production", park.lab, {name: {} for name in HOSTS})
    change = site.submit({"wave": 2})
    site.give("change", "stage", change, "--yes", "--detach")
    wait_for("the first patch of staging", park["s1"].was_patched)
    kill(site.carrier(change))
    site.give("change", "resume", change, "--yes", "--detach")
    assert site.ended(change).state is ChangeState.STAGED
    site.approve(change)
    site.give("change", "schedule", change, "--yes")
    park.keep(*HOSTS)
    return site


@pytest.fixture
def site(scheduled: Site, park: Park, tmp_path: Path) -> Iterator[Site]:
    park.renew(*HOSTS)
    with scheduled.copied(tmp_path) as site:
        yield site


def start_and_wait_for_the_patch(site: Site, park: Park) -> None:
    site.start(CHANGE)
    wait_for("the patch of w1 and w2", lambda: park["w1"].was_patched() and park["w2"].was_patched())


def each_was_patched_once(park: Park) -> bool:
    counts = {(park[name].count("patch", "begin"), park[name].count("patch", "end")) for name in HOSTS}
    return counts == {(1, 1)} and {park[name].version("labapp") for name in HOSTS} == {"1.1"}


def test_staging_whose_carrier_was_killed_goes_on_where_it_was(scheduled: Site, park: Park) -> None:
    begun = [(r["step"], r["event"]) for r in park["s1"].journal() if r["step"] in ("patch", "restore")]
    assert begun.count(("patch", "begin")) == begun.count(("patch", "end")) == 2
    assert scheduled.tags(CHANGE).count("staging-host-passed") == 1
    assert scheduled.tags(CHANGE).count("staged") == 1


def test_a_host_cut_off_is_asked_when_it_is_back_and_a_killed_carrier_forgets_nobody(site: Site, park: Park) -> None:
    start_and_wait_for_the_patch(site, park)
    with park.cut_off("w1"):
        wait_for("Ansible to give w1 up", lambda: site.endings(CHANGE, FIRST_PATCH))
    wait_for("the patch of w3", park["w3"].was_patched)
    kill(site.carrier(CHANGE))
    assert site.is_in(CHANGE, ChangeState.RUNNING)
    assert "nobody carries it" in site.give("status").out
    site.give("change", "resume", CHANGE, "--yes", "--detach")
    assert site.ended(CHANGE).state is ChangeState.SUCCEEDED
    assert site.statuses(CHANGE) == dict.fromkeys(HOSTS, "done")
    asked = {str(e.data["host"]): e.outcome for e in site.trail(CHANGE, "host-reconciled")}
    assert asked == {"w1": "done"}, "w2 was never out of sight, and whoever goes on waits for the job of w3"
    assert each_was_patched_once(park)
    assert site.tags(CHANGE).count("host-done") == len(HOSTS)


def test_a_killed_supervisor_is_settled_by_asking_the_hosts_and_pause_comes_before_the_next_wave(
    site: Site, park: Park
) -> None:
    start_and_wait_for_the_patch(site, park)
    kill(site.supervisor(FIRST_PATCH))
    assert site.interrupted("change", "watch", CHANGE) == (130, "Detached: the work goes on.")
    with site.held_still(CHANGE):
        site.give("change", "pause", CHANGE, "--reason", "The phone rings.")
        told = site.give("change", "show", CHANGE).out
        assert "to pause, not stopped yet; still at work: w1, w2" in told
    assert site.ended(CHANGE).state is ChangeState.PAUSED
    asked = {str(e.data["host"]): e.outcome for e in site.trail(CHANGE, "host-reconciled")}
    assert asked == {"w1": "done", "w2": "done"}
    assert site.endings(CHANGE, FIRST_PATCH) == ["died"]
    assert site.statuses(CHANGE) == {"w1": "done", "w2": "done", "w3": "pending"}
    assert not park["w3"].journal()
    site.give("change", "resume", CHANGE, "--yes", "--detach")
    assert site.ended(CHANGE).state is ChangeState.SUCCEEDED
    assert each_was_patched_once(park)
    asked_for, paused, resumed = (site.tags(CHANGE).index(tag) for tag in ("pause-requested", "paused", "resumed"))
    assert asked_for < paused < resumed


def test_cancelling_with_roll_back_puts_the_begun_wave_back(site: Site, park: Park) -> None:
    start_and_wait_for_the_patch(site, park)
    with site.held_still(CHANGE):
        site.give("change", "cancel", CHANGE, "--roll-back", "--reason", "The wrong night.", "--yes")
    assert site.ended(CHANGE).state is ChangeState.ROLLED_BACK
    assert site.statuses(CHANGE) == {"w1": "restored", "w2": "restored", "w3": "skipped"}
    assert [park[name].version("labapp") for name in HOSTS] == ["1.0"] * 3
    assert not park["w3"].journal()
    assert "The wrong night." in site.told(CHANGE, "rollback-requested")


def test_cancelling_before_any_host_was_touched_leaves_nothing(site: Site, park: Park) -> None:
    site.start(CHANGE)
    with site.held_still(CHANGE):
        site.give("change", "cancel", CHANGE, "--reason", "Not tonight.", "--yes")
    assert site.ended(CHANGE).state is ChangeState.CANCELLED
    assert site.tags(CHANGE)[-1] == "cancelled"
    assert not any(park[name].was_patched() for name in HOSTS)
    assert [park[name].version("labapp") for name in HOSTS] == ["1.0"] * 3


def test_a_window_that_nears_its_end_cuts_off_before_the_next_wave(site: Site, park: Park) -> None:
    start_and_wait_for_the_patch(site, park)
    with site.held_still(CHANGE):
        close_the_window_soon(site)
    assert site.ended(CHANGE).state is ChangeState.PAUSED
    assert "cutoff" in site.tags(CHANGE)
    assert site.statuses(CHANGE) == {"w1": "done", "w2": "done", "w3": "pending"}
    assert not park["w3"].was_patched()


def close_the_window_soon(site: Site) -> None:
    """Let the reserved window's cutoff be now: waiting for it would take as long as a window is."""
    now = datetime.now(UTC)
    with site.edited(CHANGE) as document:
        document["slot"] |= {"cutoff": rfc3339(now), "end": rfc3339(now + timedelta(minutes=10))}
