"""`orchestrator housekeeping` on a real site: looking is the default, and evidence holds afterwards."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.domain.audit import SITE
from orchestrator.domain.rollback import RollbackClass, RollbackPoint
from tests.commands import NOW, Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site.found(tmp_path)


def test_without_the_word_it_only_shows_what_may_go(site: Site) -> None:
    old, young = site.cancelled(days_ago=500), site.cancelled(days_ago=50)
    said = site.give("housekeeping").out
    assert old in said
    assert young not in said
    assert "Nothing was done" in said
    assert site.give("housekeeping", "--json").json["changes"].keys() == {old}
    assert len(list((site.state / "jobs").iterdir())) == 2


def test_with_the_word_it_goes_and_both_chains_say_so(site: Site) -> None:
    old, young = site.cancelled(days_ago=500), site.cancelled(days_ago=50)
    told = site.give("housekeeping", "--yes", "--json").json
    assert told["freed"] == told["size"] > 0
    assert [path.name for path in (site.state / "jobs").iterdir()] == [f"{young}.s1.scan"]
    assert [event.tag for event in site.store.trail(old)][-1] == "task-events-removed"
    assert [event.tag for event in site.store.trail(SITE)][-2:] == ["housekeeping-started", "housekeeping-done"]
    assert "Nothing may go" in site.give("housekeeping", "--yes").out


def test_chains_and_a_bundle_exported_afterwards_are_whole(site: Site, tmp_path: Path) -> None:
    old = site.cancelled(days_ago=500)
    site.give("housekeeping", "--yes")
    site.give("audit", "verify")
    bundle = tmp_path / f"{old}.tar.gz"
    site.give("audit", "export", old, "--to", str(bundle))
    with tarfile.open(bundle) as archive:
        names = archive.getnames()
    assert "trail.jsonl" in names
    assert not [name for name in names if name.startswith("tasks/")]
    # The request of this test was signed by nobody, which is refused; of its task events nothing is.
    refused = site.give("audit", "verify", str(bundle), "--key", str(site.state / "signing-key.pub.pem"), code=8)
    assert "tasks:" not in refused.err


def test_a_smaller_size_takes_the_oldest_but_nothing_young(site: Site) -> None:
    site.set('[retention]\nsize = "1MiB"\n')
    older, young = site.cancelled(days_ago=200), site.cancelled(days_ago=20)
    for change in (older, young):
        (site.state / "jobs" / f"{change}.s1.scan" / "stdout.log").write_bytes(bytes(1 << 20))
    done = site.give("housekeeping", "--yes")
    assert "more is kept than 1 MiB" in done.out
    assert "more than retention.size" in done.err
    assert [path.name for path in (site.state / "jobs").iterdir()] == [f"{young}.s1.scan"]


def test_somebody_who_may_not_operate_may_look_and_not_remove(site: Site) -> None:
    site.cancelled(days_ago=500)
    people = site.folder / "people.yml"
    people.write_text(people.read_text().replace("operator, admin", "auditor"))
    site.give("housekeeping")
    assert "may not operate" in site.give("housekeeping", "--yes", code=5).err


def test_there_may_be_nothing_expired_to_release(site: Site) -> None:
    assert "No rollback point is held beyond its time" in site.give("rollback-point", "release", "--expired").out
    site.give("rollback-point", "release", code=2)


def test_status_and_doctor_say_what_is_held_beyond_its_time(site: Site) -> None:
    change = site.cancelled(days_ago=20)
    point = RollbackPoint(
        change=change, host="web1", provider="packages", rollback_class=RollbackClass.PACKAGE,
        taken_at=NOW - timedelta(days=20), expires_at=NOW - timedelta(days=17),
    )  # fmt: skip
    with site.store.begin() as writing:
        writing.keep_points([point, replace(point, host="web2", expires_at=NOW + timedelta(days=1))])
    told = site.give("status").err
    assert f"1 rollback points are held beyond their time: web1 for {change}" in told
    assert "rollback-point release --expired" in told
    findings = {f["what"]: f for f in site.give("doctor", "--json", code=1).json}
    assert findings["leases"]["seen"] == "0 held"
    assert findings["rollback points"]["seen"] == f"2 held, 1 beyond their time ({change})"
    shown = site.give("rollback-point", "release", "--expired")
    assert "web1" in shown.out
    assert "web2" not in shown.out
    assert "Nothing was done" in shown.out
