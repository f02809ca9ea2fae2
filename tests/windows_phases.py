"""The playbooks on the lab's Windows hosts: one run for a phase of many hosts, each with a job of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lab.windows.instance import WindowsLab
from tests import forked
from tests.events import reports_of
from tests.windows_play import login

ROOT = Path(__file__).resolve().parents[1]
JOURNAL = r"C:\ProgramData\patch-orchestrator\journal.jsonl"
Job = dict[str, Any]
Item = dict[str, Any]
Report = dict[str, Any]
#: Short, so that a dead host is told soon; psrp tries five times where it may.
PATIENCE: dict[str, Any] = {
    "ansible_winrm_operation_timeout_sec": 2,
    "ansible_winrm_read_timeout_sec": 4,
    "ansible_winrm_connection_timeout": 4,
    "ansible_psrp_operation_timeout": 2,
    "ansible_psrp_read_timeout": 4,
    "ansible_psrp_connection_timeout": 2,
    "ansible_psrp_reconnection_retries": 0,
    "patch_windows_settle_seconds": 1,
    "patch_windows_grace_seconds": 0,
}


@dataclass
class Outcome:
    """What a phase came to on one host."""

    outcome: str = "nothing"
    message: str = ""
    changed: bool = False
    reports: dict[str, Report] = field(default_factory=dict)

    def __getitem__(self, kind: str) -> Report:
        return self.reports[kind]


class Site:
    """An instance of the lab, and how each of its hosts is reached."""

    def __init__(self, lab: WindowsLab, folder: Path, ways: Mapping[str, tuple[str, str]]) -> None:
        self.lab = lab
        self.folder = folder
        self.counter = 0
        addresses = {host.name: host.address for host in lab.hosts()}
        logins = {way: login(lab, *way) for way in set(ways.values())}
        self.hosts = {name: {"ansible_host": addresses[name], **logins[way], **PATIENCE} for name, way in ways.items()}

    def job(self, items: list[Item], **more: Any) -> Job:
        self.counter += 1
        token = {"installation": "ours", "counter": self.counter}
        usual = {"change": "CHG-1", "token": token, "items": items, "timeout": 20, "reboot_timeout": 60}
        return {**usual, "packages_dir": "", "fetch_to": "", **more}

    def phase(
        self, name: str, jobs: Mapping[str, Job], variables: Mapping[str, Any] | None = None
    ) -> dict[str, Outcome]:
        path = self.folder / f"{name}-{self.counter}.yml"
        hosts = {host: {**self.hosts[host], "patch_job": job, **(variables or {})} for host, job in jobs.items()}
        path.write_text(yaml.safe_dump({"patch_batch": {"hosts": hosts}}))
        done = forked.play(["-i", str(path), str(ROOT / f"playbooks/{name}.yml"), "-f", "40"], cwd=self.folder)
        found = read_events(done.stdout)
        assert set(found) == set(jobs), done.stdout[-2000:] + done.stderr[-2000:]
        return found

    def journal(self, host: str) -> list[tuple[str, str, str]]:
        records = map(json.loads, self.lab.read_file(host, JOURNAL).splitlines())
        return [(one["step"], one["event"], one["outcome"]) for one in records]

    def installations(self, host: str) -> list[str]:
        """Name the updates that were installed, as often as they were."""
        return [str(entry.details["kb"]) for entry in self.lab.journal(host, "update-begun")]


def read_events(text: str) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}
    for line in text.splitlines():
        event = json.loads(line) if line.startswith("{") else {}
        outcome = {
            "v2_runner_on_ok": "ok",
            "v2_runner_on_failed": "failed",
            "v2_runner_on_unreachable": "unreachable",
        }.get(str(event.get("_event")))
        for host, result in event.get("hosts", {}).items() if outcome else ():
            one = found.setdefault(host, Outcome())
            one.outcome, one.message = str(outcome), str(result.get("msg") or "")
            one.changed = one.changed or bool(result.get("changed"))
            for report in reports_of(result):
                one.reports[report["kind"]] = report
    return found
