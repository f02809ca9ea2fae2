"""The approved thing is the thing that runs: what drifted is noticed, and only that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.domain.change import ChangeState
from orchestrator.domain.inventory import Environment
from orchestrator.domain.rollout import Amount, RolloutPolicy
from orchestrator.errors import IllegalMove, Refused
from tests.fakes.site import FakeSite, a_host
from tests.fakes.values import NEW, NEWER, OLD, spec

TWO_WAVES = spec(rollout=RolloutPolicy(wave=Amount(value=2), max_unfit=Amount(value=4)))


def edit_playbook(site: FakeSite) -> None:
    site.content.files["playbooks/patch.yml"] = "edited"


def add_role(site: FakeSite) -> None:
    site.content.files["roles/extra/tasks/main.yml"] = "cc"


def edit_variables(site: FakeSite) -> None:
    site.inventory.change("web1", lambda host: replace(host, fingerprint="other"))


def damage_frozen_copy(site: FakeSite) -> None:
    site.content.damaged = "playbooks/patch.yml was changed"


def upgrade_installation(site: FakeSite) -> None:
    site.content.versions["legacy/ansible-core"] = "2.16.15"


VOIDING = [
    (edit_playbook, "playbooks/patch.yml was changed"),
    (add_role, "roles/extra/tasks/main.yml is new"),
    (edit_variables, "something else about web1"),
    (upgrade_installation, "legacy/ansible-core was 2.16.14 and is 2.16.15"),
    (damage_frozen_copy, "the frozen copy of the content was changed"),
]


@pytest.mark.parametrize(("drift", "difference"), VOIDING)
def test_drift_before_scheduling_voids_the_approval(
    site: FakeSite, drift: Callable[[FakeSite], None], difference: str
) -> None:
    site.content.versions["legacy/ansible-core"] = "2.16.14"
    site.staged()
    site.vote()
    drift(site)
    with pytest.raises(Refused, match="not what was approved"):
        site.schedule()
    assert (site.change.state, site.change.votes, site.change.plan_digest) == (ChangeState.REQUESTED, (), "")
    assert difference in str(site.last("drift-found").data["differences"])


@pytest.mark.parametrize(("drift", "difference"), VOIDING)
def test_drift_before_the_start_voids_the_approval(
    site: FakeSite, drift: Callable[[FakeSite], None], difference: str
) -> None:
    site.content.versions["legacy/ansible-core"] = "2.16.14"
    site.scheduled()
    drift(site)
    with pytest.raises(Refused, match="The approval is void"):
        site.start()
    assert (site.change.state, site.change.votes, site.change.slot) == (ChangeState.REQUESTED, (), None)
    assert difference in str(site.last("drift-found").data["differences"])
    assert set(site.versions.values()) == {OLD}


@pytest.mark.parametrize(("drift", "difference"), VOIDING)
def test_drift_during_the_run_pauses_before_the_next_wave_and_resume_is_refused(
    site: FakeSite, drift: Callable[[FakeSite], None], difference: str
) -> None:
    site.content.versions["legacy/ansible-core"] = "2.16.14"
    site.started(TWO_WAVES)
    site.runner.during("w1.b1.patch", lambda: drift(site))
    assert site.carry().state is ChangeState.PAUSED
    assert difference in site.change.drifted
    assert list(site.versions.values()) == [NEW, NEW, OLD, OLD]
    with pytest.raises(Refused, match="stopped by drift"):
        site.resume()
    assert site.tags[-1] == "drift-found"


def test_paused_run_that_drifted_is_not_resumed(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.during("w1.b1.patch", site.pause)
    site.carry()
    edit_playbook(site)
    with pytest.raises(Refused, match="stopped by drift"):
        site.resume()
    assert site.change.state is ChangeState.PAUSED


def test_run_that_drifted_can_be_rolled_back(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.during("w1.b1.patch", lambda: edit_playbook(site))
    site.carry()
    site.roll_back()
    assert site.carry().state is ChangeState.ROLLED_BACK
    assert set(site.versions.values()) == {OLD}


def test_host_that_vanished_is_dropped_and_recorded(site: FakeSite) -> None:
    site.scheduled()
    site.inventory.remove("web2")
    site.start()
    assert site.carry().state is ChangeState.SUCCEEDED
    assert site.statuses == {"web1": "done", "web2": "skipped", "web3": "done", "web4": "done"}
    assert site.last("host-skipped").data == {
        "host": "web2", "wave": 1, "touched": False, "reason": "no longer in the inventory",
    }  # fmt: skip
    assert site.versions["web2"] == OLD


def test_change_whose_hosts_all_vanished_ends_without_touching_any(site: FakeSite) -> None:
    site.scheduled()
    for name in ("web1", "web2", "web3", "web4"):
        site.inventory.remove(name)
    site.start()
    site.carry()
    assert set(site.statuses.values()) == {"skipped"}
    assert set(site.versions.values()) == {OLD}


def test_host_that_is_patched_already_is_dropped(site: FakeSite) -> None:
    site.started()
    site.machines["web3"].set_to(NEW)
    assert site.carry().state is ChangeState.SUCCEEDED
    assert site.runs["web3"].reason == "dropped: already at the locked versions"
    assert site.told("host-skipped") == ["web3"]
    assert site.machines["web3"].patched == 0


def test_host_that_is_at_another_version_is_dropped(site: FakeSite) -> None:
    site.started()
    site.machines["web3"].installed["openssl"] = "1.1.1"
    site.carry()
    assert site.runs["web3"].reason == f"dropped: openssl is 1.1.1, planned from {OLD}"
    assert site.versions == {"web1": NEW, "web2": NEW, "web3": "mixed", "web4": NEW}
    assert not site.runs["web3"].unfit


def test_host_that_is_new_in_the_group_is_not_in_this_change(site: FakeSite) -> None:
    site.scheduled()
    site.by_environment[Environment.PRODUCTION]["web9"] = site.machines["web1"]
    site.inventory.hosts[Environment.PRODUCTION].append(a_host("web9"))
    site.start()
    assert site.carry().state is ChangeState.SUCCEEDED
    assert "web9" not in site.statuses
    assert not [job for job in site.runner.jobs("patch.yml") if "web9" in job]


def test_newer_candidate_in_the_repository_changes_nothing(site: FakeSite) -> None:
    site.scheduled()
    for machine in site.production.values():
        machine.offers = {"openssl": [NEWER], "libssl3": [NEWER]}
    site.start()
    assert site.carry().state is ChangeState.SUCCEEDED
    assert set(site.versions.values()) == {NEW}
    assert site.change.issues == ()


def test_what_our_own_waves_did_is_no_drift(site: FakeSite) -> None:
    site.ran(TWO_WAVES)
    assert site.change.state is ChangeState.SUCCEEDED
    assert "drift-found" not in site.tags


def test_plan_that_was_voided_cannot_be_voted_on(site: FakeSite) -> None:
    site.scheduled()
    shown = site.change.plan_digest
    edit_playbook(site)
    with pytest.raises(Refused):
        site.start()
    with pytest.raises(IllegalMove):
        site.vote("cleo", shown=shown)
