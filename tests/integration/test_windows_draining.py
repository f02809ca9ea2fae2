"""The drain roles for Windows on the lab's hosts: Ansible and WinRM are real, and no PowerShell runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.windows import drain_scripts
from lab.windows.instance import WindowsLab

ROOT = Path(__file__).parents[2]
NODE = {"state": "Up", "drain": "NotInitiated", "others": "node8=Up node9=Up", "votes": 3}
DIRECTORY = {"others": "dc8", "errors": "", "shares": "SYSVOL NETLOGON", "synchronized": "yes"}
#: How the hosts stand, and why they cannot be drained, or taken back into service.
NODES: dict[str, tuple[dict[str, object], str]] = {
    "node1": ({}, ""),
    "node2": ({"others": "node8=Up node9=Down"}, "node9 is Down. No two nodes may be out of the cluster at once"),
    "node3": ({"votes": 2}, "1 of 2 votes would be left"),
    "node4": ({"state": "Paused"}, "somebody has paused it by hand"),
    "node5": ({"failed": "SQL Server"}, "have failed before anything was done: SQL Server"),
    "node6": ({"stuck": "Files"}, "a role did not move"),
}
CONTROLLERS: dict[str, tuple[dict[str, object], str]] = {
    "dc1": ({}, ""),
    "dc2": ({"others": ""}, "1 other controllers of the domain have to answer, and 0 do"),
    "dc3": ({"errors": "dc8: error 1722, 3 times"}, "does not replicate, before anything was done to it: dc8"),
    "dc4": ({"shares": "SYSVOL"}, "NETLOGON is not shared"),
    "dc5": ({"synchronized": "no"}, "the directory is not synchronized"),
}
HOSTS = {**NODES, **CONTROLLERS, "plain": ({}, "'FailoverClusters' was not loaded")}


class Came:
    """What came of the plays: for each host the kinds reported, the changes, and why it failed."""

    def __init__(self, lines: list[str]) -> None:
        self.kinds: dict[str, list[str]] = {name: [] for name in HOSTS}
        self.changed: dict[str, list[bool]] = {name: [] for name in HOSTS}
        self.failure: dict[str, str] = dict.fromkeys(HOSTS, "")
        for line in lines:
            event = json.loads(line) if line.startswith("{") else {}
            for host, result in event.get("hosts", {}).items():
                if event["_event"] == "v2_runner_on_failed":
                    self.failure[host] = str(result.get("msg"))
                elif result.get("report"):
                    self.kinds[host].append(result["report"]["kind"])
                elif "changed" in result and "result" in result:
                    self.changed[host].append(result["changed"])


@pytest.fixture(scope="module")
def windows(new_windows_lab: Callable[..., WindowsLab], tmp_path_factory: pytest.TempPathFactory) -> WindowsLab:
    described: dict[str, Any] = {
        name: {"registry": {drain_scripts.CLUSTER: NODE | how}} for name, (how, _) in NODES.items()
    }
    for name, (how, _) in CONTROLLERS.items():
        described[name] = {"registry": {drain_scripts.DIRECTORY: DIRECTORY | how}}
    scenario = tmp_path_factory.mktemp("scenario") / "clusters.yml"
    scenario.write_text(yaml.safe_dump({"hosts": described}))
    return new_windows_lab(*HOSTS, scenario=scenario)


@pytest.fixture(scope="module")
def came(windows: WindowsLab, tmp_path_factory: pytest.TempPathFactory) -> Came:
    """Drain and undrain all hosts, each twice; one that fails is left alone from there on."""
    folder = tmp_path_factory.mktemp("draining")
    (folder / "windows.yml").write_text(windows.inventory("psrp"))
    roles = {
        name: f"patch_drain_{'domain_controller' if name in CONTROLLERS else 'failover_cluster'}" for name in HOSTS
    }
    batch = {name: {"patch_job": {"drain": role}} for name, role in roles.items()}
    (folder / "batch.yml").write_text(yaml.safe_dump({"patch_batch": {"hosts": batch}}))
    plays = [
        {"import_playbook": str(ROOT / f"playbooks/{name}.yml")} for name in ("drain", "drain", "undrain", "undrain")
    ]
    (folder / "plays.yml").write_text(yaml.safe_dump(plays))
    inventories = ["-i", str(folder / "windows.yml"), "-i", str(folder / "batch.yml")]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), *inventories, str(folder / "plays.yml")],
        env=os.environ
        | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.jsonl"},
        capture_output=True,
        text=True,
        check=False,
    )
    return Came((done.stdout + done.stderr).splitlines())


@pytest.mark.parametrize("name", [name for name, (_, why) in HOSTS.items() if why])
def test_host_that_must_not_leave_or_is_not_well_is_told_why(came: Came, name: str) -> None:
    assert HOSTS[name][1] in came.failure[name]
    assert came.kinds[name] == (["drained", "drained"] if name in ("dc4", "dc5") else [])


@pytest.mark.parametrize(("name", "changes"), [("node1", [True, False, True, False]), ("dc1", [False] * 4)])
def test_second_time_changes_nothing(came: Came, name: str, changes: list[bool]) -> None:
    assert came.failure[name] == ""
    assert came.kinds[name] == ["drained", "drained", "undrained", "undrained"]
    assert came.changed[name] == changes


def test_script_that_was_edited_is_not_known() -> None:
    for name, known in drain_scripts.DIGESTS.items():
        role, _, file = name.partition("/")
        text = (ROOT / "roles" / role / "files" / file).read_text()
        words = (
            "the script was edited: make the answer in lab/windows/drain_scripts.py do the same, then write its digest"
        )
        assert drain_scripts.digest(text) == known, f"{name}: {words}"
        assert drain_scripts.digest(text + "exit 0\n") != known
