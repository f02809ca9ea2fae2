"""Stop means stop: the cutoff, a pause, a cancellation and a rollback take effect between steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.admission import Durations
from orchestrator.domain.change import ChangeState
from orchestrator.domain.inventory import Environment
from orchestrator.domain.lifecycle import ChangeEvent
from orchestrator.domain.rollout import Amount, RolloutPolicy
from orchestrator.errors import Refused
from orchestrator.flow import closing, lockdown, sharding, staging
from orchestrator.flow.carrying import carry
from tests.fakes.runner import Killed, When
from tests.fakes.site import OMAR, FakeSite
from tests.fakes.values import NEW, OLD, SLOT, spec

TWO_WAVES = spec(rollout=RolloutPolicy(wave=Amount(value=2)))
HALF = {"web1": NEW, "web2": NEW, "web3": OLD, "web4": OLD}
DAY = timedelta(days=1)


def at_cutoff(site: FakeSite) -> None:
    site.clock.at = SLOT.cutoff


def next_night(site: FakeSite) -> None:
    """Give a paused change the window of the next day."""
    later = replace(SLOT, start=SLOT.start + DAY, end=SLOT.end + DAY, cutoff=SLOT.cutoff + DAY)
    site.ledger.record(replace(site.change, slot=later), ChangeEvent.SCHEDULED, actor=OMAR)
    site.clock.at = later.start


def test_cutoff_pauses_before_the_next_batch(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.during("w1.b1.patch", lambda: at_cutoff(site))
    assert site.carry().state is ChangeState.PAUSED
    assert site.versions == HALF
    assert site.statuses == {"web1": "done", "web2": "done", "web3": "pending", "web4": "pending"}
    assert site.tags[-1] == "cutoff"
    assert "web3" in str(site.last("cutoff").data["reason"])


def test_cutoff_while_a_host_is_only_protected_turns_it_back(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.during("w1.b1.protect", lambda: at_cutoff(site))
    assert site.carry().state is ChangeState.PAUSED
    assert set(site.versions.values()) == {OLD}
    assert set(site.statuses.values()) == {"pending"}
    assert not any(run.touched for run in site.runs.values())


def fill_the_controller(site: FakeSite) -> None:
    site.runner.full = True


def test_waiting_for_a_place_carries_no_host_beyond_the_cutoff(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.during("w1.b1.protect", lambda: fill_the_controller(site))
    assert site.carry().state is ChangeState.PAUSED
    assert site.clock.at >= SLOT.cutoff
    assert set(site.versions.values()) == {OLD}
    assert not any(run.touched for run in site.runs.values())
    assert site.tags[-1] == "cutoff"


def test_pause_is_heard_while_a_batch_waits_for_a_place(site: FakeSite) -> None:
    site.started(TWO_WAVES)

    def fill_and_pause() -> None:
        fill_the_controller(site)
        site.pause()

    site.runner.during("w1.b1.protect", fill_and_pause)
    assert site.carry().state is ChangeState.PAUSED
    assert site.clock.at < SLOT.cutoff
    assert set(site.statuses.values()) == {"pending"}
    assert site.tags[-1] == "paused"


def ask_for_a_lockdown(site: FakeSite) -> None:
    lockdown.begin("power is unstable", OMAR, site.ledger)


@pytest.mark.parametrize("ask", [FakeSite.pause, FakeSite.cancel, ask_for_a_lockdown])
def test_shard_that_stands_in_line_does_not_begin_when_somebody_asks_for_an_end(
    site: FakeSite, monkeypatch: pytest.MonkeyPatch, ask: Callable[[FakeSite], object]
) -> None:
    monkeypatch.setattr(sharding, "SHARD", 2)
    site.started()
    site.runner.during("w1.b1.s1.patch", lambda: ask(site))
    site.carry()
    assert site.versions == HALF
    assert {site.statuses[name] for name in ("web3", "web4")} == {"pending"}
    assert [site.machines[name].journal for name in ("web3", "web4")] == [[], []]
    assert not {"web3", "web4"} & {host for hosts in site.probe.looked for host in hosts}


@pytest.mark.parametrize("step", ["protect", "patch"])
def test_change_goes_on_in_the_next_window_with_the_same_approval(site: FakeSite, step: str) -> None:
    site.started(TWO_WAVES)
    site.runner.during(f"w1.b1.{step}", lambda: at_cutoff(site))
    site.carry()
    votes, digest = site.change.votes, site.change.plan_digest
    next_night(site)
    site.resume()
    assert site.carry().state is ChangeState.SUCCEEDED
    assert (site.change.votes, site.change.plan_digest) == (votes, digest)
    assert [machine.patched for machine in site.production.values()] == [1, 1, 1, 1]
    assert site.tags.count("approved") == 1


def test_change_is_not_resumed_outside_its_window(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.during("w1.b1.patch", lambda: at_cutoff(site))
    site.carry()
    site.clock.at = SLOT.end
    with pytest.raises(Refused, match="may run from"):
        site.resume()


def test_host_that_does_not_fit_waits_and_the_others_go(site: FakeSite) -> None:
    site.submit()
    three_hours = Durations(patch=timedelta(hours=3), reboot=timedelta(0), verify=timedelta(0), rollback=timedelta(0))
    with site.store.begin() as writing:
        for night in range(5):
            writing.keep_durations(f"CHG-9{night}", "web2", Environment.PRODUCTION, three_hours, site.clock.now())
    site.stage()
    site.vote()
    site.schedule()
    site.clock.at = SLOT.start + timedelta(minutes=90)
    site.start()
    assert site.carry().state is ChangeState.PAUSED
    assert site.statuses == {"web1": "done", "web2": "pending", "web3": "done", "web4": "done"}
    assert "the last safe start was" in str(site.last("cutoff").data["reason"])


def test_pause_takes_effect_between_two_batches_and_resume_goes_on(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.during("w1.b1.patch", site.pause)
    assert site.carry().state is ChangeState.PAUSED
    assert site.versions == HALF
    site.resume()
    assert site.carry().state is ChangeState.SUCCEEDED
    assert [machine.patched for machine in site.production.values()] == [1, 1, 1, 1]
    order = [tag for tag in site.tags if not tag.startswith(("host-", "staging-host"))]
    assert order[-5:] == ["started", "pause-requested", "paused", "resumed", "succeeded"]


def test_pause_while_hosts_are_only_protected_touches_none(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.during("w1.b1.protect", site.pause)
    assert site.carry().state is ChangeState.PAUSED
    assert set(site.versions.values()) == {OLD}
    site.resume()
    assert site.carry().state is ChangeState.SUCCEEDED
    assert [machine.patched for machine in site.production.values()] == [1, 1, 1, 1]


def test_host_that_changed_during_the_pause_is_looked_at_anew(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.during("w1.b1.protect", site.pause)
    site.carry()
    site.machines["web1"].set_to("1.1.1")
    site.resume()
    assert site.carry().state is ChangeState.SUCCEEDED
    assert site.runs["web1"].reason.startswith("dropped: ")
    assert site.machines["web1"].begun("patch") == 0


def test_soak_is_left_when_somebody_asks(site: FakeSite) -> None:
    site.started(spec(rollout=RolloutPolicy(canary=Amount(value=1), soak=timedelta(minutes=10))))
    site.when(SLOT.start + timedelta(minutes=5), site.pause)
    assert site.carry().state is ChangeState.PAUSED
    assert site.clock.now() < SLOT.start + timedelta(minutes=6)
    site.resume()
    assert site.carry().state is ChangeState.SUCCEEDED
    assert site.clock.now() >= SLOT.start + timedelta(minutes=10)


def test_cancelled_run_stops_between_two_batches(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.during("w1.b1.patch", site.cancel)
    assert site.carry().state is ChangeState.FAILED
    assert site.versions == HALF
    assert site.machines["web3"].journal == []
    assert site.change.issues == ("stopped by a person",)
    assert [machine.claim for machine in site.production.values()] == ["", "", "", ""]


def test_cancelled_run_that_touched_nothing_is_cancelled(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.during("w1.b1.protect", site.cancel)
    assert site.carry().state is ChangeState.CANCELLED
    assert set(site.versions.values()) == {OLD}
    assert site.machines["web1"].claim == ""
    assert list(site.store.leases()) == []


def test_run_that_is_to_be_rolled_back_goes_back_whole(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.during("w1.b1.patch", lambda: site.cancel(roll_back=True))
    assert site.carry().state is ChangeState.ROLLED_BACK
    assert set(site.versions.values()) == {OLD}
    assert site.statuses == {"web1": "restored", "web2": "restored", "web3": "skipped", "web4": "skipped"}
    assert [tag for tag in site.tags if tag.startswith("roll")] == [
        "rollback-requested", "rollback-started", "rolled-back",
    ]  # fmt: skip


@pytest.mark.parametrize("state", ["requested", "staged", "approved", "scheduled"])
def test_change_is_cancelled_before_its_run(site: FakeSite, state: str) -> None:
    site.submit()
    steps = {"staged": site.stage, "approved": site.vote, "scheduled": site.schedule}
    for name, step in steps.items():
        if site.change.state.value == state:
            break
        step()
        assert site.change.state.value == name
    assert site.cancel().state is ChangeState.CANCELLED
    with pytest.raises(Refused):
        site.start()


def test_paused_run_that_is_cancelled_lets_its_hosts_go(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.during("w1.b1.patch", site.pause)
    site.carry()
    assert site.cancel().state is ChangeState.FAILED
    assert site.versions == HALF
    assert [machine.claim for machine in site.production.values()] == ["", "", "", ""]
    assert list(site.store.leases()) == []


def test_paused_run_that_touched_nothing_is_cancelled(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.during("w1.b1.protect", site.pause)
    site.carry()
    assert site.cancel().state is ChangeState.CANCELLED
    assert site.machines["web1"].claim == ""


def test_paused_run_is_rolled_back(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.during("w1.b1.patch", site.pause)
    site.carry()
    site.cancel(roll_back=True)
    assert site.carry().state is ChangeState.ROLLED_BACK
    assert set(site.versions.values()) == {OLD}


def test_word_given_while_the_run_ends_does_not_break_it(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.during(".release", site.pause)
    site.carry()
    if site.change.state is ChangeState.PAUSED:
        site.resume()
        site.carry()
    assert site.change.state is ChangeState.SUCCEEDED
    assert [machine.patched for machine in site.production.values()] == [1, 1, 1, 1]


def test_drift_in_the_soak_is_not_missed(site: FakeSite) -> None:
    site.started(spec(rollout=RolloutPolicy(canary=Amount(value=1), soak=timedelta(minutes=10))))
    site.when(SLOT.start + timedelta(minutes=5), lambda: site.content.files.update({"playbooks/patch.yml": "other"}))
    assert site.carry().state is ChangeState.PAUSED
    assert site.versions == {"web1": NEW, "web2": OLD, "web3": OLD, "web4": OLD}


def test_window_that_passed_unused_is_lost_and_the_change_is_not_started(site: FakeSite) -> None:
    site.scheduled()
    site.clock.at = SLOT.end
    with pytest.raises(Refused, match="it was not started"):
        site.start()
    assert (site.change.state, site.change.slot, site.tags[-1]) == (ChangeState.APPROVED, None, "window-lost")


@pytest.mark.parametrize(
    ("step", "installed"),
    [("scan-staging", OLD), ("download", OLD), ("s1.protect", OLD), ("s1.patch", NEW), ("s1.restore", OLD)],
)
def test_staging_is_cancelled_between_two_steps(site: FakeSite, step: str, installed: str) -> None:
    site.submit()
    staging.begin(site.id, OMAR, site.crew)
    site.runner.during(step, site.cancel)
    assert staging_ends(site) is ChangeState.CANCELLED
    assert site.machines["stage1"].version == installed
    assert list(site.store.leases()) == []
    assert site.tags[-1] == "cancelled"
    if site.held_points():
        assert closing.give_up_points(site.change, site.crew) == []
    assert (site.machines["stage1"].version, site.held_points()) == (OLD, [])


@pytest.mark.parametrize("crash", [False, True], ids=["in a lockdown", "after a crash"])
def test_staging_that_is_cancelled_while_nobody_rehearses_leaves_no_claim(site: FakeSite, *, crash: bool) -> None:
    site.submit()
    staging.begin(site.id, OMAR, site.crew)
    if crash:
        site.runner.kill_caller(4, When.BEFORE)
        with pytest.raises(Killed):
            site.carry()
        assert site.machines["stage1"].claim == site.id
        site.cancel()
    else:
        site.runner.during("s1.patch", lambda: ask_for_a_lockdown(site))
        site.when(site.clock.at + timedelta(hours=1), site.cancel)
    assert site.carry().state is ChangeState.CANCELLED
    assert site.machines["stage1"].claim == ""
    assert list(site.store.leases()) == []


def staging_ends(site: FakeSite) -> ChangeState:
    """Carry staging to its end as its carrier does, which looks again where a person has asked for something."""
    return carry(site.id, site.crew).state


@pytest.mark.xfail(raises=Refused, reason="scheduling.schedule knows the one start of the request only")
def test_paused_change_is_given_the_next_window(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.during("w1.b1.patch", lambda: at_cutoff(site))
    site.carry()
    site.clock.at = SLOT.end
    site.schedule()
    assert site.change.reserved.start > SLOT.end
