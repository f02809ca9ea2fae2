"""What Windows hosts do differently on their way through a change, and that the way is the same."""

from __future__ import annotations

from orchestrator.domain.change import ChangeState
from orchestrator.domain.rollback import RollbackClass
from tests.fakes.site import FakeSite
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
