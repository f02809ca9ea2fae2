"""The stop for everything: nothing starts, what runs holds at its next safe point, and going back still works."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.domain.change import ChangeState
from orchestrator.domain.rollout import Amount, RolloutPolicy
from orchestrator.errors import InvalidInput, Refused
from orchestrator.flow import lockdown
from tests.fakes.site import OMAR, FakeSite
from tests.fakes.values import NEW, OLD, spec
from tests.unit.flow.conftest import NewSite

TWO_WAVES = spec(rollout=RolloutPolicy(wave=Amount(value=2)))
FIRST_PATCH, SECOND_PROTECT = "w1.b1.patch", "w2.b1.protect"


def hold(site: FakeSite) -> None:
    lockdown.begin("power is unstable", OMAR, site.ledger)


def test_nothing_starts_while_everything_is_held(site: FakeSite) -> None:
    site.scheduled()
    hold(site)
    with pytest.raises(Refused, match="everything is held: power is unstable"):
        site.start()
    assert site.change.state is ChangeState.SCHEDULED
    lockdown.lift("power is back", OMAR, site.ledger)
    site.start()
    assert site.carry().state is ChangeState.SUCCEEDED


def test_run_holds_before_its_next_wave_and_goes_on_when_it_is_resumed(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.during(FIRST_PATCH, lambda: hold(site))
    assert site.carry().state is ChangeState.PAUSED
    assert site.statuses == {"web1": "done", "web2": "done", "web3": "pending", "web4": "pending"}
    assert site.last("paused").data["reason"] == "lockdown: power is unstable"
    with pytest.raises(Refused, match="everything is held"):
        site.resume()
    lockdown.lift("power is back", OMAR, site.ledger)
    site.resume()
    assert site.carry().state is ChangeState.SUCCEEDED
    assert [machine.begun("patch") for machine in site.production.values()] == [1, 1, 1, 1]


def test_hosts_that_were_only_protected_are_let_alone(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.during(SECOND_PROTECT, lambda: hold(site))
    assert site.carry().state is ChangeState.PAUSED
    assert [site.versions[name] for name in ("web2", "web3")] == [NEW, OLD]
    assert site.machines["web3"].begun("patch") == 0


def test_soak_ends_at_once_when_everything_is_held(site: FakeSite) -> None:
    canary = RolloutPolicy(canary=Amount(value=1), soak=timedelta(minutes=30))
    site.started(spec(rollout=canary))
    site.when(site.clock.at + timedelta(minutes=5), lambda: hold(site))
    assert site.carry().state is ChangeState.PAUSED
    assert [name for name, version in site.versions.items() if version == NEW] == ["web1"]


def test_staging_waits_until_it_is_lifted(new_site: NewSite) -> None:
    site = new_site()
    site.submit()
    site.runner.during("s1.protect", lambda: hold(site))
    lifted_at = site.clock.at + timedelta(hours=1)
    site.when(lifted_at, lambda: lockdown.lift("power is back", OMAR, site.ledger))
    assert site.stage().state is ChangeState.STAGED
    assert site.last("staged").at >= lifted_at


def test_putting_back_goes_on_while_everything_is_held(site: FakeSite) -> None:
    site.ran(TWO_WAVES)
    hold(site)
    site.roll_back()
    assert site.carry().state is ChangeState.ROLLED_BACK
    assert set(site.versions.values()) == {OLD}


def test_lockdown_is_in_the_trail_of_the_site_with_its_reason(site: FakeSite) -> None:
    with pytest.raises(InvalidInput, match="needs a reason"):
        lockdown.begin(" ", OMAR, site.ledger)
    with pytest.raises(Refused, match="no lockdown to lift"):
        lockdown.lift("", OMAR, site.ledger)
    hold(site)
    with pytest.raises(Refused, match="everything is held"):
        hold(site)
    lockdown.lift("power is back", OMAR, site.ledger)
    told = [(event.tag, event.actor, event.data["reason"]) for event in site.store.trail("site")]
    assert told == [("lockdown-begun", "omar", "power is unstable"), ("lockdown-lifted", "omar", "power is back")]
