"""The playbooks on real hosts of the dnf and zypper families, with jobs written by hand."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import Lab
from lab.packages import Package
from lab.pytest_plugin import temporary_lab
from tests import forked
from tests.events import reports_of

pytestmark = pytest.mark.lab

ROOT = Path(__file__).resolve().parents[2]
HOSTS = ("dnf1", "zypper1")
STATE = "/var/lib/patch-orchestrator"
Item = dict[str, Any]
Lock = dict[str, list[Item]]


@dataclass
class Outcome:
    """What a phase gave, by host: reports by kind, messages of failed tasks, and how many tasks changed something."""

    reports: dict[str, dict[str, Any]] = field(default_factory=lambda: {host: {} for host in HOSTS})
    failures: dict[str, str] = field(default_factory=dict)
    changed: int = 0

    def of(self, kind: str) -> list[Any]:
        """Return the report of each host, in the order of HOSTS."""
        return [self.reports[host].get(kind) for host in HOSTS]


class Site:
    """Both hosts with their inventory, and a change that acts on them."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.kept = folder / "kept"
        self.counter = 0
        (folder / "site.yml").write_text(lab.inventory())

    def phase(self, name: str, lock: Lock | None = None, **more: Any) -> Outcome:
        self.counter += 1
        token = {"installation": "aaaa", "counter": self.counter}
        job = {"change": "CHG-1", "token": token, "reboot": "never", "fetch_to": str(self.kept), **more}
        jobs = {
            host: {"patch_job": {**job, "packages_dir": str(self.kept), "items": (lock or {}).get(host, [])}}
            for host in HOSTS
        }
        (self.folder / "jobs.yml").write_text(yaml.safe_dump({"patch_batch": {"hosts": jobs}}))
        sources = ["-i", str(self.folder / "site.yml"), "-i", str(self.folder / "jobs.yml")]
        playbook = str(ROOT / f"playbooks/{name}.yml")
        done = forked.play([*sources, playbook], cwd=self.folder)
        return read_events(done.stdout)

    def candidates(self) -> Lock:
        """Choose all candidates: a lock where nothing needs a new dependency."""
        return dict(zip(HOSTS, (one["candidates"] for one in self.phase("scan").of("scan")), strict=True))

    def lock(self) -> Lock:
        """Choose all candidates and what they need, as staging does."""
        candidates = self.candidates()
        return dict(
            zip(HOSTS, (one["items"] for one in self.phase("download", candidates).of("download")), strict=True)
        )

    def everywhere(self, line: str) -> list[str]:
        return [self.lab.run(host, ["sh", "-c", line]).stdout.strip() for host in HOSTS]

    def versions(self) -> list[dict[str, str]]:
        return [dict(line.split() for line in told.splitlines()) for told in self.everywhere(QUERY)]


QUERY = "rpm -qa --qf '%{NAME} %{VERSION}\\n' | grep -v ^lab-release | sort"


def read_events(text: str) -> Outcome:
    outcome = Outcome()
    for line in text.splitlines():
        event = json.loads(line) if line.startswith("{") else {}
        for host, result in event.get("hosts", {}).items():
            outcome.changed += bool(result.get("changed"))
            if event["_event"] in ("v2_runner_on_failed", "v2_runner_on_unreachable"):
                outcome.failures[host] = str(result.get("msg"))
            for report in reports_of(result):
                outcome.reports[host][report["kind"]] = report
    return outcome


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with temporary_lab("rolesrpm") as lab:
        for host, family in zip(HOSTS, ("dnf", "zypper"), strict=True):
            lab.up(host, family=family)  # type: ignore[arg-type]
        publish(lab, "1.0", tree="good", web="good", leaf="good")
        for host in HOSTS:
            lab.install(host, "tree", "web", "leaf")
            lab.snapshot(host, "base")
        yield lab


@pytest.fixture
def site(lab: Lab, tmp_path: Path) -> Site:
    for package in lab.repository.published():
        if package.version != "1.0":
            lab.repository.withdraw(package.name, package.version)
    publish(lab, "1.0", tree="good", web="good", leaf="good")
    for host in HOSTS:
        lab.restore(host, "base")
    return Site(lab, tmp_path)


def publish(lab: Lab, version: str, **behaviours: Any) -> None:
    lab.repository.publish(
        *(
            Package(
                name=name,
                version=version,
                behaviour=behaviour,
                security=name == "tree",
                severity="important" if name == "tree" else "",
                advisory=f"LAB-{name}-{version}",
            )
            for name, behaviour in behaviours.items()
        )
    )


