"""What is kept in the state folder is found with its change, and goes in one piece."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.adapters.ansible.content import SiteContent
from orchestrator.adapters.ansible.holdings import StateHoldings
from orchestrator.adapters.ansible.jobdir import JobDir
from orchestrator.adapters.ansible.packages import PackageStore
from orchestrator.domain.retention import Holding, HoldingKind
from orchestrator.errors import Refused, Unavailable


@pytest.fixture
def holdings(tmp_path: Path) -> StateHoldings:
    return StateHoldings(state=tmp_path, logs=tmp_path / "carriers")


def a_job(state: Path, name: str, *, change: str = "") -> JobDir:
    job = JobDir(state / "jobs" / name)
    job.create()
    job.events.write_text("{}\n" * 100)
    if change:
        job.order.write_text(json.dumps({"change": change}))
    return job


def only(holdings: StateHoldings) -> Holding:
    (found,) = holdings.kept()
    return found


def test_nothing_is_kept_where_there_is_nothing(holdings: StateHoldings) -> None:
    assert list(holdings.kept()) == []


def test_job_is_found_with_its_change_and_its_size(holdings: StateHoldings, tmp_path: Path) -> None:
    a_job(tmp_path, "CHG-0001.w1b1.patch", change="CHG-0001")
    found = only(holdings)
    assert (found.kind, found.name) == (HoldingKind.JOB, "CHG-0001.w1b1.patch")
    assert found.needed_by == {"CHG-0001"}
    assert found.size > 300


def test_job_without_its_order_is_known_by_its_name(holdings: StateHoldings, tmp_path: Path) -> None:
    a_job(tmp_path, "CHG-0002.s1.scan")
    assert only(holdings).needed_by == {"CHG-0002"}


def test_job_goes_whole(holdings: StateHoldings, tmp_path: Path) -> None:
    job = a_job(tmp_path, "CHG-0001.w1b1.patch")
    found = only(holdings)
    assert holdings.remove(found) == found.size
    assert not job.path.exists()
    assert list((tmp_path / "jobs").iterdir()) == []
    assert holdings.remove(found) == 0


def test_job_at_work_is_left_alone(holdings: StateHoldings, tmp_path: Path) -> None:
    job = a_job(tmp_path, "CHG-0001.w1b1.patch")
    job.begin({"pid": 1})
    with job.held():
        assert holdings.at_work() == ["CHG-0001.w1b1.patch"]
        with pytest.raises(Refused, match="still at work"):
            holdings.remove(only(holdings))
    assert job.events.exists()
    assert holdings.at_work() == []


def test_what_the_file_system_does_not_let_go_is_said(holdings: StateHoldings, tmp_path: Path) -> None:
    (tmp_path / "kits" / "CHG-0001").mkdir(parents=True)
    found = only(holdings)
    (tmp_path / "kits" / "CHG-0001").rmdir()
    (tmp_path / "kits" / "CHG-0001").write_text("no folder any more")
    with pytest.raises(Unavailable, match="the kit CHG-0001 cannot be removed"):
        holdings.remove(found)


def test_removal_that_was_interrupted_is_ended_by_the_next_look(holdings: StateHoldings, tmp_path: Path) -> None:
    left = tmp_path / "jobs" / ".going-CHG-0001.w1b1.patch.7"
    left.mkdir(parents=True)
    (left / "events.jsonl").write_text("{}")
    assert list(holdings.kept()) == []
    assert not left.exists()


def test_kit_belongs_to_its_change_and_the_log_of_workers_to_none(holdings: StateHoldings, tmp_path: Path) -> None:
    (tmp_path / "carriers").mkdir()
    (tmp_path / "carriers" / "worker.log").write_text("said")
    (tmp_path / "carriers" / "CHG-0001.lock").touch()
    (tmp_path / "kits" / "CHG-0001").mkdir(parents=True)
    found = {holding.kind: holding for holding in holdings.kept()}
    assert {kind: (holding.name, set(holding.needed_by)) for kind, holding in found.items()} == {
        HoldingKind.LOG: ("worker", set()), HoldingKind.KIT: ("CHG-0001", {"CHG-0001"}),
    }  # fmt: skip
    assert sum(holdings.remove(holding) for holding in found.values()) > 0
    assert [path.name for path in tmp_path.glob("*/*")] == ["CHG-0001.lock"]


def test_frozen_content_goes_though_it_is_read_only(holdings: StateHoldings, tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "playbooks").mkdir(parents=True)
    (site / "playbooks" / "patch.yml").write_text("[]")
    (site / "ansible.cfg").write_text("[defaults]\nroles_path = roles\n")
    keeper = SiteContent(site=site, state=tmp_path, site_key=b"k")
    content = keeper.read()
    keeper.freeze(content)
    found = only(holdings)
    assert (found.kind, found.name, found.needed_by) == (HoldingKind.CONTENT, content.digest, frozenset())
    assert holdings.remove(found) > 0
    assert list((tmp_path / "content").iterdir()) == []
    assert "there is no frozen copy" in keeper.frozen_is_whole(content.digest)


def test_package_goes_and_is_missing_then(holdings: StateHoldings, tmp_path: Path) -> None:
    file = tmp_path / "some.deb"
    file.write_text("deb")
    store = PackageStore(state=tmp_path)
    digest = store.adopt(file)
    found = only(holdings)
    assert (found.kind, found.name, found.size) == (HoldingKind.PACKAGE, digest, 3)
    assert holdings.remove(found) == 3
    assert store.missing([digest]) == [digest]
