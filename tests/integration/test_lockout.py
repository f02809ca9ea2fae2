"""A password that is wrong is shown to one host, also where Ansible is at work: real Ansible, simulated hosts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.windows.instance import WindowsLab
from orchestrator.adapters.ansible.inventory import AnsibleInventory
from orchestrator.adapters.ansible.parts import PartedRunner
from orchestrator.adapters.ansible.runner import SupervisedRunner
from orchestrator.adapters.probes.winrm import WinRmProbe
from orchestrator.domain.inventory import Environment
from orchestrator.domain.job import HostJob, HostOutcome, Job, JobResult
from orchestrator.domain.probe import Needs
from orchestrator.flow.knocking import KnockingRunner

NAMES = ("win1", "win2", "win3", "win4")
NewLab = Callable[..., WindowsLab]


class Site:
    """A site whose inventory looks the lab's password up in a file."""

    def __init__(self, path: Path, lab: WindowsLab, connection: str) -> None:
        self.lab, self.password = lab, lab.folder / "password"
        self.probe = WinRmProbe()
        content = path / "content"
        (content / "inventories/staging").mkdir(parents=True)
        (content / "playbooks").mkdir()
        (content / "ansible.cfg").write_text("[defaults]\ngather_facts = False\n")
        (content / "inventories/staging/hosts.yml").write_text(lab.inventory(connection))
        play = "- hosts: patch_batch\n  gather_facts: false\n  tasks:\n    - ansible.windows.win_ping:\n"
        (content / "playbooks/act.yml").write_text(play)
        self.inventory = AnsibleInventory(site=content, frozen=lambda _: content, site_key=b"key")
        jobs = path / "jobs"
        supervised = SupervisedRunner(jobs=jobs, content_root=lambda _: content)
        self.runner = KnockingRunner(
            runner=PartedRunner(supervised, jobs=jobs, throttle={}),
            probe=self.probe,
            hosts=lambda job: self.inventory.frozen_hosts("all", job.environment, "c"),
        )

    def run(self, name: str) -> JobResult:
        job = Job(
            id=name, change="CHG-0001", playbook="act.yml", environment=Environment.STAGING, content="c",
            hosts=tuple(HostJob(host=host, patch_job={}) for host in NAMES), timeout=60,
        )  # fmt: skip
        return self.runner.run(job)

    def refusals(self) -> int:
        return sum(len(self.lab.journal(name, "login-refused")) for name in NAMES)


@pytest.mark.parametrize("connection", ["winrm", "psrp"])
def test_password_that_changed_between_look_and_job_is_refused_once(
    new_windows_lab: NewLab, tmp_path: Path, connection: str
) -> None:
    site = Site(tmp_path, new_windows_lab(*NAMES), connection)
    hosts = site.inventory.resolve("all", Environment.STAGING)
    assert all(report.is_fit for report in site.probe.look(hosts, Needs()))
    assert {one.outcome for one in site.run("job-1").hosts} == {HostOutcome.OK}
    site.password.write_text("changed by somebody")
    result = site.run("job-2")
    assert {one.outcome for one in result.hosts} == {HostOutcome.UNREACHABLE}
    assert "changed by somebody" not in repr(result)
    assert site.refusals() == 1
    site.run("job-3")
    assert site.refusals() == 1, "the same password was shown again"
