"""A scheduled change begins when its window opens, with nobody there."""

from __future__ import annotations

import logging
from datetime import timedelta
from itertools import pairwise

import pytest

from orchestrator.domain.change import ChangeState
from orchestrator.flow import lockdown
from orchestrator.flow.due import FIRST_PAUSE, LONGEST_PAUSE, Scheduler
from tests.fakes.site import OMAR, FakeSite
from tests.fakes.values import SLOT

SECOND = timedelta(seconds=1)


def scheduler(site: FakeSite) -> Scheduler:
    return Scheduler(site.crew, site.desk)


def test_change_is_started_when_its_window_opens_and_not_before(site: FakeSite) -> None:
    site.scheduled()
    looking = scheduler(site)
    site.clock.at = SLOT.start - SECOND
    assert looking.look() == []
    assert site.tags[-1] == "scheduled"
    site.clock.at = SLOT.start
    assert looking.look() == [site.id]
    assert site.change.state is ChangeState.RUNNING
    assert site.last("started").actor == "orchestrator"
    assert set(site.statuses.values()) == {"pending"}
    assert looking.look() == []


def test_change_whose_window_passed_unused_is_not_started(site: FakeSite) -> None:
    site.scheduled()
    site.clock.at = SLOT.end
    assert scheduler(site).look() == []
    assert (site.change.state, site.change.slot) == (ChangeState.APPROVED, None)
    assert site.tags[-1] == "window-lost"
    assert not site.runs


def test_change_that_cannot_be_started_says_once_why_and_is_tried_again(
    site: FakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    site.scheduled()
    looking = scheduler(site)
    lockdown.begin("the storage is being moved", OMAR, site.ledger)
    site.clock.at = SLOT.start
    with caplog.at_level(logging.WARNING, logger="orchestrator"):
        for _ in range(120):
            assert looking.look() == []
            site.clock.at += SECOND
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        f"{site.id} is due and cannot be started"
    ]
    assert site.change.state is ChangeState.SCHEDULED
    assert site.tags.count("not-started") == 1
    assert "the storage is being moved" in str(site.last("not-started").data["reason"])
    lockdown.lift("it was moved", OMAR, site.ledger)
    site.clock.at += LONGEST_PAUSE
    assert looking.look() == [site.id]


def test_votes_that_nobody_signed_start_nothing_and_are_tried_ever_more_seldom(site: FakeSite) -> None:
    site.scheduled()
    looking = scheduler(site)
    site.signers.forged = True
    site.clock.at = SLOT.start
    while site.clock.at < SLOT.start + timedelta(minutes=10):
        assert looking.look() == []
        site.clock.at += SECOND
    tried = [event.at for event in site.trail if event.tag == "vote-not-genuine"]
    pauses = [after - before for before, after in pairwise(tried)]
    assert (pauses[0], pauses[-1]) == (FIRST_PAUSE, LONGEST_PAUSE)
    assert pauses == sorted(pauses)
    assert "is not good" in str(site.last("not-started").data["reason"])
    assert site.tags.count("not-started") == 1


def test_change_that_somebody_else_started_is_no_failure_of_its_own(site: FakeSite) -> None:
    """Two controllers look at the same moment; one of them comes first."""
    site.scheduled()
    first, second = scheduler(site), scheduler(site)
    site.clock.at = SLOT.start
    site.content.before_reading(first.look)
    assert second.look() == []
    assert site.change.state is ChangeState.RUNNING
    assert site.tags.count("started") == 1
    assert "not-started" not in site.tags


def test_change_that_waits_for_hosts_of_another_starts_when_they_are_free(site: FakeSite) -> None:
    site.scheduled()
    looking = scheduler(site)
    with site.store.begin() as writing:
        writing.lease(["web2"], "CHG-0099", now=SLOT.start, hold=timedelta(hours=1))
    site.clock.at = SLOT.start
    assert looking.look() == []
    assert "CHG-0099" in str(site.last("not-started").data["reason"])
    with site.store.begin() as writing:
        writing.free("CHG-0099")
    site.clock.at += FIRST_PAUSE
    assert looking.look() == [site.id]
