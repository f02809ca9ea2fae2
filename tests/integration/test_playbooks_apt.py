"""The playbooks on real Debian hosts: each phase as the orchestrator starts it, with jobs written by hand."""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.instance import Lab
from lab.packages import Package
from lab.pytest_plugin import temporary_lab
from tests import forked
from tests.events import reports_of
from tests.waiting import until

pytestmark = pytest.mark.lab

ROOT = Path(__file__).resolve().parents[2]
JOURNAL = "var/lib/patch-orchestrator/journal.jsonl"
Job = dict[str, Any]
Item = dict[str, Any]
Report = dict[str, Any]


@dataclass
class Outcome:
    """What a phase gave: reports by host and kind, messages of failed tasks, and how many tasks changed something."""

    reports: dict[str, dict[str, Report]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)

    def of(self, kind: str, host: str = "h1") -> Report:
        return self.reports[host][kind]


@dataclass(frozen=True)
class Lock:
    """What was locked, and the folder with the files."""

    items: list[Item]
    files: Path


Locks = dict[tuple[tuple[str, ...], tuple[Package, ...]], Lock]


class Site:
    """A lab instance with its inventory, and a change that acts on it."""

    def __init__(self, lab: Lab, folder: Path, locks: Locks) -> None:
        self.lab, self.locks = lab, locks
        self.folder = folder
        self.counter = 0
        self.kept = folder / "kept"
        (folder / "site.yml").write_text(lab.inventory())

    def job(self, items: list[dict[str, Any]], **more: Any) -> Job:
        self.counter += 1
        token = {"installation": "aaaa", "counter": self.counter}
        places = {"packages_dir": str(self.kept), "fetch_to": str(self.kept)}
        return {"change": "CHG-1", "token": token, "items": items, "reboot": "never", **places, **more}

    def phase(self, names: str, items: list[dict[str, Any]], hosts: tuple[str, ...] = ("h1",), **more: Any) -> Outcome:
        """Carry out a phase, or several in one run of Ansible: as is done where nothing is decided between them."""
        job = self.job(items, **more)
        done = forked.play(self.command(names, dict.fromkeys(hosts, job))[1:], cwd=self.folder)
        return read_events(done.stdout + done.stderr)

    def started(self, name: str, items: list[dict[str, Any]]) -> subprocess.Popen[bytes]:
        """Begin with a phase, and do not wait for it."""
        command = self.command(name, {"h1": self.job(items)})
        settings = os.environ | forked.PLAYING
        return subprocess.Popen(command, env=settings, stdout=subprocess.DEVNULL, start_new_session=True)

    def command(self, names: str, jobs: dict[str, Job]) -> list[str]:
        path = self.folder / f"jobs-{self.counter}.yml"
        path.write_text(
            yaml.safe_dump({"patch_batch": {"hosts": {host: {"patch_job": job} for host, job in jobs.items()}}})
        )
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        playbooks = [str(ROOT / f"playbooks/{name}.yml") for name in names.split()]
        return [program, "-i", str(self.folder / "site.yml"), "-i", str(path), *playbooks]

    def lock(self, *names: str, host: str = "h1") -> list[Item]:
        """Choose the newest of these packages and what they need, as staging does.

        Packages made of the same description have the same bytes: what was chosen among the same ones is known.
        """
        self.shell("apt-get -qq update", host)
        offered = tuple(sorted(self.lab.repository.published(), key=lambda package: package.key))
        if (names, offered) not in self.locks:
            items, files = self._locked(names, host), self.folder / "locked"
            shutil.copytree(self.kept, files)
            self.locks[names, offered] = Lock(items, files)
        lock = self.locks[names, offered]
        shutil.copytree(lock.files, self.kept, dirs_exist_ok=True)
        return copy.deepcopy(lock.items)

    def _locked(self, names: tuple[str, ...], host: str) -> list[Item]:
        candidates = self.phase("scan", [], (host,)).of("scan", host)["candidates"]
        items: list[Item] = [one for one in candidates if one["name"] in names]
        assert sorted(one["name"] for one in items) == sorted(names)
        locked: list[Item] = self.phase("download", items, (host,)).of("download", host)["items"]
        self.lab.run(host, ["rm", "-rf", "/var/lib/patch-orchestrator/packages"])
        return locked

    def shell(self, line: str, host: str = "h1") -> str:
        return self.lab.run(host, ["sh", "-c", line]).stdout.strip()

    def version(self, name: str, host: str = "h1") -> str:
        return self.shell(f"dpkg-query -W -f '${{Version}}' {name}", host)

    def journal(self, host: str = "h1") -> list[tuple[str, str, str]]:
        """Return what the host wrote down, read from its disk: waiting for it keeps no processor busy."""
        file = self.lab.folder / "hosts" / host / "root" / JOURNAL
        records = map(json.loads, file.read_text().splitlines() if file.exists() else ())
        return [(one["step"], one["event"], one["outcome"]) for one in records]


