"""When a run that is to stop can be ended: between tasks, and never in the middle of a host's work."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.adapters.ansible.brake import Brake
from orchestrator.adapters.ansible.jobdir import JobDir


class Ansible:
    """A process that stands for Ansible's main process, and the events it would tell."""

    def __init__(self, brake: Brake) -> None:
        self.brake = brake
        self.process = subprocess.Popen(["sleep", "60"])

    def tell(self, name: str, host: str = "") -> None:
        self.brake.watch({"event": name, "pid": self.process.pid, "event_data": {"host": host}})

    def is_frozen(self) -> bool:
        return Path(f"/proc/{self.process.pid}/stat").read_text().split()[2] == "T"

    def freezes(self) -> bool:
        deadline = time.monotonic() + 5
        while not self.is_frozen() and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.is_frozen()


@pytest.fixture
def job(tmp_path: Path) -> JobDir:
    found = JobDir(tmp_path / "job")
    found.create()
    return found


@pytest.fixture
def ansible(job: JobDir) -> Iterator[Ansible]:
    found = Ansible(Brake(job, ["web1", "web2"]))
    yield found
    found.process.kill()
    found.process.wait()


def test_nothing_is_held_until_somebody_asks(ansible: Ansible) -> None:
    ansible.tell("playbook_on_task_start")
    assert not ansible.brake.is_due()
    assert not ansible.is_frozen()


def test_between_tasks_the_end_comes_at_once(ansible: Ansible, job: JobDir) -> None:
    ansible.tell("playbook_on_task_start")
    job.write(job.stop, {})
    assert ansible.brake.is_due()
    assert ansible.freezes()


def test_before_the_first_event_the_end_comes_at_once(job: JobDir) -> None:
    brake = Brake(job, ["web1"])
    brake.ask()
    assert brake.is_due()


def test_while_all_hosts_are_at_work_the_last_report_is_awaited(ansible: Ansible) -> None:
    ansible.tell("playbook_on_task_start")
    ansible.tell("runner_on_start", "web1")
    ansible.tell("runner_on_start", "web2")
    ansible.brake.ask()
    ansible.tell("runner_on_ok", "web1")
    assert not ansible.brake.is_due()
    assert not ansible.is_frozen()
    assert ansible.brake.at_work == ["web2"]
    ansible.tell("runner_on_ok", "web2")
    assert ansible.freezes()
    assert ansible.brake.is_due()


def test_a_host_that_waits_for_its_turn_never_gets_it(ansible: Ansible) -> None:
    ansible.tell("playbook_on_task_start")
    ansible.tell("runner_on_start", "web1")
    ansible.brake.ask()
    ansible.brake.is_due()
    assert ansible.freezes()


def test_a_host_that_is_out_is_not_waited_for(ansible: Ansible) -> None:
    ansible.tell("playbook_on_task_start")
    ansible.tell("runner_on_start", "web1")
    ansible.tell("runner_on_unreachable", "web1")
    ansible.tell("playbook_on_task_start")
    ansible.tell("runner_on_start", "web2")
    ansible.brake.ask()
    assert not ansible.brake.is_due()
    assert not ansible.is_frozen()


def test_ansible_can_be_ended_outright(ansible: Ansible) -> None:
    ansible.tell("playbook_on_task_start")
    ansible.brake.end_ansible()
    assert ansible.process.wait(timeout=5) == -signal.SIGKILL