def test_lock_is_installed_exactly_and_put_back_and_installed_again(site: Site) -> None:
    before = site.versions()
    publish(site.lab, "1.1", tree="needs-reboot", web="new-dependency")
    lock = site.lock()
    assert [{one["name"]: one["from_version"] for one in lock[host]} for host in HOSTS] == 2 * [
        {"tree": "1.0-1", "web": "1.0-1", "web-extra": ""}
    ]
    assert [(one["classification"], one["severity"], one["advisories"]) for one in lock["zypper1"]][:2] == [
        ("security", "important", ["LAB-tree-1.1"]),
        ("bugfix", "", ["LAB-web-1.1"]),
    ]
    assert {one["sha256"] for one in lock["dnf1"]} == {path.name for path in site.kept.iterdir()}

    # What staging proved is no longer the newest, and one of its files is gone.
    publish(site.lab, "1.2", tree="good", leaf="good")
    site.lab.repository.withdraw("tree", "1.1")
    site.everywhere(f"rm -rf {STATE}/packages")
    for scan in site.phase("scan", lock).of("scan"):
        assert scan["simulation"]["unavailable"] == ["tree"]
        assert scan["simulation"]["problems"] == []
        assert {one["name"] for one in scan["simulation"]["transitions"]} == {"tree", "web", "web-extra"}
        assert {one["name"]: one["version"] for one in scan["candidates"]} == {
            "tree": "1.2-1",
            "web": "1.1-1",
            "leaf": "1.2-1",
        }

    protected = site.phase("protect", lock)
    assert [one["class"] for one in protected.of("point")] == ["package", "package"]
    for packages in protected.of("packages"):
        assert {one["name"]: one["source"] for one in packages["items"]}["tree"] == "pushed"
    patched = site.phase("patch", lock)
    assert site.versions() == 2 * [{"leaf": "1.0", "tree": "1.1", "web": "1.1", "web-extra": "1.1"}]
    assert [one["unexpected"] + one["missing"] for one in patched.of("transaction")] == [[], []]
    assert [one["reboot_required"]["needed"] for one in patched.of("state")] == [True, True]
    assert ["web-extra:x86_64" in one["auto"] for one in patched.of("state")] == [True, True]
    assert site.phase("patch", lock).changed == 0

    assert site.phase("restore", lock).failures == {}
    assert site.versions() == before
    assert site.phase("restore", lock).changed == 0
    assert site.phase("patch", lock).failures == {}
    assert [one["tree"] for one in site.versions()] == ["1.1", "1.1"]
    assert site.phase("release", lock).changed == 2


def test_held_package_is_refused_before_anything_changes(site: Site) -> None:
    publish(site.lab, "1.1", tree="good")
    lock = site.candidates()
    site.everywhere("dnf versionlock add tree || echo 'excludepkgs=tree' >>/etc/dnf/dnf.conf; zypper addlock tree")
    refused = site.phase("protect", lock)
    for host in HOSTS:
        assert "tree:x86_64 is on hold" in refused.failures[host]
    assert [one["tree"] for one in site.versions()] == ["1.0", "1.0"]
    assert [one["candidates"][0]["held"] for one in site.phase("scan").of("scan")] == [True, True]


def test_transaction_that_broke_off_is_put_back(site: Site) -> None:
    publish(site.lab, "1.1", tree="good", leaf="postinst-fails")
    lock = site.candidates()
    site.phase("protect", lock)
    failed = site.phase("patch", lock)
    for host in HOSTS:
        assert "leaf" in failed.failures[host]
    # A power cut between installing the new packages and taking the old ones away leaves both in the database.
    new = f"rpm -i --force --nodeps --force-debian {STATE}/packages/tree-1.1-1.x86_64.rpm"
    old = f"rpm -i --force --nodeps --force-debian --oldpackage {STATE}/points/CHG-1/tree-1.0-1.x86_64.rpm"
    site.everywhere(f"{old}; {new}")
    assert [
        "tree:x86_64 is installed in two versions" in one["manager"]["problems"][0]
        for one in site.phase("verify", lock).of("state")
    ] == [True, True]

    assert site.phase("restore", lock).failures == {}
    assert site.versions() == 2 * [{"leaf": "1.0", "tree": "1.0", "web": "1.0"}]
    assert site.everywhere("cat /usr/share/tree/version") == ["1.0", "1.0"]


def test_old_version_that_nobody_has_any_more_makes_no_point(site: Site) -> None:
    publish(site.lab, "1.1", tree="good")
    lock = site.candidates()
    site.lab.repository.withdraw("tree", "1.0")
    site.everywhere("dnf clean all; zypper clean --all; zypper refresh; dnf makecache")
    for point in site.phase("protect", lock).of("point"):
        assert (point["class"], [one["name"] for one in point["missing"]]) == ("none", ["tree"])