def read_events(text: str) -> Outcome:
    outcome = Outcome()
    for line in text.splitlines():
        event = json.loads(line) if line.startswith("{") else {}
        for host, result in event.get("hosts", {}).items():
            if result.get("changed"):
                outcome.changed[host] = outcome.changed.get(host, 0) + 1
            if event["_event"] in ("v2_runner_on_failed", "v2_runner_on_unreachable"):
                outcome.failures[host] = str(result.get("msg"))
            for report in reports_of(result):
                outcome.reports.setdefault(host, {})[report["kind"]] = report
    return outcome


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with temporary_lab("rolesapt") as lab:
        lab.up_many(["h1"], no_archive=True)
        lab.up_many(["h3"], no_archive=True, user="patchpw", sudo_password="open sesame")
        publish(lab, "1.0")
        for name in ("h1", "h3"):
            lab.run(name, ["apt-get", "-qq", "update"])
            lab.install(name, "labtool", "labapp")
            lab.snapshot(name, "base")
        yield lab


@pytest.fixture(scope="module")
def locks() -> Locks:
    return {}


@pytest.fixture
def site(lab: Lab, locks: Locks, tmp_path: Path) -> Site:
    for package in lab.repository.published():
        if package.version != "1.0":
            lab.repository.withdraw(package.name, package.version)
    publish(lab, "1.0")
    lab.restore("h1", "base")
    return Site(lab, tmp_path, locks)


def publish(lab: Lab, version: str, *names: str, **how: Any) -> None:
    for name in names or ("labtool", "labapp"):
        lab.repository.publish(Package(name=name, version=version, security=version != "1.0", **how))


def test_lock_is_installed_exactly_and_put_back_and_twice_changes_nothing(site: Site) -> None:
    publish(site.lab, "1.1")
    lock = site.lock("labtool", "labapp")
    publish(site.lab, "1.2")  # newer than what was proven
    site.shell("apt-get -qq update")

    assert site.phase("protect", lock).of("point")["class"] == "package"
    assert site.phase("protect", lock).changed == {}
    patched = site.phase("patch", lock)
    assert [one["to"] for one in patched.of("transaction")["actual"]] == ["1.1", "1.1"]
    assert patched.of("reboot")["needed"] is False
    assert patched.of("state")["packages"]["labtool:amd64"] == "1.1"
    assert site.phase("patch", lock).changed == {}

    restored = site.phase("restore", lock)
    assert (site.version("labtool"), site.version("labapp")) == ("1.0", "1.0")
    assert restored.of("transaction")["unexpected"] == []
    assert site.phase("restore", lock).changed == {}
    assert ("restore", "restored", "ok") in site.journal()

    again = site.phase("patch release", lock)
    assert again.of("state")["packages"]["labapp:amd64"] == "1.1"
    assert again.of("released")["freed"] > 0
    assert site.phase("release", lock).changed == {}
    assert "claim.json" not in site.shell("ls /var/lib/patch-orchestrator").split()


