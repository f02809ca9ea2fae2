"""A lab instance: hosts with names, a network and a folder of their own, beside any other instance on the machine."""

import os
import re
import shlex
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Unpack

from lab import access, doctor, installing, inventory, network, overlay, processes, proxy
from lab import host as hosts
from lab.commands import run
from lab.errors import LabError
from lab.fleet import Fleet, Say
from lab.host import Host, HostOptions
from lab.locks import locked
from lab.names import check_name
from lab.repository import Repository

DEFAULT_ROOT = Path("/var/tmp/patch-orchestrator-lab")
_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")


class Lab:
    """One instance of the lab. Every method may be called again, and from several processes at once."""

    def __init__(self, name: str, root: Path | None = None, say: Say = lambda _: None) -> None:
        check_name("instance", name)
        self.name = name
        self.root = (root or Path(os.environ.get("PATCH_LAB_ROOT", DEFAULT_ROOT))).resolve()
        self.folder = self.root / "instances" / name
        self._say = say
        self._fleet = Fleet(name, self.root, say)

    def can_run(self) -> str:
        """Return "", or one sentence that says why this machine cannot run the lab."""
        return doctor.can_run(self.root)

    # Hosts ----------------------------------------------------------------------------------------------------

    def up(self, name: str, **options: Unpack[HostOptions]) -> Host:
        """Make the host if it is new, start it if it does not run, and wait until it answers SSH."""
        return self.up_many([name], **options)[0]

    def up_many(self, names: Sequence[str], **options: Unpack[HostOptions]) -> list[Host]:
        """Bring up several hosts of the same kind side by side."""
        for name in names:
            check_name("host", name)
        layers = self._fleet.layers(options)
        net = network.claim(self.folder)
        _raise_inotify_limit()
        self.start_proxy()
        with ThreadPoolExecutor(max_workers=8) as pool:
            return list(pool.map(lambda name: self._up(name, net, layers, options), names))

    def down(self, name: str) -> None:
        """End the host and forget it with its snapshots; a host that is not there is no error."""
        with self._fleet.holding(name) as folder:
            self._fleet.remove(folder)
            self._fleet.write_known_hosts()

    def destroy(self) -> None:
        """Leave no trace of the instance: process, mount, interface, namespace or file."""
        for folder in self._fleet.folders():
            with self._fleet.holding(folder.name):
                self._fleet.remove(folder)
        proxy.stop(self.folder)
        network.release(self.folder)
        overlay.remove(self.folder)

    def hosts(self) -> list[Host]:
        """List the hosts by name, running or not."""
        return self._fleet.all()

    def host(self, name: str) -> Host:
        return self._fleet.one(name)

    def is_up(self, name: str) -> bool:
        """Tell whether the host runs and answers SSH."""
        return hosts.answers_ssh(self.host(name).address)

    # Accidents ------------------------------------------------------------------------------------------------

    def reboot(self, name: str, seconds: float = 60) -> None:
        """Reboot the host in an orderly way and wait until it answers again, with a new boot id."""
        before = self._boot_id(name)
        self.run(name, ["systemctl", "reboot"])
        until = time.monotonic() + seconds
        while self._boot_id(name) in ("", before):
            if time.monotonic() > until:
                raise LabError(f"{name} did not come back within {seconds:.0f} s of its reboot.")
            time.sleep(0.1)

    def power_off(self, name: str) -> None:
        """Kill the host at once; its disk stays as it is."""
        host = self.host(name)
        with self._fleet.holding(name) as folder:
            hosts.kill(folder, host)

    def power_on(self, name: str) -> None:
        """Boot a host that is off and wait until it answers SSH."""
        host = self.host(name)
        with self._fleet.holding(name):
            self._fleet.start(host)

    def doom(self, name: str) -> None:
        """Let the host's next reboot be one that it does not come back from; power_on brings it back."""
        self.host(name)
        (self._fleet.folder_of(name) / "doomed").touch()

    def cut(self, name: str) -> None:
        """Pull the host's network cable."""
        network.cut(network.claim(self.folder), self.host(name).number)

    def mend(self, name: str) -> None:
        """Plug the host's network cable in again."""
        network.mend(network.claim(self.folder), self.host(name).number)

    def freeze(self, name: str) -> None:
        """Hold the host still: connections stay open and nothing answers."""
        self._freeze(name, still=True)

    def thaw(self, name: str) -> None:
        """Let a frozen host go on."""
        self._freeze(name, still=False)

    # States ---------------------------------------------------------------------------------------------------

    def snapshot(self, name: str, label: str) -> None:
        """Keep the host's disk as it is at one instant, as a snapshot of a virtual machine's disk does.

        The host is held still for as long as the copy takes (about 0.1 s); where the kernel cannot do that, it is
        stopped and started again.
        """
        host = self.host(name)
        with self._fleet.holding(name) as folder:
            with hosts.frozen(folder) as still:
                if still or not hosts.is_running(folder):
                    overlay.keep(folder, _label(label))
                    return
            self._fleet.stop(host)
            overlay.keep(folder, _label(label))
            self._fleet.start(host)

    def restore(self, name: str, label: str) -> None:
        """Put the host's disk back as it was and boot it; the snapshot stays."""
        host = self.host(name)
        if _label(label) not in self.snapshots(name):
            raise LabError(f"{name} has no snapshot {label}; it has: {', '.join(self.snapshots(name)) or 'none'}.")
        with self._fleet.holding(name) as folder:
            self._fleet.stop(host)
            overlay.put_back(folder, label)
            self._fleet.start(host)

    def drop_snapshot(self, name: str, label: str) -> None:
        """Forget a snapshot; one that is not there is no error."""
        self.host(name)
        with self._fleet.holding(name) as folder:
            overlay.remove(folder / "snapshots" / _label(label))

    def snapshots(self, name: str) -> list[str]:
        folder = self._fleet.folder_of(self.host(name).name) / "snapshots"
        return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))

    # Logging in -----------------------------------------------------------------------------------------------

    @property
    def ssh_key(self) -> Path:
        return access.ensure_key(self.root)

    @property
    def known_hosts_file(self) -> Path:
        return self._fleet.known_hosts_file

    def known_hosts(self) -> list[str]:
        """Return the host keys as lines for a known_hosts file."""
        return self._fleet.known_hosts()

    def run(
        self, name: str, argv: Sequence[str], *, user: str = "root", timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the host; the result is returned whatever its exit code, 255 where SSH itself failed."""
        options = access.ssh_options(self.ssh_key, self.known_hosts_file)
        target = f"{user}@{self.host(name).address}"
        return run(["ssh", *options, target, shlex.join(argv)], check=False, timeout=timeout)

    def inventory(self) -> str:
        """Describe the hosts as an Ansible inventory in YAML."""
        return inventory.render(self.hosts(), self.ssh_key, self.known_hosts_file)

    # Packages -------------------------------------------------------------------------------------------------

    @property
    def repository(self) -> Repository:
        """The packages of the lab's own that this instance's hosts are offered."""
        return Repository(self.folder / "repository")

    def start_proxy(self) -> str:
        """Start the server of packages where it does not run; returns its address."""
        net = network.claim(self.folder)
        with locked(self.folder / "proxy.lock"):
            self.repository.ensure_index()
            if not processes.recall(self.folder / "proxy.json"):
                proxy.start(self.folder, net.controller)
        return f"http://{net.controller}:{proxy.PORT}"

    def install(self, name: str, *packages: str) -> None:
        """Install packages by NAME or NAME=VERSION with the host's own package manager, older versions included."""
        family = self.host(name).family
        self._say(f"installing {', '.join(packages)} on {name}")
        for argv in installing.commands(family, packages):
            self._demand(name, argv)

    # Inside ---------------------------------------------------------------------------------------------------

    def _up(self, name: str, net: network.Network, layers: tuple[str, ...], options: HostOptions) -> Host:
        with self._fleet.holding(name) as folder:
            is_new = not (folder / "furnished").exists()
            host = self._fleet.ensure(name, net, layers, options)
            if options.get("doomed"):
                (folder / "doomed").touch()
            self._fleet.start(host)
        if is_new and options.get("rival_updaters"):
            self._say(f"giving {name} an updater of its own")
            for argv in installing.rival_updaters(host.family):
                self._demand(name, argv)
        return host

    def _freeze(self, name: str, *, still: bool) -> None:
        self.host(name)
        if not hosts.freeze(self._fleet.folder_of(name), still=still):
            raise LabError(f"{name} cannot be frozen: it does not run, or the kernel has no cgroup.freeze.")

    def _boot_id(self, name: str) -> str:
        return self.run(name, ["cat", "/proc/sys/kernel/random/boot_id"], timeout=15).stdout.strip()

    def _demand(self, name: str, argv: Sequence[str]) -> None:
        done = self.run(name, argv)
        if done.returncode != 0:
            raise LabError(f"`{shlex.join(argv)}` on {name} ended with {done.returncode}: {done.stdout}{done.stderr}")


def _label(label: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,100}", label):
        raise LabError(f"A snapshot's label has letters, digits, dashes, dots and colons, not {label!r}.")
    return label


def _raise_inotify_limit() -> None:
    """Raise the limit that stops about the eighteenth host: every systemd takes several inotify instances."""
    if int(_INOTIFY.read_text()) < 1024:
        _INOTIFY.write_text("1024")
