"""A lab instance's Windows hosts, seen from the commands: one process holds them all."""

import json
import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab import processes
from lab.commands import detach
from lab.errors import LabError
from lab.locks import locked
from lab.names import check_name
from lab.windows import agreed, control, inventory, scenario
from lab.windows.journal import Entry, read
from lab.windows.kdc import Realm

Say = Callable[[str], None]
_START_SECONDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host as an inventory needs it."""

    name: str
    address: str
    groups: tuple[str, ...]


class WindowsLab:
    """The Windows hosts of one instance. Needs no root; every method may be called again."""

    def __init__(self, name: str, root: Path | None = None, say: Say = lambda _: None) -> None:
        check_name("instance", name)
        self.name = name
        self.folder = (root or _default_root()) / "windows" / name
        self._say = say
        # Of all instances: a lock of its own would have to go with the instance, while others may wait for it.
        self._lock = self.folder.parent / ".lock"

    # Hosts ----------------------------------------------------------------------------------------------------

    def up(
        self,
        *names: str,
        scenario: str | Path = "monthly",
        groups: Sequence[str] = (),
        owner: int | None = None,
        realm: Realm | None = None,
    ) -> list[Host]:
        """Make hosts, and start the process that holds them where it does not run.

        With `owner`, a process id, everything ends when that process has ended; with `realm` the hosts belong to a
        Kerberos realm. Scenario, owner and realm are of the instance: they count for the first hosts of it.
        """
        for name in names:
            check_name("host", name)
        with locked(self._lock):
            if not self.is_running:
                self._start(Path(scenario), owner, realm)
        found = control.ask(self.folder, "add", names=list(names), groups=list(groups))
        return [_host(one) for one in found]

    def down(self) -> None:
        """End the instance's hosts and forget them; an instance that has none is no error."""
        with locked(self._lock):
            running = processes.recall(self.folder / agreed.PROCESS)
            if running:
                running.send(signal.SIGKILL)
                processes.wait_until_gone([running], 10)
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def is_running(self) -> bool:
        return processes.recall(self.folder / agreed.PROCESS) is not None

    def hosts(self) -> list[Host]:
        return [_host(one) for one in self.status()]

    def status(self) -> list[dict[str, Any]]:
        """Tell how each host stands: boot, build, updates, services, errors in its log, faults, snapshots."""
        found: list[dict[str, Any]] = control.ask(self.folder, "status")
        return found

    def host(self, name: str) -> dict[str, Any]:
        """Tell how one host stands."""
        found = next((one for one in self.status() if one["name"] == name), None)
        if found is None:
            raise LabError(f"The Windows hosts of {self.name} have none named {name}.")
        return found

    def journal(self, name: str, deed: str = "") -> list[Entry]:
        """Read what was done to a host, oldest first; works after its process has ended, too."""
        entries = read(self.folder / agreed.JOURNALS / f"{name}.jsonl")
        return [entry for entry in entries if deed in ("", entry.deed)]

    def read_file(self, name: str, path: str) -> str:
        """Return a file of the host as text, past every login."""
        content: str = control.ask(self.folder, "read_file", name=name, path=path)
        return content

    # Accidents ------------------------------------------------------------------------------------------------

    def fault(self, name: str, kind: str, **fields: Any) -> None:
        """Let something go wrong with a host (`lab.windows.faults.KINDS`)."""
        control.ask(self.folder, "fault", name=name, kind=kind, **fields)

    def mend(self, name: str, kind: str = "") -> None:
        """Lift the faults of a kind, or all."""
        control.ask(self.folder, "mend", name=name, kind=kind)

    def publish(self, kb: str, *names: str) -> None:
        """Offer an update that the scenario holds back, to the hosts named or to all."""
        control.ask(self.folder, "publish", kb=kb, names=list(names))

    def reboot(self, name: str) -> None:
        control.ask(self.folder, "reboot", name=name)

    def power_on(self, name: str) -> None:
        """Boot a host that did not come back from its reboot."""
        control.ask(self.folder, "power_on", name=name)

    # States ---------------------------------------------------------------------------------------------------

    def snapshot(self, name: str, label: str) -> None:
        """Keep the host's state as a hypervisor keeps a machine's disk."""
        control.ask(self.folder, "snapshot", name=name, label=label)

    def restore(self, name: str, label: str) -> None:
        """Put the host's state back and boot it; the snapshot stays."""
        control.ask(self.folder, "restore", name=name, label=label)

    def drop_snapshot(self, name: str, label: str) -> None:
        """Forget a snapshot; one that is not there is no error."""
        control.ask(self.folder, "drop_snapshot", name=name, label=label)

    # Logging in -----------------------------------------------------------------------------------------------

    @property
    def account(self) -> tuple[str, str]:
        """Return the first account of the instance and its password."""
        accounts = yaml.safe_load((self.folder / agreed.SCENARIO).read_text())["accounts"]
        user, password = next(iter(accounts.items()))
        return str(user), str(password)

    @property
    def certificates(self) -> Path:
        """Return the folder with `authority.pem`, `client.pem` and `client.key`."""
        return self.folder / agreed.CERTIFICATES

    def inventory(self, connection: str = "winrm", authentication: str = "ntlm") -> str:
        """Describe the hosts as an Ansible inventory in YAML."""
        login = inventory.Login(
            connection=connection, authentication=authentication, user=self.account[0], folder=self.folder
        )
        return inventory.render([(one.name, one.address, one.groups) for one in self.hosts()], login)

    # Inside ---------------------------------------------------------------------------------------------------

    def _start(self, path: Path, owner: int | None, realm: Realm | None) -> None:
        described = scenario.read(path)
        accounts = dict(described.accounts) or {"Administrator": secrets.token_urlsafe(12)}
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, mode=0o700)
        content = {
            "accounts": accounts,
            "updates": described.updates,
            "scripts": described.scripts,
            "every_host": described.every_host,
            "hosts": described.hosts,
        }
        (self.folder / agreed.SCENARIO).write_text(yaml.safe_dump(content, sort_keys=False))
        secret = self.folder / agreed.PASSWORD
        secret.touch(mode=0o600)
        secret.write_text(next(iter(accounts.values())))
        if owner is not None:
            processes.remember(self.folder / agreed.OWNER, owner)
        if realm is not None:
            kept = {"name": realm.name, "config": str(realm.config), "keytab": str(realm.keytab)}
            (self.folder / agreed.REALM).write_text(json.dumps(kept))
        self._say(f"starting the Windows hosts of {self.name}")
        log = self.folder / "serving.log"
        roots = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(root for root in roots if root)}
        detach([sys.executable, "-m", "lab.windows.serving", str(self.folder)], log=log, environment=environment)
        until = time.monotonic() + _START_SECONDS
        while not self.is_running:
            if time.monotonic() > until:
                raise LabError(f"The Windows hosts of {self.name} do not start; see {log}: {log.read_text()[-800:]}")
            time.sleep(0.02)


def _default_root() -> Path:
    """Return PATCH_LAB_ROOT, or a folder that the calling account may write to."""
    if root := os.environ.get("PATCH_LAB_ROOT"):
        return Path(root).resolve()
    suffix = f"-{os.geteuid()}" if os.geteuid() else ""
    return Path(f"/var/tmp/patch-orchestrator-lab{suffix}")


def _host(told: dict[str, Any]) -> Host:
    return Host(name=told["name"], address=told["address"], groups=tuple(told["groups"]))