def test_version_that_the_repository_dropped_is_pushed(site: Site) -> None:
    publish(site.lab, "1.1", "labtool", "labapp")
    lock = site.lock("labtool", "labapp")
    site.lab.repository.withdraw("labtool", "1.1")

    done = site.phase("scan protect patch", lock)
    assert done.of("scan")["simulation"]["unavailable"] == ["labtool"]
    assert done.of("scan")["simulation"]["problems"] == []
    sources = {one["name"]: one["source"] for one in done.of("packages")["items"]}
    assert sources == {"labtool": "pushed", "labapp": "repository"}
    assert site.version("labtool") == "1.1"


def test_old_version_that_nobody_has_any_more_is_repacked(site: Site) -> None:
    before = site.shell("cat /usr/share/labapp/version; dpkg --verify labapp; md5sum /etc/labapp.conf")
    publish(site.lab, "1.1", "labapp")
    lock = site.lock("labapp")
    site.lab.repository.withdraw("labapp", "1.0")
    site.shell("apt-get -qq update; apt-get clean")

    point = site.phase("protect patch", lock).of("point")
    assert [(one["name"], one["source"]) for one in point["items"]] == [("labapp", "repacked")]
    assert site.version("labapp") == "1.1"
    site.phase("restore", lock)
    assert site.shell("cat /usr/share/labapp/version; dpkg --verify labapp; md5sum /etc/labapp.conf") == before
    assert site.shell("systemctl is-active labapp") == "active"


def test_failing_installation_is_told_and_put_back(site: Site) -> None:
    publish(site.lab, "1.1", "labtool", behaviour="postinst-fails")
    lock = site.lock("labtool")
    failed = site.phase("protect patch", lock)
    assert "cannot migrate its data" in failed.failures["h1"] or "labtool" in failed.failures["h1"]
    assert failed.of("transaction")["actual"] == [{"name": "labtool", "arch": "amd64", "from": "1.0", "to": "1.1"}]
    assert ("patch", "end", "failed") in site.journal()
    assert site.phase("verify", lock).of("state")["manager"]["ok"] is False

    assert site.phase("restore verify", lock).of("state")["manager"] == {"ok": True, "problems": []}
    assert site.version("labtool") == "1.0"


def test_what_stands_in_the_way_is_told_before_anything_changes(site: Site) -> None:
    publish(site.lab, "1.1")
    lock = site.lock("labtool", "labapp")
    assert "protect.yml" in site.phase("patch", lock).of("refused")["reason"]
    assert "exclude list" in site.phase("protect", lock, exclude=["lab*"]).failures["h1"]
    large = [{**one, "size": 1 << 50} for one in lock]
    assert "Make room" in site.phase("protect", large).failures["h1"]
    site.shell("apt-mark hold labapp")
    refused = site.phase("protect", lock)
    assert "labapp:amd64 is on hold" in refused.failures["h1"]
    assert refused.of("state")["held"] == ["labapp:amd64"]
    assert {"point", "transaction"} <= set(refused.reports["h1"])
    assert (site.version("labtool"), site.version("labapp")) == ("1.0", "1.0")


def test_new_dependency_is_predicted_and_goes_with_a_point_that_outlived_the_claim(site: Site) -> None:
    publish(site.lab, "1.1", "labtool", behaviour="new-dependency")
    lock = site.lock("labtool")
    assert {(one["name"], one["from_version"]) for one in lock} == {("labtool", "1.0"), ("labtool-extra", "")}
    patched = site.phase("scan protect patch", lock)
    scan, state = patched.of("scan"), patched.of("state")
    offered = {one["name"]: one for one in scan["candidates"]}
    assert offered["labtool"]["classification"] == "security"
    assert offered["labtool"]["origin"].endswith("Patch Lab Security")
    assert [(one["name"], one["from"], one["to"]) for one in scan["simulation"]["transitions"]] == [
        ("labtool", "1.0", "1.1"), ("labtool-extra", "", "1.1"),
    ]  # fmt: skip
    assert scan["simulation"]["problems"] == []
    assert "labtool-extra:amd64" in state["auto"]
    assert "labtool:amd64" not in state["auto"]

    assert site.phase("release", lock, keep_point=True).of("released")["rivals"] != []
    assert site.phase("release", lock, keep_point=True).changed == {}
    assert site.phase("restore release", lock).of("released")["freed"] > 0
    assert (site.version("labtool"), site.version("labtool-extra")) == ("1.0", "")


