"""A full disk on the controller: nothing begins, what runs holds, and nothing is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.change import ChangeState
from orchestrator.domain.rollout import Amount, RolloutPolicy
from orchestrator.errors import Unavailable
from orchestrator.flow.room import LEAST
from tests.fakes.site import FakeSite
from tests.fakes.values import spec


def fill(site: FakeSite) -> None:
    site.crew = replace(site.crew, room=lambda: LEAST - 1)


def empty(site: FakeSite) -> None:
    site.crew = replace(site.crew, room=lambda: LEAST)


def test_nothing_begins_without_room_for_what_comes_of_it(site: FakeSite) -> None:
    site.submit()
    fill(site)
    with pytest.raises(Unavailable, match="499 MiB are free, 500 are needed"):
        site.stage()
    assert site.tags == ["requested"]
    empty(site)
    site.stage()
    site.vote()
    site.schedule()
    fill(site)
    with pytest.raises(Unavailable, match="disk is full"):
        site.start()
    assert site.change.state is ChangeState.SCHEDULED
    assert {lease.host for lease in site.store.leases()} == {"stage1"}


def test_run_holds_between_batches_when_the_disk_fills_up_and_goes_on_later(site: FakeSite) -> None:
    site.started(spec(rollout=RolloutPolicy(wave=Amount(value=2))))
    free = [LEAST]
    site.crew = replace(site.crew, room=lambda: free[0])
    site.runner.during("w1.b1.patch", lambda: free.__setitem__(0, 0))
    assert site.carry().state is ChangeState.PAUSED
    assert site.statuses == {"web1": "done", "web2": "done", "web3": "pending", "web4": "pending"}
    assert "disk is full" in str(site.last("paused").data["reason"])
    free[0] = LEAST
    site.resume()
    assert site.carry().state is ChangeState.SUCCEEDED
    assert [machine.begun("patch") for machine in site.production.values()] == [1, 1, 1, 1]
