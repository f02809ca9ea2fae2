"""A change walks from request to close, and every step is in its trail."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.change import ChangeState, CloseCode
from orchestrator.domain.identity import ORCHESTRATOR
from orchestrator.domain.inventory import Environment
from orchestrator.domain.job import Job
from orchestrator.domain.lifecycle import ChangeEvent
from orchestrator.domain.rollout import Amount, RolloutPolicy
from orchestrator.errors import IllegalMove, NotPermitted, Refused
from orchestrator.flow import evidencing
from orchestrator.flow.soaking import soak_left
from tests.fakes.machines import counter_of
from tests.fakes.outside import FakeNotary
from tests.fakes.site import OMAR, FakeSite
from tests.fakes.values import NEW, OLD, SLOT, spec

ONE_BY_ONE = RolloutPolicy(
    canary=Amount(value=1), wave=Amount(value=2), batch=Amount(value=1), soak=timedelta(minutes=10)
)
OF_HOSTS = ("host-", "staging-host-", "point-")


def test_change_that_goes_well_walks_to_closed(site: FakeSite) -> None:
    site.ran()
    assert site.change.state is ChangeState.SUCCEEDED
    assert set(site.versions.values()) == {NEW}
    closed = site.close()
    assert (closed.state, closed.close_code) == (ChangeState.CLOSED, CloseCode.SUCCESSFUL)
    assert [tag for tag in site.tags if not tag.startswith(OF_HOSTS)] == [
        "requested", "staging-started", "staged", "voted", "approved", "scheduled", "started", "succeeded", "closed",
    ]  # fmt: skip


def test_every_host_and_every_phase_is_in_the_trail(site: FakeSite) -> None:
    site.ran()
    assert site.told("host-done") == ["web1", "web2", "web3", "web4"]
    phases = [(e.data["step"], e.data["hosts"]) for e in site.trail if e.tag == "phase-finished"]
    assert phases[-3:] == [("protect", 4), ("patch", 4), ("release", 4)]


def test_waves_and_batches_go_one_after_the_other(site: FakeSite) -> None:
    site.ran(spec(rollout=ONE_BY_ONE))
    assert site.runner.jobs("patch.yml") == [("web1",), ("web2",), ("web3",), ("web4",)]
    assert [(run.wave, run.batch) for run in site.runs.values()] == [(1, 1), (2, 1), (2, 2), (3, 1)]
    assert site.runner.tokens() == sorted(site.runner.tokens())


def test_canary_soaks_before_the_others_follow(site: FakeSite) -> None:
    site.ran(spec(rollout=ONE_BY_ONE))
    assert site.clock.slept >= 600
    looks = site.runner.jobs("verify.yml")
    assert looks == [("web1",)]
    order = [job.playbook for job in site.runner.begun if job.id.split(".")[1].startswith("l")]
    assert order.index("verify.yml") == order.index("patch.yml") + 1


def test_time_that_is_left_of_a_soak_can_be_told(site: FakeSite) -> None:
    told: dict[str, timedelta | None] = {}

    def ask(when: str) -> None:
        told[when] = soak_left(site.change, site.ledger)

    site.runner.during("w1.b1.patch", lambda: ask("patch"))
    site.when(SLOT.start + timedelta(minutes=5), lambda: ask("soak"))
    site.runner.during("w2.b1.patch", lambda: ask("second wave"))
    site.ran(spec(rollout=ONE_BY_ONE))
    assert told["patch"] is None
    assert told["second wave"] is None
    assert told["soak"]
    assert timedelta(minutes=4) < told["soak"] < timedelta(minutes=10)


def test_kit_is_written_before_the_first_host_is_touched(site: FakeSite) -> None:
    site.ran()
    first = next(at for at, what in enumerate(site.log) if what.endswith("l1.w1.b1.protect"))
    assert "kit" in site.log[:first]
    assert ("web1", "web2", "web3", "web4") in site.kit.written


def test_kit_shows_every_host_the_newest_token_before_the_host_sees_it(site: FakeSite) -> None:
    def compare(job: Job) -> None:
        if job.environment is Environment.PRODUCTION:
            behind.extend(one.host for one in job.hosts if site.kit.tokens.get(one.host, 0) < counter_of(one.patch_job))

    behind: list[str] = []
    site.runner.watch = compare
    site.ran(spec(rollout=ONE_BY_ONE))
    site.roll_back()
    site.carry()
    assert behind == []
    assert min(site.kit.tokens.values()) > 0


def test_host_that_needs_a_reboot_gets_one(site: FakeSite) -> None:
    site.machines["web2"].needs_reboot = True
    site.ran()
    assert [machine.boots for machine in site.production.values()] == [1, 2, 1, 1]


def test_what_was_held_is_given_back_and_the_points_stay(site: FakeSite) -> None:
    site.ran()
    assert [machine.claim for machine in site.production.values()] == [""] * 4
    assert list(site.machines["web1"].points) == [site.id]
    assert "web1" in site.held_points()
    assert list(site.store.leases()) == []


def test_same_source_twice_is_the_same_change(site: FakeSite) -> None:
    first = site.submit()
    assert site.submit() == first
    assert len(site.store.changes()) == 1


def test_source_of_a_change_that_has_ended_may_be_asked_for_anew(site: FakeSite) -> None:
    site.submit()
    site.cancel()
    assert site.submit().id == "CHG-0002"


def test_window_that_has_passed_cannot_be_asked_for(site: FakeSite) -> None:
    site.clock.at = SLOT.end
    with pytest.raises(Refused, match="window ended"):
        site.submit()
    assert list(site.store.changes()) == []


def test_request_is_signed_by_who_asks(site: FakeSite) -> None:
    change = site.submit()
    assert (change.requester, change.requested.statement.signer) == ("anna", "anna")
    assert change.requested.statement.digest == "5e" * 32
    assert site.trail[0].origin == "anna@desk"


@pytest.mark.parametrize("name", ["ben", "nobody"])
def test_who_may_not_ask_is_told_so(site: FakeSite, name: str) -> None:
    with pytest.raises(NotPermitted):
        site.submit(by=name)
    assert list(site.store.changes()) == []


def test_signature_that_is_not_good_is_refused(site: FakeSite) -> None:
    site.signers.forged = True
    with pytest.raises(NotPermitted, match="not good for anna"):
        site.submit()
    assert list(site.store.changes()) == []


def test_nothing_is_started_outside_its_window(site: FakeSite) -> None:
    site.scheduled()
    for outside in (SLOT.start - timedelta(seconds=1), SLOT.end):
        site.clock.at = outside
        with pytest.raises(Refused, match="may run from"):
            site.ledger.record(site.change, ChangeEvent.STARTED, actor=ORCHESTRATOR)
    assert set(site.versions.values()) == {OLD}


def test_nothing_is_started_twice(site: FakeSite) -> None:
    site.started()
    with pytest.raises(IllegalMove):
        site.start()
    assert site.tags.count("started") == 1


def test_change_too_long_for_its_window_is_not_scheduled(site: FakeSite) -> None:
    site.staged()
    site.vote()
    site.clock.at = SLOT.cutoff
    with pytest.raises(Refused, match="does not fit its window"):
        site.schedule()
    assert site.change.state is ChangeState.APPROVED


def test_change_whose_hosts_another_one_holds_is_not_started_and_says_who(site: FakeSite) -> None:
    site.scheduled()
    with site.store.begin() as writing:
        writing.lease(["web3"], "CHG-0999", now=SLOT.start, hold=timedelta(hours=1))
    with pytest.raises(Refused, match="web3 by CHG-0999"):
        site.start()
    assert site.change.state is ChangeState.SCHEDULED
    assert site.tags[-1] == "scheduled"
    assert site.runs == {}


def test_two_changes_never_work_on_two_members_of_one_cluster(site: FakeSite) -> None:
    site.inventory.change("web1", lambda host: replace(host, cluster="db"))
    site.scheduled()
    with site.store.begin() as writing:
        writing.lease(["db7", "cluster:db"], "CHG-0999", now=SLOT.start, hold=timedelta(hours=1))
    with pytest.raises(Refused, match="cluster:db by CHG-0999"):
        site.start()
    with site.store.begin() as writing:
        writing.free("CHG-0999")
    site.start()
    assert "cluster:db" in [lease.host for lease in site.store.leases()]
    assert site.carry().state is ChangeState.SUCCEEDED
    assert site.store.leases() == []


def test_paused_change_whose_hosts_were_taken_meanwhile_is_not_resumed(site: FakeSite) -> None:
    site.started()
    site.pause()
    site.carry()
    with site.store.begin() as writing:
        writing.free(site.id)
        writing.lease(["web3"], "CHG-0999", now=site.clock.now(), hold=timedelta(hours=1))
    with pytest.raises(Refused, match="web3 by CHG-0999"):
        site.resume()
    assert site.change.state is ChangeState.PAUSED


def test_evidence_holds_what_the_trail_says(site: FakeSite) -> None:
    site.ran()
    notary = FakeNotary()
    evidencing.export(site.id, site.kit.folder / "bundle", OMAR, site.kit.folder, ledger=site.ledger, notary=notary)
    (contents,) = notary.bundles
    assert contents.plan == site.store.plan(site.change.plan_digest)
    assert [person.name for person in contents.people] == ["anna", "ben"]
    assert contents.packages_before["web1"] != contents.packages_after["web1"]
    assert contents.checkpoint.count == len(contents.trail) == len(site.trail)
    assert len(notary.published) == 1


def test_staging_again_voids_the_votes(site: FakeSite) -> None:
    site.staged()
    site.vote()
    site.stage()
    assert (site.change.state, site.change.votes) == (ChangeState.STAGED, ())
    with pytest.raises(IllegalMove):
        site.schedule()


def test_what_ansible_did_is_found_again_by_host(site: FakeSite) -> None:
    site.ran()
    found = site.store.tasks(site.id, "web1")
    jobs = {task.job.rpartition(".")[2]: task.outcome for task in found}
    assert jobs == dict.fromkeys(("scan-production", "protect", "patch", "release"), "ok")
