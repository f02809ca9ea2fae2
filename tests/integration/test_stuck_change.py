"""A change that cannot be carried on by itself is left where it is, with the reason, until a person takes it up.

One change; the tests stand in the order of its life.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.domain.change import ChangeState
from tests.commands import Site

#: Long enough for a worker to have looked for changes that nobody has in hand.
AWHILE = ("worker", "--until-idle", "2")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site.found(tmp_path_factory.mktemp("stuck"))


def tags(site: Site, change: str) -> list[str]:
    return [event.tag for event in site.store.trail(change)][1:]


@pytest.fixture(scope="module")
def stuck(site: Site) -> str:
    """A change that is running, and has no plan: somebody restored half a database, say."""
    change = site.open(state=ChangeState.RUNNING).id
    site.give(*AWHILE)
    return change


def test_reason_is_in_its_trail_and_it_stays_as_it_is(site: Site, stuck: str) -> None:
    assert tags(site, stuck) == ["carrying-stopped"]
    assert "has no plan" in str(site.store.trail(stuck)[-1].data["reason"])
    assert site.store.change(stuck).state is ChangeState.RUNNING


def test_status_and_show_tell_who_is_needed_and_why(site: Site, stuck: str) -> None:
    told = site.give("status", COLUMNS="250").out
    assert "nobody carries it" in told
    assert f"orchestrator change resume {stuck} --yes" in told
    assert "has no plan" in site.give("change", "show", stuck, COLUMNS="250").out
    shown = site.give("change", "show", stuck, "--json").json
    assert (shown["carried"], "has no plan" in shown["stopped"]) == (False, True)
    assert "orchestrator_changes_unattended 1.0" in site.give("metrics").out


def test_next_worker_leaves_it_alone(site: Site, stuck: str) -> None:
    site.give(*AWHILE)
    assert tags(site, stuck) == ["carrying-stopped"]


def test_person_takes_it_up_and_is_in_the_trail_for_it(site: Site, stuck: str) -> None:
    site.give("change", "resume", stuck, "--yes", "--detach")
    site.give(*AWHILE)
    assert tags(site, stuck) == ["carrying-stopped", "taken-up", "carrying-stopped"]
    (taken,) = [event for event in site.store.trail(stuck) if event.tag == "taken-up"]
    assert taken.actor == "olga"
    assert "has no plan" in str(taken.data["stopped_by"])


def test_attempt_that_the_engine_has_given_up_is_left_for_a_person_as_well(tmp_path: Path) -> None:
    site = Site.found(tmp_path)
    change = site.open(state=ChangeState.RUNNING)
    queue = site.wired.ledger.queue
    assert queue is not None
    queue.ready()
    with site.store.begin() as writing:
        queue.enqueue(change, writing)
    # As it does with work that was taken up again and again, and never came to its end.
    with closing(sqlite3.connect(site.state / "orchestrator.db")) as database, database:
        assert database.execute("UPDATE workflow_status SET status = 'MAX_RECOVERY_ATTEMPTS_EXCEEDED'").rowcount == 1
    site.give(*AWHILE)
    assert tags(site, change.id) == ["carrying-stopped"]
    assert "the engine ended it as MAX_RECOVERY" in str(site.store.trail(change.id)[-1].data["reason"])
