"""What the role `patch_windows` asks of a host: its scripts by name and digest, each with what it does to the host.

The scripts are PowerShell and are not run. A script that was edited is not known until somebody has made the answer
here do the same and written its new digest down: a host says so, and tests/contract holds the digests against the role.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lab.windows.machine import RegistryKey, Service
from lab.windows.scripts import Answer, Asked, bare, knows
from lab.windows.updates import State, Update

if TYPE_CHECKING:
    from lab.windows.host import WindowsHost

#: sha256 of each script as Ansible sends it.
DIGESTS: Mapping[str, str] = {
    "cancel.ps1": "bb2a4a99d4781cecabbbffea97d4de18a96ab476f617c4fba6228314f69b021a",
    "look.ps1": "406754b972215fbc8f9a34f726fcc4df554fe28393cdc758f696d0074c83d54d",
    "record.ps1": "63887c3a26900dd3d102e9c1a067fd1b1987abfc96c68bf81608f54152d6538d",
    "rivals.ps1": "76a89d1085112908d528dd84ad264abba105d2f2915a22730c79c4d56287b9b4",
    "search.ps1": "96135c820b22a1e6fe7c06beac2983e49128b84b22fca5808734031079661dea",
}
POLICY = r"HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate"
_RIVALS = ("CcmExec",)
_PENDING = (State.PENDING_REBOOT, State.REMOVAL_PENDING)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\\[A-Za-z0-9][A-Za-z0-9._-]*)*")

Parameters = Mapping[str, object]
Told = dict[str, Any]


def digest(text: str) -> str:
    """Return what a script is known by."""
    return hashlib.sha256(bare(text).encode()).hexdigest()


@knows(r"\A# patch_windows/(\w+\.ps1): ")
def carry_out(host: WindowsHost, asked: Asked) -> Answer:
    """Do what a script of the role does; one whose text is another than the lab was taught is refused."""
    name = asked[1]
    if DIGESTS.get(name) != digest(asked.found.string):
        host.journal.add("unknown-script", kind="role", text=name)
        return Answer(
            stderr=f"lab: {name} is not the script that the lab knows; see lab/windows/product_scripts.py", rc=1
        )
    try:
        told, changed = _SCRIPTS[name](host, asked.parameters)
    except _Failed as failed:
        return Answer(stderr=str(failed), rc=1)
    return Answer(result={"json": json.dumps(told)}, output=[], changed=changed)


class _Failed(Exception):
    """The script ends with an error of its own."""


def _look(host: WindowsHost, given: Parameters) -> tuple[Told, bool]:
    machine, folder = host.machine, str(given["Folder"])
    working = [task for task in host.started_updates if not task.is_over]
    policy = machine.registry.find(rf"{POLICY}\AU") or RegistryKey(path="")
    server = machine.registry.find(POLICY) or RegistryKey(path="")
    uses_server = policy.values.get("UseWUServer", ("", 0))[1] == 1
    point = rf"{folder}\points\{given['Change']}"
    journal = machine.files.read(rf"{folder}\journal.jsonl") or b""
    return {
        "time": int(machine.now().timestamp()),
        "booted_at": int(machine.boot_time.timestamp()),
        "boot_id": str(int((machine.boot_time.timestamp() + 11644473600) * 10_000_000)),
        "os": {
            "build": str(machine.build),
            "revision": host.updates.build(machine.revision),
            "name": machine.caption.removeprefix("Microsoft "),
            "release": "21H2",
            "product_type": 3,
            "architecture": "AMD64",
        },
        "signs": ["servicing", "windows-update"] if host.updates.need_reboot else [],
        "services": [_service(service) for service in machine.services.values()],
        "listening": [{"address": "::", "port": port, "process": "System"} for port in (5985, 5986, 49668)],
        "disks": [{"path": "C:\\", "total": _bytes(machine.disk_total_gb), "free": _bytes(machine.disk_free_gb)}],
        "hotfixes": [one.kb for one in host.updates.installed() if "Definition Updates" not in one.categories],
        "events": [
            {"source": one.source, "id": one.id, "text": one.message} for one in reversed(machine.errors_since_boot())
        ],
        "busy": bool(working),
        "tasks": len(host.update_tasks),
        "tasks_fresh": bool(working),
        "server": str(server.values["WUServer"][1]) if uses_server else "",
        "rivals": {
            "no_auto_update": policy.values.get("NoAutoUpdate", ("", None))[1],
            "services": [_rival(service) for service in map(machine.service, _RIVALS) if service],
        },
        "journal": journal.decode(errors="replace"),
        "journal_bytes": len(journal),
        "claim": _text(host, rf"{folder}\claim.json"),
        "held": _text(host, rf"{folder}\rivals.json"),
        **{name: _text(host, rf"{point}\{name}.json") for name in ("point", "before", "transaction")},
    }, False


def _search(host: WindowsHost, _: Parameters) -> tuple[Told, bool]:
    agent = host.machine.service("wuauserv")
    if agent and agent.start_mode == "disabled":
        raise _Failed('Exception calling "Search" with "1" argument(s): "Exception from HRESULT: 0x80070422"')
    if host.faults.strike("no-update-server"):
        raise _Failed('Exception calling "Search" with "1" argument(s): "Exception from HRESULT: 0x8024402C"')
    with host.updates.lock:
        offered = host.updates.offered()
        found = [described(update) for update in (*offered, *host.updates.installed())]
    host.journal.add("updates-searched", kbs=[update.kb for update in offered])
    return {"updates": found}, False


def _record(host: WindowsHost, given: Parameters) -> tuple[Told, bool]:
    folder, work = str(given["Folder"]), json.loads(str(given["Work"]))
    files, path = host.machine.files, rf"{folder}\journal.jsonl"
    for name in (*(one["name"] for one in work["write"]), *work["remove"]):
        if not _NAME.fullmatch(name):
            raise _Failed(f"'{name}' is no name of a file of the orchestrator.")
    with host.lock:
        journal = files.read(path) or b""
        if int(str(given["Expected"])) not in (-1, len(journal)):
            return {"refused": True, "bytes": len(journal)}, False
        for one in work["write"]:
            files.write(rf"{folder}\{one['name']}", one["text"].encode())
        for name in work["remove"]:
            files.remove(rf"{folder}\{name}")
        if work["append"]:
            torn = b"\n" if journal and not journal.endswith(b"\n") else b""
            journal += torn + "".join(f"{line}\n" for line in work["append"]).encode()
            files.write(path, journal)
    return {"refused": False, "bytes": len(journal)}, True


def _rivals(host: WindowsHost, given: Parameters) -> tuple[Told, bool]:
    kept, holds = json.loads(str(given["Kept"])), given["Deed"] == "hold"
    with host.lock:
        values = host.machine.registry.make(rf"{POLICY}\AU").values
        was = values.get("NoAutoUpdate", ("", None))[1]
        wanted = 1 if holds else kept["no_auto_update"]
        changed = was != wanted
        if wanted is None:
            values.pop("NoAutoUpdate", None)
        else:
            values["NoAutoUpdate"] = ("REG_DWORD", wanted)
        for one in kept["services"]:
            service = host.machine.service(one["name"])
            if service:
                before = (service.start_mode, service.state)
                _hold(service) if holds else _give_back(service, one)
                changed = changed or before != (service.start_mode, service.state)
    if changed:
        host.journal.add("rivals-held" if holds else "rivals-given-back")
    return {"changed": changed}, changed


def _hold(service: Service) -> None:
    service.start_mode, service.state = "disabled", "stopped"


def _give_back(service: Service, kept: Mapping[str, Any]) -> None:
    service.start_mode = "delayed" if kept["delayed"] else str(kept["start"])
    service.state = "started" if kept["running"] else service.state


def _cancel(host: WindowsHost, _: Parameters) -> tuple[Told, bool]:
    tasks = list(host.update_tasks.values())
    host.update_tasks.clear()
    for task in tasks:
        task.cancel()
    return {"told": len(tasks), "left": 0}, bool(tasks)


def _service(service: Service) -> Told:
    failed = service.state == "stopped" and (service.fails_after_boot or service.fails_to_start)
    return {
        "name": service.name,
        "state": "running" if service.state == "started" else service.state,
        "start": "auto" if service.start_mode == "delayed" else service.start_mode,
        "delayed": service.start_mode == "delayed",
        "trigger": False,
        "exit_code": 1067 if failed else 0,
    }


def _rival(service: Service) -> Told:
    told = _service(service)
    told["running"] = told["state"] == "running"
    return {key: told[key] for key in ("name", "start", "delayed", "running")}


def described(update: Update) -> Told:
    return {
        "id": update.id,
        "revision": update.revision,
        "title": update.title,
        "kbs": [update.kb],
        "categories": list(update.categories),
        "severity": update.severity,
        "advisories": [],
        "size": update.megabytes << 20,
        "published": 0,
        "hidden": update.hidden,
        "installed": update.state in (State.INSTALLED, State.REMOVAL_PENDING),
        "reboot_required": update.state in _PENDING,
        "downloaded": update.state is State.DOWNLOADED,
        "removable": update.removable,
        "exclusive": update.exclusive,
    }


def _text(host: WindowsHost, path: str) -> str:
    return (host.machine.files.read(path) or b"").decode()


def _bytes(gigabytes: float) -> int:
    return int(gigabytes * (1 << 30))


_SCRIPTS: Mapping[str, Callable[[WindowsHost, Parameters], tuple[Told, bool]]] = {
    "cancel.ps1": _cancel,
    "look.ps1": _look,
    "record.ps1": _record,
    "rivals.ps1": _rivals,
    "search.ps1": _search,
}
