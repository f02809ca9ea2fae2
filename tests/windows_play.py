"""Ansible on the lab's Windows hosts: a play through ansible-runner, and what each task came to on each host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lab.windows.instance import WindowsLab

Task = dict[str, Any]
_OUTCOMES = {
    "runner_on_ok": "ok",
    "runner_on_skipped": "skipped",
    "runner_on_failed": "failed",
    "runner_on_unreachable": "unreachable",
}


@dataclass(frozen=True)
class Came:
    """What one task came to on one host."""

    outcome: str
    result: dict[str, Any] = field(repr=False)

    def __getitem__(self, name: str) -> Any:
        return self.result[name]

    @property
    def told(self) -> str:
        """Everything that the result says in words."""
        return (
            str(self.result.get("msg", "")) + str(self.result.get("stderr", "")) + str(self.result.get("exception", ""))
        )


class Played:
    """All results of a play: `played[host]` in the order of the tasks."""

    def __init__(self) -> None:
        self.came: dict[str, list[Came]] = defaultdict(list)

    def __getitem__(self, host: str) -> list[Came]:
        return self.came[host]

    def outcomes(self, host: str) -> list[str]:
        return [one.outcome for one in self.came[host]]

    def take(self, event: dict[str, Any]) -> None:
        if outcome := _OUTCOMES.get(event["event"]):
            data = event["event_data"]
            self.came[data["host"]].append(Came(outcome, data.get("res", {})))


def play(folder: Path, inventory: dict[str, Any], tasks: list[Task], **more: Any) -> Played:
    """Run the tasks on every host of the inventory; a task that fails does not stop the host."""
    played = Played()
    (folder / "project").mkdir(parents=True, exist_ok=True)
    book = [{"hosts": "all", "gather_facts": False, "ignore_errors": True, "tasks": tasks, **more}]
    (folder / "project/play.yml").write_text(yaml.safe_dump(book))
    (folder / "ansible.cfg").write_text("[defaults]\nforks = 20\ndeprecation_warnings = false\n")
    (folder / "inventory.yml").write_text(yaml.safe_dump({"all": inventory}))
    # In a process of its own, as the product starts it: ansible-runner leaves files open.
    command = [sys.executable, "-m", "ansible_runner", "run", str(folder), "-p", "play.yml", "--json"]
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_INVENTORY": str(folder / "inventory.yml"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        [*command, "--inventory", str(folder / "inventory.yml")],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env=environment,
    )
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            played.take(json.loads(line))
    assert played.came, done.stdout
    return played


def login(lab: WindowsLab, connection: str, authentication: str = "ntlm") -> dict[str, Any]:
    """Return the variables with which Ansible reaches a host in one way."""
    described = yaml.safe_load(lab.inventory(connection, authentication))["all"]
    return dict(described["vars"])


def hosts(lab: WindowsLab, **ways: dict[str, Any]) -> dict[str, Any]:
    """Make an inventory of hosts, each with the variables given for it."""
    addresses = {host.name: host.address for host in lab.hosts()}
    return {"hosts": {name: {"ansible_host": addresses[name], **way} for name, way in ways.items()}}
