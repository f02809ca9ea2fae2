"""The process that the Windows hosts of one instance live in: `python -m lab.windows.serving FOLDER`.

It ends by itself when its owner has ended, or when its folder is gone.
"""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lab import processes
from lab.errors import LabError
from lab.windows import control, scenario
from lab.windows.agreed import ACCOUNTS, CERTIFICATES, HTTP_PORT, JOURNALS, OWNER, PROCESS, REALM, SCENARIO
from lab.windows.faults import Fault
from lab.windows.host import WindowsHost
from lab.windows.journal import Journal
from lab.windows.protocol import certificates
from lab.windows.protocol.authentication import Policy, write_ntlm_accounts
from lab.windows.protocol.server import Listeners, Service
from lab.windows.scenario import Scenario
from lab.windows.updates import told

_SUBNETS = range(1, 255)
_FIRST_HOST = 10


class Instance:
    """The hosts of one instance, each on an address of its own: 127.77.INDEX.10 and following."""

    def __init__(self, folder: Path, described: Scenario) -> None:
        self._folder = folder
        self._scenario = described
        self._claim, self._index = _claim()
        self._hosts: dict[str, WindowsHost] = {}
        self._facts: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        certificates.make_authority(folder / CERTIFICATES, next(iter(described.accounts)))
        self._deeds: Mapping[str, Callable[..., Any]] = {
            "add": self.add,
            "status": self.status,
            "fault": self.fault,
            "mend": self.mend,
            "publish": self.publish,
            "read_file": self.read_file,
            "reboot": lambda name: self._host(name).shut_down(0),
            "power_on": lambda name: self._host(name).power_on(),
            "snapshot": lambda name, label: self._host(name).keep(label),
            "restore": lambda name, label: self._host(name).put_back(label),
            "drop_snapshot": lambda name, label: self._host(name).drop(label),
        }

    def answer(self, asked: Mapping[str, Any]) -> Any:
        """Do what a command asks for."""
        words = dict(asked)
        return self._deeds[words.pop("deed")](**words)

    def add(self, names: list[str], groups: list[str]) -> list[dict[str, Any]]:
        """Make the hosts that are not there yet, and let them listen."""
        with self._lock:
            new = [name for name in names if name not in self._hosts]
            machines = [*self._hosts, *new]
            write_ntlm_accounts(self._folder / ACCOUNTS, machines, self._scenario.accounts)
            for name in new:
                self._add(name, groups)
        return [self._facts[name] for name in names]

    def status(self) -> list[dict[str, Any]]:
        return [{**self._facts[name], **_told(host)} for name, host in self._hosts.items()]

    def fault(self, name: str, **fields: Any) -> None:
        self._host(name).faults.set(Fault(**fields))
        self._host(name).journal.add("fault-set", **fields)

    def mend(self, name: str, kind: str) -> None:
        self._host(name).faults.lift(kind)
        self._host(name).journal.add("fault-lifted", kind=kind or "all")

    def publish(self, kb: str, names: list[str]) -> None:
        for name in names or list(self._hosts):
            self._host(name).updates.publish(kb)
            self._host(name).journal.add("update-published", kb=kb)

    def read_file(self, name: str, path: str) -> str:
        content = self._host(name).machine.files.read(path)
        if content is None:
            known = ", ".join(self._host(name).machine.files.names()) or "none"
            raise LabError(f"{name} has no file {path}; it has: {known}.")
        return content.decode("utf-8-sig", errors="replace")

    def _add(self, name: str, groups: list[str]) -> None:
        plan = self._scenario.plan(name)
        address = f"127.77.{self._index}.{_FIRST_HOST + len(self._hosts)}"
        host = WindowsHost(
            plan.machine,
            plan.updates,
            journal=Journal(self._folder / JOURNALS / f"{name}.jsonl"),
            taught=plan.taught,
            reboot_seconds=plan.reboot_seconds,
            settle_seconds=plan.settle_seconds,
        )
        for fault in plan.faults:
            host.faults.set(fault)
        service = Service(
            policy=Policy(
                machine=name,
                kinds=plan.authentication,
                accounts=self._scenario.accounts,
                certificates={certificates.CLIENT_NAME: next(iter(self._scenario.accounts))},
            ),
            journal=host.journal,
            faults=host.faults,
            allow_unencrypted=plan.allow_unencrypted,
            run_command=host.run_command,
            run_script=host.run_script,
        )
        listeners = Listeners(address, service, certificates.make_host(self._folder / CERTIFICATES, name, address))
        host.on_down, host.on_up = listeners.close, listeners.open
        listeners.open()
        self._hosts[name] = host
        self._facts[name] = {"name": name, "address": address, "groups": [*plan.groups, *groups]}

    def _host(self, name: str) -> WindowsHost:
        if name not in self._hosts:
            raise LabError(f"There is no Windows host {name}; there are: {', '.join(self._hosts) or 'none'}.")
        return self._hosts[name]


def _told(host: WindowsHost) -> dict[str, Any]:
    return {
        "state": "down" if host.is_down else "up",
        "boot_time": host.machine.boot_time.isoformat(),
        "build": f"{host.machine.build}.{host.updates.build(host.machine.revision)}",
        "pending_reboot": host.updates.need_reboot,
        "updates": told(host.updates.catalogue),
        "offered": [update.kb for update in host.updates.offered()],
        "services": {service.name: service.state for service in host.machine.services.values()},
        "errors_since_boot": [f"{one.source} {one.id}: {one.message}" for one in host.machine.errors_since_boot()],
        "faults": host.faults.told(),
        "snapshots": host.snapshots,
    }


def _claim() -> tuple[socket.socket, int]:
    """Take the first subnet whose first address nobody listens on; the kernel gives it back when the process ends."""
    for index in _SUBNETS:
        claim = socket.socket()
        claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            claim.bind((f"127.77.{index}.1", HTTP_PORT))
            claim.listen()
        except OSError:
            claim.close()
            continue
        return claim, index
    raise LabError(f"No subnet 127.77.N.0/24 is free: something listens on port {HTTP_PORT} of every loopback address.")


def main() -> None:
    """Serve one instance until its owner ends or its folder is gone."""
    folder = Path(sys.argv[1])
    os.environ["NTLM_USER_FILE"] = str(folder / ACCOUNTS)
    if (folder / REALM).exists():
        realm = json.loads((folder / REALM).read_text())
        os.environ |= {"KRB5_CONFIG": realm["config"], "KRB5_KTNAME": f"FILE:{realm['keytab']}"}
    (folder / JOURNALS).mkdir(exist_ok=True)
    owned = (folder / OWNER).exists()
    instance = Instance(folder, scenario.read(folder / SCENARIO))
    control.listen(folder, instance.answer)
    processes.remember(folder / PROCESS, os.getpid())
    while folder.is_dir() and not (owned and processes.recall(folder / OWNER) is None):
        time.sleep(0.2)
    # Threads may hold connections open for an hour: nothing of them is worth waiting for.
    os._exit(0)


if __name__ == "__main__":
    main()
