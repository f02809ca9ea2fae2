"""What Windows hosts do differently on their way through a change, and that the way is the same."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.domain.change import ChangeState
from orchestrator.domain.rollback import RollbackClass
from orchestrator.domain.rollout import Amount, RolloutPolicy
from tests.fakes.site import FakeSite
from tests.fakes.values import SLOT, spec
from tests.unit.flow.conftest import NewSite
from tests.unit.flow.test_staging import plan_of


def test_item_without_bytes_needs_none_on_the_controller(site: FakeSite) -> None:
    for machine in site.machines.values():
        machine.bytes_here = True
    site.ran()
    assert site.change.state is ChangeState.SUCCEEDED
    assert plan_of(site).lock.files == {}


def test_what_cannot_be_removed_is_proved_without_a_restore_and_needs_an_answer(new_site: NewSite) -> None:
    site = new_site(web=2)
    for name in ("stage1", "web2"):
        site.machines[name].stays, site.machines[name].point_class = {"openssl"}, "none"
    site.staged()
    assert "not rehearsed" in str(site.last("staging-host-passed").data["restore"])
    (left,) = plan_of(site).not_included
    assert (left.host, "waive CHG-0001 rollback:web2" in left.reason) == ("web2", True)
    assert plan_of(site).host("web1").rollback_class is RollbackClass.PACKAGE


def test_update_that_was_superseded_is_a_warning_and_no_failure(site: FakeSite) -> None:
    site.staged()
    site.machines["web1"].superseded = {"openssl"}
    site.vote()
    site.schedule()
    site.start()
    site.carry()
    assert site.statuses["web1"] == "done"
    assert any("left out, it was on offer no more: openssl" in one for one in site.runs["web1"].warnings)


OLD_ERROR, NEW_ERROR = "Disk 11: Controller error.", "Service Control Manager 7000: App failed to start."


@pytest.fixture
def logging_site(site: FakeSite) -> FakeSite:
    """A site whose hosts keep event logs, with an old error in each."""
    for machine in site.machines.values():
        machine.errors = [OLD_ERROR]
    return site


def test_new_error_in_the_event_log_is_a_warning_of_the_record_and_no_failure(logging_site: FakeSite) -> None:
    site = logging_site
    site.machines["web2"].errors_of_patch = (NEW_ERROR,)
    site.ran()
    assert (site.change.state, site.statuses["web2"]) == (ChangeState.SUCCEEDED, "done")
    assert site.runs["web2"].warnings == (f"event-log: new errors: {NEW_ERROR}",)
    assert site.change.issues == (f"web2: event-log: new errors: {NEW_ERROR}",)
    (told,) = [event for event in site.trail if event.tag == "host-done" and event.data.get("findings")]
    assert (told.data["host"], told.data["findings"]) == ("web2", [f"event-log: new errors: {NEW_ERROR}"])
    assert "'passed': False" in str(site.store.documents(site.id, "health")["web2"])
    assert "'passed': False" not in str(site.store.documents(site.id, "health")["web1"])


def test_new_error_on_a_staging_host_is_told_to_those_who_approve(logging_site: FakeSite) -> None:
    site = logging_site
    site.machines["stage1"].errors_of_patch = (NEW_ERROR,)
    site.staged()
    assert site.last("staging-host-passed").data["findings"] == [f"event-log: new errors: {NEW_ERROR} (2 times)"]


def test_canary_whose_event_log_fills_while_it_soaks_is_told_and_the_others_follow(logging_site: FakeSite) -> None:
    site = logging_site
    site.started(spec(rollout=RolloutPolicy(canary=Amount(value=1), wave=Amount(value=3), soak=timedelta(minutes=15))))
    errors = site.machines["web1"].errors
    assert errors is not None
    site.when(SLOT.start + timedelta(minutes=10), lambda: errors.append(NEW_ERROR))
    assert site.carry().state is ChangeState.SUCCEEDED
    assert site.runs["web1"].warnings == (f"after the soak: event-log: new errors: {NEW_ERROR}",)
    assert set(site.statuses.values()) == {"done"}
