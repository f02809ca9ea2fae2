"""Jobs in parts with real Ansible, in two versions, on hosts that are this machine; and the controller's limits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.adapters.ansible.controller import Controller
from orchestrator.adapters.ansible.jobdir import JobDir, processes_of
from orchestrator.adapters.ansible.parts import PartedRunner
from orchestrator.adapters.ansible.progress import latest_progress
from orchestrator.adapters.ansible.runner import SupervisedRunner
from orchestrator.adapters.ansible.slots import Slots
from orchestrator.adapters.ansible.versions import versions
from orchestrator.domain.inventory import Environment
from orchestrator.domain.job import HostJob, HostOutcome, Job, JobResult, JobStatus
from orchestrator.domain.limits import Limits
from orchestrator.errors import InvalidInput, Unavailable
from tests.integration.test_runner import ROOT, Site
from tests.waiting import until

#: Installed by script/bootstrap --dev.
LEGACY = Path(sys.prefix) / "ansible-2.16"
TELL = """
import sys
from ansible.module_utils.basic import AnsibleModule
m = AnsibleModule({'core': {}, 'where': {}})
m.exit_json(report={'kind': 'scan', **m.params})
"""
VERSION = """
- name: Tell
  tell: {core: "{{ ansible_version.full }}", where: "{{ ansible_playbook_python }}"}