def test_what_the_administrator_has_chosen_stays(site: Site) -> None:
    publish(site.lab, "1.1", "labtool", "labother")
    publish(site.lab, "1.1", "labapp", behaviour="conffile")
    site.shell("echo '# ours' >>/etc/labapp.conf; apt-mark auto labtool")
    lock = site.lock("labtool", "labapp")
    lock.append({**lock[0], "name": "labother", "from_version": "1.0", "filename": "labother_1.1_amd64.deb"})
    patched = site.phase("protect patch", lock).of("state")
    assert [site.version(name) for name in ("labtool", "labapp", "labother")] == ["1.1", "1.1", ""]
    assert site.shell("tail -n 1 /etc/labapp.conf") == "# ours"
    assert "labtool:amd64" in patched["auto"]
    assert "labapp:amd64" not in patched["auto"]

    site.shell("apt-mark manual labtool; apt-mark hold labapp")
    restored = site.phase("restore", lock).of("state")
    assert "labtool:amd64" in restored["auto"]
    assert restored["held"] == []


def test_older_token_and_foreign_installation_are_refused_until_adopted(site: Site) -> None:
    publish(site.lab, "1.1", "labtool")
    lock = site.lock("labtool")
    site.counter = 1
    site.phase("protect", lock)
    late = site.phase("patch", lock, token={"installation": "aaaa", "counter": 1})
    assert late.of("refused")["claim"]["change"] == "CHG-1"
    foreign = {"installation": "bbbb", "counter": 1}
    assert "adopt" in site.phase("protect", lock, change="CHG-2", token=foreign).of("refused")["reason"]

    adopted = site.phase("adopt", [], change="adopt", token=foreign, reason="the other controller is gone")
    assert adopted.of("adopted")["changes"] == ["CHG-1"]
    assert site.phase("protect", lock, change="CHG-2", token=foreign).failures == {}
    assert "another installation" in site.phase("patch", lock).of("refused")["reason"]


def test_transaction_that_takes_too_long_goes_on_and_writes_its_end(site: Site) -> None:
    publish(site.lab, "1.1", "labtool", behaviour="slow", seconds=12)
    lock = site.lock("labtool")
    given_up = site.phase("protect patch", lock, timeout=2)
    assert "goes on" in given_up.failures["h1"]
    assert "still at work" in site.phase("restore", lock).of("refused")["reason"]
    assert site.phase("verify", lock).of("state")["at_work"] is True
    until(lambda: ("patch", "end", "ok") in site.journal(), pause=0.3)
    assert site.version("labtool") == "1.1"


def test_killed_controller_leaves_the_transaction_alone(site: Site) -> None:
    publish(site.lab, "1.1", "labtool", behaviour="slow", seconds=4)
    lock = site.lock("labtool")
    site.phase("protect", lock)
    started = site.started("patch", lock)
    until(lambda: ("patch", "begin", "") in site.journal(), pause=0.3)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    until(lambda: ("patch", "end", "ok") in site.journal(), pause=0.3)
    assert site.version("labtool") == "1.1"
    assert site.phase("patch", lock).failures == {}


