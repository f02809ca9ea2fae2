"""A change walks from request to close, and every step is in its trail."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.domain.change import ChangeState, CloseCode
from orchestrator.domain.rollout import Amount, RolloutPolicy
from tests.fakes.site import FakeSite
from tests.fakes.values import NEW, OLD, spec

HALVES = RolloutPolicy(canary=Amount(value=1), wave=Amount(value=2), batch=Amount(value=1), soak=timedelta(minutes=10))


def test_change_that_goes_well_walks_to_closed(site: FakeSite) -> None:
    site.ran()
    assert site.change.state is ChangeState.SUCCEEDED
    assert set(site.versions.values()) == {NEW}
    closed = site.close()
    assert (closed.state, closed.close_code) == (ChangeState.CLOSED, CloseCode.SUCCESSFUL)
    assert [tag for tag in site.tags if not tag.startswith(("host-", "staging-host-", "point-"))] == [
        "requested", "staging-started", "staged", "voted", "approved", "scheduled", "started", "succeeded", "closed",
    ]  # fmt: skip
