"""The lab's promises: hosts that are real, kept apart, taken back and taken away without a trace."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lab.errors import LabError
from lab.host import Family
from lab.instance import Lab
from lab.packages import Package
from lab.pytest_plugin import lab, new_lab, temporary_lab
from tests.waiting import until

__all__ = ["lab", "new_lab"]

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def web1(lab: Lab) -> str:
    """A host with version 1.0 of the lab's service installed."""
    lab.repository.publish(Package(name="labapp", version="1.0"))
    lab.up("web1", groups=("web", "production"), user="patchpw", sudo_password="correct horse")
    lab.install("web1", "labapp")
    return "web1"


def test_every_account_of_the_inventory_can_log_in(lab: Lab, web1: str) -> None:
    described = yaml.safe_load(lab.inventory())["all"]
    assert described["children"]["production"]["hosts"] == {web1: {}}
    assert described["hosts"][web1]["ansible_user"] == "patchpw"
    assert say(lab, web1, "id -un", user="patch") == "patch"
    assert say(lab, web1, "sudo -n id -un", user="patch") == "root"
    assert say(lab, web1, "echo correct horse | sudo -S -p '' id -un", user="patchpw") == "root"
    assert lab.run(web1, ["sudo", "-n", "true"], user="patchpw").returncode != 0


def test_rebooted_host_has_a_new_boot_id_and_its_service_is_back(lab: Lab, web1: str) -> None:
    before = say(lab, web1, "cat /proc/sys/kernel/random/boot_id")
    lab.reboot(web1)
    assert say(lab, web1, "cat /proc/sys/kernel/random/boot_id") != before
    assert says_soon(lab, web1, "labapp 1.0")


def test_restored_snapshot_takes_back_what_came_after_it_and_keeps_what_came_before(lab: Lab, web1: str) -> None:
    say(lab, web1, "mkdir /srv/it; echo kept > /srv/it/kept; touch /srv/it/there")
    lab.snapshot(web1, "before")
    say(lab, web1, "echo lost > /srv/it/lost; rm /srv/it/kept /srv/it/there")
    for _ in range(2):
        lab.restore(web1, "before")
        assert say(lab, web1, "ls -A /srv/it") == "kept\nthere"
    lab.drop_snapshot(web1, "before")
    with pytest.raises(LabError, match="has no snapshot before"):
        lab.restore(web1, "before")


def test_snapshot_does_not_stop_the_host(lab: Lab, web1: str) -> None:
    before = say(lab, web1, "cat /proc/sys/kernel/random/boot_id")
    lab.snapshot(web1, "running")
    assert say(lab, web1, "cat /proc/sys/kernel/random/boot_id") == before


def test_dead_cut_and_doomed_hosts_come_back_when_told(lab: Lab) -> None:
    lab.up("frail", doomed="reboot")
    lab.cut("frail")
    assert not lab.is_up("frail")
    lab.mend("frail")
    until(lambda: lab.is_up("frail"))  # The kernel may have given its address up, for a second.
    lab.run("frail", ["systemctl", "reboot"])
    until(lambda: not lab.is_up("frail"))
    time.sleep(0.5)
    assert not lab.is_up("frail")
    lab.power_on("frail")
    lab.reboot("frail")
    lab.power_off("frail")
    assert not lab.is_up("frail")


def test_frozen_host_answers_nothing_while_its_neighbour_goes_on(lab: Lab, web1: str) -> None:
    lab.up("web2")
    lab.freeze(web1)
    assert not lab.is_up(web1)
    assert say(lab, "web2", "systemctl is-system-running") == "running"
    lab.thaw(web1)
    until(lambda: lab.is_up(web1))


def test_update_is_seen_while_published_and_gone_once_withdrawn(lab: Lab, web1: str) -> None:
    lab.repository.publish(Package(name="labapp", version="1.1", security=True))
    say(lab, web1, "apt-get -q update")
    assert "Inst labapp [1.0] (1.1 Patch Lab Security:lab-security" in say(lab, web1, "apt-get -s upgrade")
    lab.repository.withdraw("labapp", "1.1")
    say(lab, web1, "apt-get -q update")
    assert "labapp" not in say(lab, web1, "apt-get -s upgrade")


def test_index_made_within_the_same_second_is_dated_later(lab: Lab) -> None:
    release = lab.repository.folder / "apt/dists/lab-security/Release"
    dates = []
    for _ in range(3):
        lab.repository.ensure_index()
        lab.repository.withdraw("nothing", "0")
        dates.append(int(release.stat().st_mtime))
    assert len(set(dates)) == 3, "apt asks by whole seconds, and would keep the index that it knows"


