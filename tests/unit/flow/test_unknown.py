"""Outcome unknown is a state, and it is settled by asking the host."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from orchestrator.domain.change import ChangeState
from orchestrator.domain.inventory import Environment
from orchestrator.domain.job import HostOutcome
from orchestrator.domain.journal import Settlement
from orchestrator.domain.rollout import Amount, RolloutPolicy
from orchestrator.domain.run import HostStatus
from orchestrator.errors import NotFound, Refused, Unavailable
from orchestrator.flow import reconciling, tending
from tests.fakes.machines import Fault
from tests.fakes.runner import Killed
from tests.fakes.site import OMAR, FakeSite, a_host
from tests.fakes.values import NEW, OLD, SLOT, spec

TWO_WAVES = spec(rollout=RolloutPolicy(wave=Amount(value=2), max_failures=Amount(value=2)))
PATCH = "patch.yml"


def test_dead_job_whose_hosts_never_began_runs_again(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.dies("w1.b1.patch", Fault.LOST_BEFORE)
    assert site.carry().state is ChangeState.SUCCEEDED
    assert site.runner.jobs(PATCH) == [("web1", "web2"), ("web1", "web2"), ("web3", "web4")]
    assert [machine.begun("patch") for machine in site.production.values()] == [1, 1, 1, 1]
    assert [e.outcome for e in site.trail if e.tag == "host-reconciled"] == ["not-begun", "not-begun"]


def test_dead_job_whose_hosts_are_done_goes_on(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.dies("w1.b1.patch", Fault.LOST_AFTER)
    assert site.carry().state is ChangeState.SUCCEEDED
    assert site.runner.jobs(PATCH) == [("web1", "web2"), ("web3", "web4")]
    assert set(site.statuses.values()) == {"done"}
    assert [e.outcome for e in site.trail if e.tag == "host-reconciled"] == ["done", "done"]


def test_dead_job_whose_hosts_are_half_way_fails_them(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.dies("w1.b1.patch", Fault.LOST_HALF_WAY)
    assert site.carry().state is ChangeState.SUCCEEDED
    assert site.statuses == {"web1": "restored", "web2": "restored", "web3": "done", "web4": "done"}
    assert "partly-done" in site.runs["web1"].reason
    assert site.versions == {"web1": OLD, "web2": OLD, "web3": NEW, "web4": NEW}


def test_host_that_is_still_at_work_is_waited_for(site: FakeSite) -> None:
    site.machines["web1"].suffers(PATCH, Fault.LOST_AT_WORK)
    site.started(TWO_WAVES)
    site.when(SLOT.start + timedelta(minutes=2), site.machines["web1"].finish)
    assert site.carry().state is ChangeState.SUCCEEDED
    assert site.statuses["web1"] == "done"
    assert (site.machines["web1"].patched, site.machines["web1"].begun("patch")) == (1, 1)


def test_host_that_works_for_ever_is_unknown_and_counts(site: FakeSite) -> None:
    site.machines["web1"].suffers(PATCH, Fault.LOST_AT_WORK)
    site.ran(TWO_WAVES)
    assert (site.statuses["web1"], site.runs["web1"].failed) == ("unknown", True)
    assert "still-working" in site.runs["web1"].reason
    assert (site.last("succeeded").data["failed"], site.last("succeeded").data["done"]) == (1, 3)
    assert site.runner.jobs("restore.yml") == []


def test_host_that_works_long_is_waited_for_as_long_as_its_patch_may_take(site: FakeSite) -> None:
    site.machines["web1"].suffers(PATCH, Fault.LOST_AT_WORK)
    site.started(TWO_WAVES)
    site.when(SLOT.start + timedelta(minutes=9), site.machines["web1"].finish)
    assert site.carry().state is ChangeState.SUCCEEDED
    assert site.statuses["web1"] == "done"


def test_host_whose_power_was_cut_in_the_middle_is_put_back_and_not_waited_for(site: FakeSite) -> None:
    site.machines["web1"].suffers(PATCH, Fault.LOST_AT_WORK)
    site.started(TWO_WAVES)
    cut = SLOT.start + timedelta(minutes=1)
    site.when(cut, site.machines["web1"].is_cut_off)
    assert site.carry().state is ChangeState.SUCCEEDED
    assert "the step broke off on the host" in site.runs["web1"].reason
    assert (site.statuses["web1"], site.machines["web1"].version) == ("restored", OLD)
    told = next(e for e in site.trail if e.tag == "host-reconciled" and e.data["host"] == "web1")
    assert (told.outcome, told.at - cut < timedelta(minutes=1)) == ("partly-done", True)


def test_host_that_stays_silent_is_unknown_and_counts(site: FakeSite) -> None:
    site.machines["web1"].suffers(PATCH, Fault.GONE)
    site.ran(spec(rollout=RolloutPolicy(wave=Amount(value=2))))
    assert site.change.state is ChangeState.FAILED
    assert "did not answer for 300 s" in site.runs["web1"].reason
    assert site.versions["web3"] == OLD


def test_site_says_how_long_a_host_may_be_silent(site: FakeSite) -> None:
    site.crew = replace(site.crew, lost_after=timedelta(seconds=20))
    site.machines["web1"].suffers(PATCH, Fault.GONE)
    site.ran(spec(rollout=RolloutPolicy(wave=Amount(value=2))))
    assert "did not answer for 20 s" in site.runs["web1"].reason
    (job,) = [job for job in site.runner.begun if job.id.endswith("w1.b1.patch")]
    assert {host.patch_job["reboot_timeout"] for host in job.hosts} == {20}


def test_look_of_which_nobody_saw_the_end_costs_no_patience(site: FakeSite) -> None:
    site.crew = replace(site.crew, lost_after=timedelta(seconds=1))
    site.started(TWO_WAVES)
    for job in ("patch", "verify.2.1", "verify.2.2"):
        site.runner.dies(f"w1.b1.{job}")
    assert site.carry().state is ChangeState.SUCCEEDED
    assert set(site.statuses.values()) == {"done"}
    assert [e.outcome for e in site.trail if e.tag == "host-reconciled"] == ["done", "done"]


def test_host_says_itself_how_long_it_may_be_silent(site: FakeSite) -> None:
    site.crew = replace(site.crew, lost_after=timedelta(seconds=20))
    site.inventory.change("web2", partial(replace, lost_after=timedelta(minutes=4)))
    for name in ("web1", "web2"):
        site.machines[name].suffers(PATCH, Fault.GONE)
    site.started(spec(rollout=RolloutPolicy(wave=Amount(value=2), max_failures=Amount(value=1))))
    site.when(SLOT.start + timedelta(minutes=3), site.machines["web2"].heals)
    site.carry()
    assert "did not answer for 20 s" in site.runs["web1"].reason
    assert (site.statuses["web2"], site.machines["web2"].patched) == ("done", 1)
    job = next(job for job in site.runner.begun if job.id.endswith("w1.b1.patch"))
    assert {host.host: host.patch_job["reboot_timeout"] for host in job.hosts} == {"web1": 20, "web2": 240}


def test_host_that_boots_slowly_has_its_time_though_another_works_for_ever(site: FakeSite) -> None:
    site.inventory.change("web2", partial(replace, lost_after=timedelta(minutes=40)))
    site.machines["web1"].suffers(PATCH, Fault.LOST_AT_WORK)
    site.machines["web2"].suffers(PATCH, Fault.GONE)
    site.started(spec(rollout=RolloutPolicy(wave=Amount(value=2), max_failures=Amount(value=1))))
    site.when(SLOT.start + timedelta(minutes=38), site.machines["web2"].heals)
    site.carry()
    assert (site.statuses["web1"], site.statuses["web2"]) == ("unknown", "done")
    assert "still-working" in site.runs["web1"].reason


def test_host_that_comes_back_late_is_asked_and_is_done(site: FakeSite) -> None:
    site.machines["web1"].suffers(PATCH, Fault.GONE)
    site.started(TWO_WAVES)
    site.when(SLOT.start + timedelta(minutes=3), site.machines["web1"].heals)
    assert site.carry().state is ChangeState.SUCCEEDED
    assert (site.statuses["web1"], site.machines["web1"].patched) == ("done", 1)


def test_host_at_versions_that_nobody_planned_is_unknown(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.during("w1.b1.patch", lambda: site.machines["web1"].set_to("9"))
    site.runner.dies("w1.b1.patch", Fault.LOST_BEFORE)
    site.carry()
    assert site.statuses["web1"] == "unknown"
    assert site.machines["web1"].version == "9"


def test_host_that_is_lost_again_and_again_is_unknown_in_the_end(site: FakeSite) -> None:
    site.machines["web1"].suffers(PATCH, Fault.LOST_BEFORE)
    site.ran(TWO_WAVES)
    assert site.statuses == {"web1": "unknown", "web2": "done", "web3": "done", "web4": "done"}
    assert site.runner.jobs(PATCH)[:2] == [("web1", "web2"), ("web1",)]
    assert site.machines["web1"].begun("patch") == 0


def test_connection_lost_once_is_no_failure(site: FakeSite) -> None:
    site.machines["web1"].suffers(PATCH, Fault.LOST_BEFORE, Fault.LOST_AFTER)
    site.ran()
    assert site.change.state is ChangeState.SUCCEEDED
    assert site.machines["web1"].patched == 1


def test_unknown_host_is_never_worked_on_again(site: FakeSite) -> None:
    site.machines["web1"].suffers(PATCH, Fault.LOST_AT_WORK)
    site.started(TWO_WAVES)
    site.runner.during("w2.b1.protect", site.pause)
    site.carry()
    site.resume()
    site.carry()
    assert site.statuses["web1"] == "unknown"
    assert sum("web1" in hosts for hosts in site.runner.jobs(PATCH)) == 1


def test_earlier_look_that_is_told_again_is_no_journal_that_was_taken_back(
    site: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever goes on is told of all looks again, the first ones too, in which the host's journal was shorter."""

    def killed(*_: object) -> None:
        raise Killed

    site.machines["web1"].suffers(PATCH, Fault.LOST_AT_WORK)
    site.started(TWO_WAVES)
    site.when(SLOT.start + timedelta(minutes=2), site.machines["web1"].finish)
    with monkeypatch.context() as at_this_point:
        at_this_point.setattr(reconciling, "_note", killed)
        with pytest.raises(Killed):
            site.carry()
    assert site.carry().state is ChangeState.SUCCEEDED
    assert (site.statuses["web1"], site.machines["web1"].begun("patch")) == ("done", 1)
    assert [e.outcome for e in site.trail if e.tag == "host-reconciled"] == ["done"]


