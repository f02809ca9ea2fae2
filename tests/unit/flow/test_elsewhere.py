"""A change that another machine carried: what it began is never begun again, and is settled by asking the hosts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.change import ChangeState
from orchestrator.flow.carrying import carry
from tests.fakes.machines import Fault
from tests.fakes.runner import FakeRunner, Killed, When
from tests.fakes.site import FakeSite
from tests.fakes.values import NEW

FIRST_PATCH = 1


def other_machine(site: FakeSite) -> FakeRunner:
    """Give the site's work to a machine that has none of the first one's job folders."""
    runner = FakeRunner(site.by_environment, site.clock, site.packages, site.log)
    site.crew = replace(site.crew, node="second", runner=runner)
    return runner


def killed_on_the_first_machine(site: FakeSite, when: When) -> None:
    site.started()
    site.crew = replace(site.crew, node="first")
    site.runner.kill_caller(FIRST_PATCH, when)
    with pytest.raises(Killed):
        site.carry()


def test_what_another_machine_has_patched_is_found_by_asking_the_hosts(site: FakeSite) -> None:
    killed_on_the_first_machine(site, When.AFTER)
    runner = other_machine(site)
    assert carry(site.id, site.crew).state is ChangeState.SUCCEEDED
    assert [machine.begun("patch") for machine in site.production.values()] == [1, 1, 1, 1]
    assert runner.jobs("patch.yml") == []
    assert {event.outcome for event in site.trail if event.tag == "host-reconciled"} == {"done"}


def test_what_another_machine_never_began_on_the_hosts_is_begun_once(site: FakeSite) -> None:
    site.runner.dies("w1.b1.patch", Fault.LOST_BEFORE)
    killed_on_the_first_machine(site, When.DURING)
    other_machine(site)
    assert carry(site.id, site.crew).state is ChangeState.SUCCEEDED
    assert [machine.begun("patch") for machine in site.production.values()] == [1, 1, 1, 1]
    assert set(site.versions.values()) == {NEW}


def test_host_on_which_the_other_machine_is_still_at_work_is_not_touched(site: FakeSite) -> None:
    site.runner.dies("w1.b1.patch", Fault.LOST_AT_WORK)
    killed_on_the_first_machine(site, When.DURING)
    runner = other_machine(site)
    assert carry(site.id, site.crew).state is ChangeState.FAILED
    assert runner.jobs("patch.yml") == []
    assert set(site.statuses.values()) == {"restore-failed"}
    assert "another step is still at work" in site.runs["web1"].reason
    assert site.machines["web1"].begun("restore") == 0