def test_power_cut_in_the_middle_is_seen_and_mended_by_patching_again(site: Site) -> None:
    publish(site.lab, "1.1", "labtool", behaviour="slow", seconds=5)
    lock = site.lock("labtool")
    site.phase("protect", lock)
    started = site.started("patch", lock)
    until(lambda: ("patch", "begin", "") in site.journal() and site.version("labtool") == "1.1", pause=0.3)
    site.lab.power_off("h1")
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    site.lab.power_on("h1")

    state = site.phase("verify", lock).of("state")
    assert state["manager"]["ok"] is False
    # The step is open, or apt-get was killed a moment before the process that writes the end.
    assert state["journal"][-1]["step"] == "patch"
    assert state["journal"][-1]["outcome"] != "ok"
    assert state["at_work"] is False
    again = site.phase("patch", lock)
    assert again.failures == {}
    assert again.of("state")["manager"] == {"ok": True, "problems": []}
    site.phase("restore", lock)
    assert site.version("labtool") == "1.0"


def test_host_whose_packages_are_broken_is_refused_before_it_is_touched(site: Site) -> None:
    publish(site.lab, "1.1")
    lock = site.lock("labtool")
    publish(site.lab, "1.3", "labapp", behaviour="postinst-fails")
    site.shell("apt-get -qq update; apt-get -qq install -y labapp")
    refused = site.phase("protect", lock)
    assert "not well: dpkg --audit" in refused.failures["h1"]
    assert refused.of("state")["manager"]["ok"] is False


def test_rival_updaters_are_held_over_a_reboot_that_is_required_and_given_back(site: Site) -> None:
    site.shell("sed -i 's/^# deb/deb/' /etc/apt/sources.list; apt-get -qq update")
    site.lab.install("h1", "unattended-upgrades")
    rivals = "systemctl is-active apt-daily.timer unattended-upgrades.service"
    assert site.shell(rivals).split() == ["active", "active"]
    publish(site.lab, "1.1", "labtool", behaviour="needs-reboot")
    lock = site.lock("labtool")
    patched = site.phase("protect patch", lock, reboot="if-required")
    reboot = patched.of("reboot")
    assert reboot["done"] is True
    assert reboot["boot_id_before"] != reboot["boot_id_after"]
    assert patched.of("state")["reboot_required"] == {"needed": False, "reasons": []}
    assert site.journal()[-1] == ("reboot", "end", "ok")

    assert site.shell("systemctl is-active unattended-upgrades.service") == "inactive"
    site.shell("systemctl start apt-daily.service")  # As its timer would, which a boot has started.
    assert site.shell("systemctl show -p ConditionResult --value apt-daily.service") == "no"
    released = site.phase("release", lock).of("released")
    assert "unattended-upgrades.service" in released["rivals"]
    assert site.shell(rivals).split() == ["active", "active"]
    assert site.shell("ls /etc/systemd/system | grep -c apt-daily") == "0"


def test_service_on_a_replaced_library_is_restarted(site: Site) -> None:
    publish(site.lab, "1.0", "lablib", behaviour="library")
    site.lab.run("h1", ["apt-get", "-qq", "update"])
    site.lab.install("h1", "lablib")
    site.shell("systemctl restart labapp")
    publish(site.lab, "1.1", "lablib", behaviour="library")
    lock = site.lock("lablib")
    patched = site.phase("protect patch", lock)
    assert patched.of("transaction")["restarted"] == ["labapp.service"]
    assert patched.of("state")["deleted_libraries"] == []


def test_account_with_a_sudo_password_does_the_same(site: Site) -> None:
    site.lab.restore("h3", "base")
    publish(site.lab, "1.1", "labtool")
    become = {"all": {"vars": {"ansible_become_password": "open sesame"}}}
    inventory = yaml.safe_load((site.folder / "site.yml").read_text())
    inventory["all"]["vars"].update(become["all"]["vars"])
    (site.folder / "site.yml").write_text(yaml.safe_dump(inventory))
    lock = site.lock("labtool", host="h3")
    site.lab.repository.withdraw("labtool", "1.1")
    done = site.phase("protect patch", lock, ("h3",))
    assert done.of("packages", "h3")["items"][0]["source"] == "pushed"
    assert done.of("state", "h3")["packages"]["labtool:amd64"] == "1.1"