def test_journal_says_what_was_begun_and_what_nobody_saw_end(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.dies("w1.b1.patch", Fault.LOST_AFTER)
    site.carry()
    steps = [s for s in site.store.steps(site.id) if s.host == "web1" and ".l1." in s.job]
    assert [(s.step.value, s.outcome.value) for s in steps] == [
        ("protect", "ok"), ("patch", "unknown"), ("verify", "ok"), ("release", "ok"),
    ]  # fmt: skip
    assert all(s.finished_at for s in steps)


def test_person_may_have_an_unknown_host_asked_again(site: FakeSite) -> None:
    site.machines["web1"].suffers(PATCH, Fault.GONE)
    site.ran(TWO_WAVES)
    site.machines["web1"].heals()
    found = tending.reconcile_by_hand(site.id, "web1", OMAR, site.crew, settle=False)
    assert (found.settled.settlement, site.statuses["web1"]) == (Settlement.DONE, "unknown")
    tending.reconcile_by_hand(site.id, "web1", OMAR, site.crew, settle=True)
    assert site.statuses["web1"] == "done"
    assert "settled by omar" in site.runs["web1"].reason


def test_host_of_which_all_is_known_is_not_judged_anew(site: FakeSite) -> None:
    """What the patch left is no longer there once a host was put back, and that is as it should be."""
    site.ran(TWO_WAVES)
    with pytest.raises(Refused, match="web1 is done: there is no doubt"):
        tending.reconcile_by_hand(site.id, "web1", OMAR, site.crew, settle=True)
    site.roll_back()
    site.carry()
    with pytest.raises(Refused, match="web1 is restored"):
        tending.reconcile_by_hand(site.id, "web1", OMAR, site.crew, settle=True)
    assert site.statuses["web1"] == "restored"
    assert "host-reconciled" not in site.tags


def test_host_that_is_still_at_work_is_not_settled_by_hand(site: FakeSite) -> None:
    site.machines["web1"].suffers(PATCH, Fault.LOST_AT_WORK)
    site.ran(TWO_WAVES)
    assert site.statuses["web1"] == "unknown"
    with pytest.raises(Refused, match=r"not settled.*has not ended it"):
        tending.reconcile_by_hand(site.id, "web1", OMAR, site.crew, settle=True)
    assert site.statuses["web1"] == "unknown"
    assert list(site.store.leases()) == []
    site.machines["web1"].finish()
    tending.reconcile_by_hand(site.id, "web1", OMAR, site.crew, settle=True)
    assert site.statuses["web1"] == "done"


def test_host_that_was_not_touched_has_nothing_to_settle(site: FakeSite) -> None:
    site.ran()
    with pytest.raises(NotFound, match="has not touched a host db1"):
        tending.reconcile_by_hand(site.id, "db1", OMAR, site.crew, settle=True)


def test_host_is_adopted_with_a_reason_in_the_sites_own_trail(site: FakeSite) -> None:
    tending.adopt(a_host("web1"), Environment.PRODUCTION, "the old site is gone", OMAR, site.crew)
    (event,) = site.store.trail("site")
    assert (event.tag, event.actor, event.data["host"]) == ("host-adopted", "omar", "web1")
    assert site.machines["web1"].journal[-1]["event"] == "adopted"
    assert list(site.store.leases()) == []


def test_host_that_cannot_be_reached_is_not_adopted(site: FakeSite) -> None:
    site.machines["web1"].is_up = False
    with pytest.raises(Unavailable, match="could not be adopted: unreachable"):
        tending.adopt(a_host("web1"), Environment.PRODUCTION, "it is ours", OMAR, site.crew)
    assert list(site.store.trail("site")) == []


def test_host_that_somebody_reverted_meanwhile_is_unknown_and_not_begun_anew(site: FakeSite) -> None:
    def revert() -> None:
        site.machines["web1"].journal.clear()

    site.started(TWO_WAVES)
    site.runner.during("w1.b1.patch", revert)
    site.runner.dies("w1.b1.patch", Fault.LOST_BEFORE)
    site.carry()
    assert site.runs["web1"].status is HostStatus.UNKNOWN


def test_what_ansible_says_of_lost_hosts_is_not_taken_for_the_truth(site: FakeSite) -> None:
    site.machines["web1"].suffers(PATCH, Fault.LOST_AFTER)
    site.ran()
    (result,) = [site.runner.result(job.id) for job in site.runner.begun if job.id.endswith("w1.b1.patch")]
    assert result is not None
    assert result.by_host["web1"].outcome is HostOutcome.UNREACHABLE
    assert site.statuses["web1"] == "done"


@pytest.mark.parametrize("odd", ["caf\udce9.service", "caf\u00e9"])
def test_odd_word_from_one_host_does_not_end_the_run_of_all(site: FakeSite, odd: str) -> None:
    site.started(TWO_WAVES)
    site.machines["web1"].units.append(odd)
    site.machines["web1"].installed[odd] = "1"
    site.carry()
    assert site.statuses["web4"] == "done"