def test_security_suite_is_read_with_its_real_signature(lab: Lab, web1: str) -> None:
    say(lab, web1, "sed s/.trusted=yes.// /etc/apt/sources.list > /tmp/untrusted.list")
    refused = say(lab, web1, "apt-get update -oDir::Etc::SourceList=/tmp/untrusted.list 2>&1 || true")
    assert "The repository 'http://controller:3142/lab/apt lab Release' is not signed" in refused
    assert refused.count("is not signed") == 2
    assert "-security,n=" in say(lab, web1, "apt-get -q update && apt-cache policy")


def test_service_breaks_only_where_the_old_setting_is_made(lab: Lab, web1: str) -> None:
    lab.snapshot(web1, "before-1.2")
    lab.repository.publish(Package(name="labapp", version="1.2", behaviour="breaks-service"))
    lab.install(web1, "labapp")
    assert says_soon(lab, web1, "labapp 1.2")
    say(lab, web1, "sed -i s/legacy=no/legacy=yes/ /etc/labapp.conf; systemctl restart labapp")
    assert lab.run(web1, ["curl", "-fsS", "localhost:8080/health"]).returncode != 0
    lab.restore(web1, "before-1.2")
    assert says_soon(lab, web1, "labapp 1.0")


@pytest.mark.parametrize(
    ("family", "upgrade"),
    [
        ("dnf", "dnf -q check-update; dnf -q updateinfo list"),
        ("zypper", "zypper -q list-updates; zypper -q list-patches"),
    ],
)
def test_hosts_of_the_rpm_families_see_their_upgrade(lab: Lab, family: Family, upgrade: str) -> None:
    app = Package(name="tool", version="1.0")
    lab.repository.publish(app)
    lab.up(family, family=family)
    lab.install(family, "tool=1.0")
    lab.repository.publish(Package(name="tool", version="1.1", security=True, severity="important", advisory="PLSA-1"))
    shown = lab.run(family, ["sh", "-c", f"dnf -q makecache --refresh || zypper -q refresh; {upgrade}"]).stdout
    lab.repository.withdraw("tool", "1.1")
    assert "1.1-1" in shown
    assert "PLSA-1" in shown
    assert yaml.safe_load(lab.inventory())["all"]["hosts"][family]["patch_family"] == family


def test_destroyed_instance_leaves_nothing_and_its_neighbour_untouched(
    lab: Lab, web1: str, new_lab: Callable[[], Lab]
) -> None:
    other = new_lab()
    address = other.up("web1").address
    network = address.rpartition(".")[0]
    assert address != lab.host(web1).address
    assert say(other, "web1", "hostname") == "web1"
    other.destroy()
    traces = (
        Path("/proc/mounts").read_text() + output("ip", "addr") + output("ip", "netns") + output("ps", "-axo", "args")
    )
    assert network not in traces
    assert other.name not in traces
    assert not other.folder.exists()
    until(lambda: lab.is_up(web1))


def test_what_a_killed_test_run_left_goes_with_the_next(lab: Lab) -> None:
    holder = """
from lab.pytest_plugin import temporary_lab
with temporary_lab("killed") as lab:
    lab.up("left")
    print(lab.name, flush=True)
    input()
"""
    command = [sys.executable, "-c", holder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        name = process.stdout.readline().strip()
        left = Lab(name, lab.root)
        with temporary_lab("next"):
            until(lambda: left.is_up("left"))  # It is held.
        process.send_signal(signal.SIGKILL)
    until(lambda: left.is_up("left"))
    with temporary_lab("next"):
        assert not left.folder.exists()
    assert lab.folder.exists()


def test_half_made_host_is_made_anew(new_lab: Callable[[], Lab]) -> None:
    broken = new_lab()
    broken.up("web1")
    (broken.folder / "hosts/web1/furnished").unlink()
    broken.up("web1")
    assert say(broken, "web1", "hostname") == "web1"
    broken.destroy()
    broken.destroy()


def say(lab: Lab, host: str, line: str, user: str = "root") -> str:
    done = lab.run(host, ["sh", "-c", line], user=user)
    assert done.returncode == 0 or line.endswith("is-system-running"), done.stderr
    return done.stdout.strip()


def says_soon(lab: Lab, host: str, answer: str) -> bool:
    """Ask the service; a host that has just booted starts SSH and its services side by side."""
    line = ["curl", "-s", "--retry", "20", "--retry-connrefused", "--retry-delay", "0", "--retry-max-time", "10"]
    return answer in lab.run(host, [*line, "localhost:8080"]).stdout


def output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