"""


class Controlled(Site):
    """The tiny site, with a second Ansible and with limits."""

    limits = Limits(jobs=8, free_memory=1)
    memory = 1 << 20
    throttle: dict[str, int] = {}  # noqa: RUF012

    def inventory(self, *hosts: str) -> None:
        super().inventory(*hosts)
        # ansible-core 2.16 takes no file of an inventory folder that ends in .ini.
        (self.content / "inventories/staging/hosts.ini").rename(self.content / "inventories/staging/hosts")

    def parted(self) -> PartedRunner:
        slots = Slots(folder=self.path / "slots", limits=self.limits, free_memory=lambda: self.memory)
        runner = SupervisedRunner(
            jobs=self.jobs,
            content_root=lambda _: self.content,
            controller=Controller(installations={"legacy": LEGACY}, slots=slots),
        )
        return PartedRunner(runner, jobs=self.jobs, throttle=self.throttle)

    def told(self, *hosts: HostJob, name: str = "job-1") -> Job:
        return replace(self.job(name=name), hosts=hosts)

    def begun(self) -> list[str]:
        return sorted(folder.name for folder in self.jobs.iterdir() if (folder / "started").exists())


def a_host(name: str, ansible: str = "", *throttle: str) -> HostJob:
    return HostJob(host=name, patch_job={}, ansible=ansible, throttle=throttle)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Controlled]:
    found = Controlled(tmp_path)
    module = found.content / "library" / "tell.py"
    module.parent.mkdir()
    module.write_text(TELL)
    (found.content / "ansible.cfg").write_text("[defaults]\nlibrary = library\n")
    yield found
    for job in found.jobs.glob("*"):
        for process in processes_of(JobDir(job)):
            os.kill(process, signal.SIGKILL)


def test_each_host_is_worked_on_by_its_own_version_of_ansible(site: Controlled) -> None:
    site.playbook(VERSION)
    known = versions(site.content, {"legacy": LEGACY})
    assert known["legacy/ansible-core"].startswith("2.16.")
    assert known["legacy/ansible-core"] != known["ansible-core"]

    result = site.parted().run(site.told(a_host("web1"), a_host("web2", "legacy"), a_host("web3")))
    seen = {host.host: host.reports[0] for host in result.hosts}
    assert (result.id, result.status, result.rc) == ("job-1", JobStatus.FINISHED, 0)
    assert {name: report["core"] for name, report in seen.items()} == {
        "web1": known["ansible-core"],
        "web2": known["legacy/ansible-core"],
        "web3": known["ansible-core"],
    }
    assert str(seen["web2"]["where"]).startswith(str(LEGACY))
    assert site.begun() == ["job-1.part1", "job-1.part2"]
    assert sorted(artifact.kind for artifact in result.artifacts) == sorted(
        f"{kind}.part{number}" for kind in ("events", "reports", "tasks", "output") for number in (1, 2)
    )
    again = site.parted().result("job-1")
    assert again is not None
    assert again.by_host == result.by_host


def test_a_job_of_one_installation_is_one_run_under_its_own_id(site: Controlled) -> None:
    site.playbook(VERSION)
    result = site.parted().run(site.told(a_host("web1", "legacy"), a_host("web2", "legacy")))
    assert {str(host.reports[0]["core"])[:5] for host in result.hosts} == {"2.16."}
    assert site.begun() == ["job-1"]
    assert {artifact.kind for artifact in result.artifacts} == {"events", "reports", "tasks", "output"}


def test_a_stop_is_heard_by_the_older_ansible_too(site: Controlled) -> None:
    site.playbook(f"""
        - {{name: First, ansible.builtin.shell: "{site.gate}; echo one >> {site.path}/log"}}
        - {{name: Second, ansible.builtin.shell: "echo two >> {site.path}/log"}}
        """)
    results, caller = running(site, site.told(a_host("web1"), a_host("web2", "legacy")))
    files = [site.folder(part).progress for part in ("job-1.part1", "job-1.part2")]
    until(lambda: all(file.exists() and file.read_text() for file in files))
    site.parted().stop("job-1")
    site.open_gate()
    caller.join()
    assert [result.status for result in results] == [JobStatus.STOPPED]
    assert site.log() == ["one", "one"]


def test_no_more_hosts_of_a_group_are_in_work_than_its_limit(site: Controlled) -> None:
    site.throttle = {"esx1": 1}
    site.playbook(f"""
        - ansible.builtin.shell: echo +{{{{ inventory_hostname }}}} >> {site.path}/log; sleep 1
        - ansible.builtin.shell: echo -{{{{ inventory_hostname }}}} >> {site.path}/log
        """)
    hosts = [a_host("web1", "", "esx1"), a_host("web2", "legacy", "esx1"), a_host("web3")]
    assert site.parted().run(site.told(*hosts)).status is JobStatus.FINISHED
    limited = [line for line in site.log() if line[1:] in ("web1", "web2")]
    assert limited == ["+web1", "-web1", "+web2", "-web2"]
    assert site.begun() == ["job-1.part1", "job-1.part2"]


def test_who_goes_on_after_a_crash_finds_every_host_in_the_part_that_it_was_in(site: Controlled) -> None:
    site.throttle = {"esx1": 1}
    hosts = [a_host(f"web{number}", "", "esx1") for number in (1, 2, 3)]

    def leave() -> None:
        if site.folder("job-1.part1").result.exists():
            raise KeyboardInterrupt

    site.playbook(f"- ansible.builtin.shell: sleep 1.5; echo {{{{ inventory_hostname }}}} >> {site.path}/log")
    with pytest.raises(KeyboardInterrupt):
        site.parted().run(site.told(*hosts), on_wait=leave)
    begun = site.begun()
    assert "job-1.part3" not in begun
    # Now with one host fewer, and with no limit any more: cut anew, web3 would be in another part than before.
    site.throttle = {}
    result = site.parted().run(site.told(*hosts[1:]))
    assert [(host.host, host.outcome) for host in result.hosts] == [("web2", HostOutcome.OK), ("web3", HostOutcome.OK)]
    assert sorted(site.log()) == ["web1", "web2", "web3"]
    assert site.begun() == ["job-1.part1", "job-1.part2", "job-1.part3"]


def test_parts_outlive_a_killed_caller_and_keep_their_places(site: Controlled) -> None:
    site.playbook(f"- ansible.builtin.shell: {site.gate}; echo {{{{ inventory_hostname }}}} >> {site.path}/log")
    code = f"""
        from pathlib import Path
        from tests.integration.test_parts import Controlled, a_host
        site = Controlled.__new__(Controlled)
        site.path, site.content, site.jobs = (Path(p) for p in {[str(site.path), str(site.content), str(site.jobs)]})
        site.parted().run(site.told(a_host("web1"), a_host("web2", "legacy")))
        """
    caller = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, start_new_session=True)
    until(lambda: site.jobs.exists() and site.begun() == ["job-1.part1", "job-1.part2"])
    os.killpg(caller.pid, signal.SIGKILL)
    caller.wait()
    two = Slots(folder=site.path / "slots", limits=Limits(jobs=2, free_memory=1))
    assert two.take(puts_back=True).why == "2 Ansible runs are at work, limits.jobs = 2"
    site.open_gate()
    result = site.parted().run(site.told(a_host("web1"), a_host("web2", "legacy")))
    assert result.status is JobStatus.FINISHED
    assert sorted(site.log()) == ["web1", "web2"]


def test_a_stopped_job_begins_no_further_part(site: Controlled) -> None:
    site.throttle = {"esx1": 1}
    site.playbook(f"- ansible.builtin.shell: echo {{{{ inventory_hostname }}}} >> {site.path}/log; {site.gate}")
    results, caller = running(site, site.told(a_host("web1", "", "esx1"), a_host("web2", "", "esx1")))
    until(site.log)
    site.parted().stop("job-1")
    site.open_gate()
    caller.join()
    assert site.log() == ["web1"]
    assert results[0].by_host["web2"].outcome is HostOutcome.NOTHING
    assert "stopped before it began" in results[0].message


def test_a_part_whose_ansible_is_gone_is_told_and_the_others_are_not_lost(site: Controlled) -> None:
    site.playbook(VERSION)
    job = site.told(a_host("web1"), a_host("web2", "newer"))
    result = site.parted().run(job)
    assert result.status is JobStatus.NOT_STARTED
    assert {host.host: host.outcome for host in result.hosts} == {"web1": HostOutcome.OK, "web2": HostOutcome.NOTHING}
    assert "no Ansible installation 'newer'" in result.by_host["web2"].message
    with pytest.raises(Unavailable, match="no Ansible installation 'newer'"):
        site.parted().run(site.told(a_host("web1", "newer"), a_host("web2", "newest"), name="job-3"))
    with pytest.raises(InvalidInput, match="needs several Ansible installations"):
        SupervisedRunner(jobs=site.jobs, content_root=lambda _: site.content).run(replace(job, id="job-2"))


def test_a_run_waits_for_a_place_and_says_so_and_a_killed_one_gives_its_place_back(site: Controlled) -> None:
    site.limits = Limits(jobs=1, free_memory=1)
    site.playbook("- ansible.builtin.command: sleep {{ patch_job.seconds }}")
    first = replace(site.job("web1", seconds="60"), id="CHG-0001.one")
    _, one = running(site, first)
    until(site.folder("CHG-0001.one").started.exists)
    results, two = running(site, replace(site.job("web2", seconds="0"), id="CHG-0002.two"))
    until(site.folder("CHG-0002.two").waiting.exists)
    why = "one Ansible run is at work, limits.jobs = 1"
    assert latest_progress(site.jobs, "CHG-0002") == f"CHG-0002.two waits: {why}"
    time.sleep(1)
    assert site.begun() == ["CHG-0001.one"]

    os.kill(site.supervisor("CHG-0001.one"), signal.SIGKILL)
    two.join()
    assert results[0].status is JobStatus.FINISHED
    assert not site.folder("CHG-0002.two").waiting.exists()
    for process in processes_of(site.folder("CHG-0001.one")):
        os.kill(process, signal.SIGKILL)
    one.join()


def test_a_reserved_place_is_there_when_the_job_runs_and_is_free_afterwards(site: Controlled) -> None:
    site.limits = Limits(jobs=1, free_memory=1)
    site.playbook(f"- ansible.builtin.shell: echo {{{{ inventory_hostname }}}} >> {site.path}/log")
    runner, job = site.parted(), site.job("web1")
    assert runner.reserve(job, lambda: True)
    results, other = running(site, site.job("web2", name="job-2"))
    until(site.folder("job-2").waiting.exists)
    assert runner.run(job).status is JobStatus.FINISHED
    other.join()
    assert results[0].status is JobStatus.FINISHED
    assert site.log() == ["web1", "web2"]
    assert runner.reserve(job, lambda: True), "what has begun needs no place"


def test_nobody_waits_for_a_place_longer_than_it_makes_sense(site: Controlled) -> None:
    site.memory, site.limits = 10, Limits(free_memory=100)
    asked = iter([True, True, False])
    assert not site.parted().reserve(site.job("web1"), lambda: next(asked))
    assert not site.folder().waiting.exists()


def test_who_died_while_waiting_waits_no_more(site: Controlled) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    folder = JobDir(site.jobs / "CHG-0001.one")
    folder.create()
    for process, told in ((os.getpid(), "CHG-0001.one waits: full"), (gone.pid, "")):
        folder.write(folder.waiting, {"why": "full", "pid": process})
        assert latest_progress(site.jobs, "CHG-0001") == told


def test_a_run_that_waits_can_be_stopped(site: Controlled) -> None:
    site.memory, site.limits = 10, Limits(free_memory=100)
    site.playbook(f"- ansible.builtin.shell: echo ran >> {site.path}/log")
    results, caller = running(site, site.job("web1"))
    until(site.folder().waiting.exists)
    site.parted().stop("job-1")
    caller.join()
    assert results[0].status is JobStatus.NOT_STARTED
    assert site.log() == []


def test_short_memory_holds_runs_back_until_there_is_more_but_not_the_way_back(site: Controlled) -> None:
    site.memory, site.limits = 10, Limits(free_memory=100)
    site.playbook(f"- ansible.builtin.shell: echo ran >> {site.path}/log")
    results, caller = running(site, site.job("web1"))
    until(site.folder().waiting.exists)
    (site.content / "playbooks/restore.yml").write_text((site.content / "playbooks/act.yml").read_text())
    back = replace(site.job("web1"), id="job-2", playbook="restore.yml")
    assert site.parted().run(back).status is JobStatus.FINISHED
    assert not site.folder().started.exists()
    site.memory = 1000
    caller.join()
    assert results[0].status is JobStatus.FINISHED
    assert site.log() == ["ran", "ran"]


def test_no_more_runs_than_the_limit_are_ever_at_work(site: Controlled) -> None:
    site.limits = Limits(jobs=3, free_memory=1)
    site.playbook(f"- ansible.builtin.shell: echo + >> {site.path}/log; sleep 0.5; echo - >> {site.path}/log")
    callers = [running(site, replace(site.job("web1"), id=f"job-{number}"))[1] for number in range(4)]
    for caller in callers:
        caller.join()
    at_work, most = 0, 0
    for line in site.log():
        at_work += 1 if line == "+" else -1
        most = max(most, at_work)
    assert (most <= 2, len(site.log())) == (True, 8), "the third place is kept for putting back"


def running(site: Controlled, job: Job) -> tuple[list[JobResult], threading.Thread]:
    """Run a job in the background; its result comes into the list."""
    assert job.environment is Environment.STAGING
    results: list[JobResult] = []

    def run() -> None:
        results.append(site.parted().run(job))

    caller = threading.Thread(target=run, daemon=True)
    caller.start()
    return results, caller
