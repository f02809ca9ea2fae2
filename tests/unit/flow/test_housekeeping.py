"""Housekeeping: what goes is said before it goes, and the evidence still holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from orchestrator.domain.audit import SITE, broken_at
from orchestrator.domain.canonical import Plain
from orchestrator.domain.identity import ORCHESTRATOR
from orchestrator.domain.retention import Holding, HoldingKind, RetentionPolicy, removed
from orchestrator.errors import Refused, Unavailable
from orchestrator.flow import closing, evidencing, housekeeping, staging
from orchestrator.flow.housekeeping import Tidied
from tests.fakes.machines import Fault
from tests.fakes.outside import FakeNotary
from tests.fakes.site import OMAR, FakeSite
from tests.fakes.values import OLD
from tests.unit.flow.test_closing import ONE_MAY_FAIL

POLICY = RetentionPolicy(keep=timedelta(days=100), at_least=timedelta(days=10))
EVENTS, TASKS = "e1" * 32, "7a" * 32


@dataclass
class FakeHoldings:
    """Implements ``ports.Holdings``."""

    things: list[Holding] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    before_removal: Callable[[], object] = lambda: None

    def kept(self) -> Sequence[Holding]:
        """Return what is there."""
        return list(self.things)

    def remove(self, holding: Holding) -> int:
        """Remove it."""
        self.before_removal()
        self.things = [thing for thing in self.things if thing.name != holding.name]
        self.gone.append(holding.name)
        return holding.size


def thing(site: FakeSite, kind: HoldingKind, name: str, *needed_by: str) -> Holding:
    return Holding(kind=kind, name=name, size=10, at=site.clock.now(), needed_by=frozenset(needed_by))


def holdings_of(site: FakeSite) -> FakeHoldings:
    """Return what a change leaves: a job that its trail names, a kit, its content and its packages."""
    data: dict[str, Plain] = {"job": f"{site.id}.w1", "artifacts": {"events": EVENTS, "tasks": TASKS}}
    site.ledger.note(site.id, "phase-finished", actor=ORCHESTRATOR, outcome="finished", data=data)
    with site.store.begin() as writing:
        artifact: Plain = {"path": "jobs/x/events.jsonl.gz", "sha256": EVENTS, "size": 1, "kind": "events"}
        writing.keep_document(site.id, "job", f"{site.id}.w1", {"status": "finished", "artifacts": [artifact]})
    plan = site.store.plan(site.change.plan_digest)
    return FakeHoldings(
        [
            thing(site, HoldingKind.JOB, f"{site.id}.w1", site.id),
            thing(site, HoldingKind.KIT, "kit", site.id),
            thing(site, HoldingKind.CONTENT, plan.content.digest),
            *(thing(site, HoldingKind.PACKAGE, digest) for digest in plan.lock.files),
        ]
    )


def free(_change: str) -> AbstractContextManager[None]:
    return nullcontext()


def tidy(site: FakeSite, holdings: FakeHoldings, policy: RetentionPolicy = POLICY) -> Tidied:
    return housekeeping.tidy(OMAR, site.ledger, holdings, policy, hold=free)


def closed_now(site: FakeSite) -> FakeHoldings:
    site.ran()
    holdings = holdings_of(site)
    site.close()
    return holdings


def closed_long_ago(site: FakeSite) -> FakeHoldings:
    holdings = closed_now(site)
    site.clock.at += timedelta(days=101)
    return holdings


def test_what_an_old_change_left_goes(site: FakeSite) -> None:
    holdings = closed_long_ago(site)
    count = len(holdings.things)
    assert tidy(site, holdings).freed == 10 * count
    assert holdings.things == []


def test_trail_of_the_change_says_what_went_and_is_whole(site: FakeSite) -> None:
    tidy(site, closed_long_ago(site))
    event = site.last("task-events-removed")
    assert {EVENTS, TASKS} <= removed(site.trail)
    assert (event.actor, event.data["reason"]) == ("omar", "it ended 2026-11-21, 100 days are kept")


def test_chain_of_the_site_says_that_it_was_done(site: FakeSite) -> None:
    holdings = closed_long_ago(site)
    count = len(holdings.things)
    tidy(site, holdings)
    events = site.store.trail(SITE)
    assert broken_at(events) == ""
    assert [event.tag for event in events][-2:] == ["housekeeping-started", "housekeeping-done"]
    assert events[-2].data["counts"] == {"job": 1, "kit": 1, "content": 1, "package": count - 3}
    assert events[-1].data["bytes"] == 10 * count


def test_trail_is_written_before_anything_goes(site: FakeSite) -> None:
    holdings = closed_long_ago(site)
    told: list[frozenset[str]] = []
    holdings.before_removal = lambda: told.append(removed(site.trail))
    tidy(site, holdings)
    assert {EVENTS, TASKS} <= told[0]


def test_looking_changes_nothing(site: FakeSite) -> None:
    holdings = closed_long_ago(site)
    before = (list(holdings.things), site.store.heads())
    assert housekeeping.look(site.ledger, holdings, POLICY).size > 0
    assert (holdings.things, site.store.heads()) == before


def test_second_time_there_is_nothing_to_say(site: FakeSite) -> None:
    holdings = closed_long_ago(site)
    tidy(site, holdings)
    heads = site.store.heads()
    assert tidy(site, holdings).freed == 0
    assert site.store.heads() == heads


def test_after_a_crash_in_the_middle_the_rest_goes_and_is_said_once(site: FakeSite) -> None:
    holdings = closed_long_ago(site)

    def crash() -> None:
        raise RuntimeError("killed")

    holdings.before_removal = crash
    with pytest.raises(RuntimeError, match="killed"):
        tidy(site, holdings)
    holdings.before_removal = lambda: None
    tidy(site, holdings)
    assert holdings.things == []
    assert site.tags.count("task-events-removed") == 1


def test_open_change_keeps_everything(site: FakeSite) -> None:
    site.ran()
    holdings = holdings_of(site)
    site.clock.at += timedelta(days=1000)
    assert tidy(site, holdings).freed == 0


def test_change_with_the_last_point_of_an_unknown_host_keeps_everything(site: FakeSite) -> None:
    site.machines["web2"].suffers("patch.yml", Fault.GONE)
    site.ran(ONE_MAY_FAIL)
    holdings = holdings_of(site)
    site.close()
    site.clock.at += timedelta(days=1000)
    done = tidy(site, holdings)
    assert (done.freed, dict(done.clearance.kept)) == (0, {site.id: "it holds 1 rollback points"})


def test_while_a_change_is_staged_no_content_and_no_package_goes(site: FakeSite) -> None:
    holdings, first = closed_now(site), site.id
    site.id = ""
    site.submit(source="file:2")
    staging.begin(site.id, OMAR, site.crew)
    site.clock.at += timedelta(days=101)
    tidy(site, holdings)
    assert holdings.gone == [f"{first}.w1", "kit"]


def test_package_that_another_open_change_needs_stays(site: FakeSite) -> None:
    holdings = closed_now(site)
    shared = next(h.name for h in holdings.things if h.kind is HoldingKind.PACKAGE)
    for machine in site.machines.values():
        machine.installed = dict.fromkeys(machine.installed, OLD)
    site.id = ""
    site.submit(source="file:2")
    site.stage()
    assert shared in site.store.plan(site.change.plan_digest).lock.files
    site.clock.at += timedelta(days=101)
    tidy(site, holdings)
    assert shared not in holdings.gone


def test_change_that_somebody_works_on_is_left_for_the_next_time(site: FakeSite) -> None:
    holdings = closed_long_ago(site)

    def busy(change: str) -> AbstractContextManager[None]:
        raise Refused(f"change {change} is being carried")

    done = housekeeping.tidy(OMAR, site.ledger, holdings, POLICY, hold=busy)
    assert (done.freed, holdings.gone) == (0, [])
    assert "being carried" in done.problems[0]


def test_thing_that_cannot_be_removed_does_not_stop_the_others(site: FakeSite) -> None:
    holdings = closed_long_ago(site)
    package = next(h for h in holdings.things if h.kind is HoldingKind.PACKAGE)

    def stuck() -> None:
        if len(holdings.gone) == 3:
            holdings.before_removal = lambda: None
            raise Unavailable("the package cannot be removed")

    holdings.before_removal = stuck
    done = tidy(site, holdings)
    assert done.problems == ("the package cannot be removed",)
    assert holdings.things == [package]
    assert site.store.trail(SITE)[-1].data["problems"] == ["the package cannot be removed"]


def test_bundle_exported_afterwards_leaves_out_what_was_removed(site: FakeSite) -> None:
    holdings = closed_long_ago(site)
    tidy(site, holdings)
    notary = FakeNotary()
    folder = site.kit.folder
    evidencing.export(site.id, folder / "b.tar.gz", OMAR, folder, ledger=site.ledger, notary=notary)
    (bundle,) = notary.bundles
    assert EVENTS not in [task.sha256 for task in bundle.tasks]
    assert EVENTS in removed(bundle.trail)
    assert not site.store.tasks(site.id)


def test_expired_points_are_found_and_given_up(site: FakeSite) -> None:
    site.ran()
    assert closing.expired_points(site.crew) == {}
    site.clock.at += timedelta(days=4)
    assert {p.host for p in closing.expired_points(site.crew)[site.id]} == {"stage1", "web1", "web2", "web3", "web4"}
    assert closing.give_up_points(site.change, site.crew, expired=True) == []
    assert site.held_points() == []
    assert sorted(map(str, site.told("point-released"))) == ["stage1", "web1", "web2", "web3", "web4"]


def test_points_that_still_last_are_not_given_up_as_expired(site: FakeSite) -> None:
    site.ran()
    closing.give_up_points(site.change, site.crew, expired=True)
    assert len(site.held_points()) == 5


def test_expired_point_of_a_failed_host_is_kept(site: FakeSite) -> None:
    site.machines["web2"].suffers("patch.yml", Fault.GONE)
    site.ran(ONE_MAY_FAIL)
    site.clock.at += timedelta(days=4)
    problems = closing.give_up_points(site.change, site.crew, expired=True)
    assert site.held_points() == ["web2"]
    assert problems == ["web2: the packages point is kept, the host ended unknown"]


def test_expired_points_of_a_change_under_way_are_not_offered(site: FakeSite) -> None:
    site.started()
    site.clock.at += timedelta(days=30)
    assert closing.expired_points(site.crew) == {}
