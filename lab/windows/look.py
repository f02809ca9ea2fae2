"""The script with which the product looks at a Windows host, answered from the host's state; no PowerShell runs here.

The script is known by its whole text: when it changes, this module has to be read against it, and the digest below is
to follow. `tests/contract/test_windows_look.py` holds the two together.
"""

from __future__ import annotations

import hashlib
import json
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lab.windows.machine import Machine, Service
from lab.windows.scripts import Answer, Asked, knows

if TYPE_CHECKING:
    from lab.windows.host import WindowsHost

MARKER = "# patch-orchestrator: look at a Windows host, version 1"
#: The sha256 of the script that the answers below were written for.
DIGEST = "cd593b355ebaa8bf5fc050003d3cce021aca481f451cbc7764dea6770db5b070"

_WINDOWS = r"HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion"
_SERVICING = rf"{_WINDOWS}\Component Based Servicing"
_UPDATE = rf"{_WINDOWS}\WindowsUpdate"
_CONTROL = r"HKLM:\SYSTEM\CurrentControlSet\Control"
_NETLOGON = r"HKLM:\SYSTEM\CurrentControlSet\Services\Netlogon"
_CLIENT = r"HKLM:\SOFTWARE\Microsoft\SMS\Mobile Client\Reboot Management\RebootData"
_POLICY = r"HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate"
_CONNECTIONS = rf"{_WINDOWS}\Internet Settings\Connections"
_MODES = {"auto": "Auto", "delayed": "Auto", "manual": "Manual", "disabled": "Disabled"}
_STATES = {"started": "Running", "stopped": "Stopped", "paused": "Paused"}


@knows(rf"^{MARKER}\b")
def look(host: WindowsHost, asked: Asked) -> Answer:
    digest = hashlib.sha256(asked.found.string.strip().encode()).hexdigest()
    if digest != DIGEST:
        words = f"lab: the script that looks at hosts is not the one that the lab knows (lab.windows.look): {digest}"
        return Answer(stderr=words, rc=1)
    machine = host.machine
    told = {
        "look": 1,
        "admin": True,
        "user": rf"{host.name}\Administrator",
        "time": int(machine.now().timestamp()),
        "uptime": int((machine.now() - machine.boot_time).total_seconds()),
        "drive": "C:",
        "free": int(machine.disk_free_gb * (1 << 30)),
        "reboot": _reboot(host),
        "client": ["MECM client: RebootData"] if machine.registry.find(_CLIENT) else [],
        "services": [_told(one) for name in ("wuauserv", "TrustedInstaller", "ccmexec") for one in _found(host, name)],
        "updates": _policy(machine),
        "failed": {},
    }
    return Answer(stdout=json.dumps(told, separators=(",", ":")) + "\r\n", changed=False)


def _reboot(host: WindowsHost) -> list[str]:
    machine = host.machine
    found = [
        f"servicing: {sign}"
        for sign in ("RebootPending", "RebootInProgress", "PackagesPending")
        if machine.registry.find(rf"{_SERVICING}\{sign}") or (sign == "RebootPending" and host.updates.need_reboot)
    ]
    if host.updates.need_reboot or machine.registry.find(rf"{_UPDATE}\Auto Update\RebootRequired"):
        found.append("Windows Update: RebootRequired")
    if machine.registry.keys_below(rf"{_UPDATE}\Services\Pending"):
        found.append(r"Windows Update: Services\Pending")
    for name in ("PendingFileRenameOperations", "PendingFileRenameOperations2"):
        files = _value(machine, rf"{_CONTROL}\Session Manager", name)
        count = sum(map(bool, files if isinstance(files, list) else [files]))
        found += [f"{name}: {count}"] if count else []
    names = [
        _value(machine, rf"{_CONTROL}\ComputerName\{key}", "ComputerName")
        for key in ("ActiveComputerName", "ComputerName")
    ]
    if all(names) and str(names[0]).lower() != str(names[1]).lower():
        found.append(f"computer name: {names[0]} becomes {names[1]}")
    joining = ("JoinDomain", "AvoidSpnSet")
    found += [f"domain: {name}" for name in joining if _value(machine, _NETLOGON, name) is not None]
    return found


def _policy(machine: Machine) -> dict[str, object]:
    server = str(_value(machine, _POLICY, "WUServer") or "")
    is_used = bool(server) and _value(machine, rf"{_POLICY}\AU", "UseWUServer") == 1
    settings = _value(machine, _CONNECTIONS, "WinHttpSettings")
    through_proxy = isinstance(settings, list) and len(settings) > 8 and bool(settings[8] & 2)

    def number(name: str) -> int:
        return int(str(_value(machine, rf"{_POLICY}\AU", name) or 0))

    return {
        "server": server if is_used else "",
        "reached": not is_used or through_proxy or _takes_connections(server),
        "proxy": is_used and through_proxy,
        "off": number("NoAutoUpdate") == 1,
        "option": number("AUOptions"),
        "day": number("ScheduledInstallDay"),
        "hour": number("ScheduledInstallTime"),
    }


def _takes_connections(server: str) -> bool:
    """Try for real: a test's server of updates is a port of this machine."""
    where = urlsplit(server)
    port = where.port or (443 if where.scheme == "https" else 80)
    try:
        socket.create_connection((where.hostname or "", port), timeout=3).close()
    except OSError:
        return False
    return True


def _found(host: WindowsHost, name: str) -> list[Service]:
    service = host.machine.service(name)
    return [service] if service else []


def _told(service: Service) -> dict[str, str]:
    return {"name": service.name, "mode": _MODES[service.start_mode], "state": _STATES[service.state]}


def _value(machine: Machine, path: str, name: str) -> object:
    key = machine.registry.find(path)
    return key.values.get(name, ("", None))[1] if key else None
