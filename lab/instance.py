"""A lab instance: hosts with names, a network and a folder of their own, beside any other instance on the machine."""

import os
import re
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Unpack

from lab import access, furnish, image, inventory, network, overlay, processes, proxy, rpm_layer
from lab import host as hosts
from lab.commands import run
from lab.errors import LabError
from lab.host import Host, HostOptions
from lab.locks import locked
from lab.repository import Repository
from lab.sources import read_distribution

DEFAULT_ROOT = Path("/var/tmp/patch-orchestrator-lab")
_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
_FIRST_HOST = 10


class Lab:
    """One instance of the lab. Every method may be called again, and from several processes at once."""

    def __init__(self, name: str, root: Path | None = None, say: image.Say = lambda _: None) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name):
            raise LabError(f"An instance is named with small letters, digits and dashes, not {name!r}.")
        self.name = name
        self.root = (root or Path(os.environ.get("PATCH_LAB_ROOT", DEFAULT_ROOT))).resolve()
        self.folder = self.root / "instances" / name
        self.known_hosts_file = self.folder / "known_hosts"
        self._say = say

    # Hosts ----------------------------------------------------------------------------------------------------

    def up(self, name: str, **options: Unpack[HostOptions]) -> Host:
        """Make the host if it is new, start it if it does not run, and wait until it answers SSH."""
        return self.up_many([name], **options)[0]

    def up_many(self, names: Sequence[str], **options: Unpack[HostOptions]) -> list[Host]:
        """Bring up several hosts of the same kind side by side."""
        for name in names:
            if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name):
                raise LabError(f"A host is named with small letters, digits and dashes, not {name!r}.")
        layers = self._layers(options)
        access.ensure_key(self.root)
        net = network.claim(self.folder)
        _raise_inotify_limit()
        self.start_proxy()
        with ThreadPoolExecutor(max_workers=8) as pool:
            return list(pool.map(lambda name: self._up(name, net, layers, options), names))

    def down(self, name: str) -> None:
        """End the host and forget it with its snapshots; a host that is not there is no error."""
        folder = self._host_folder(name)
        with locked(self._lock_file(name)):
            self._remove(folder)
            self._write_known_hosts()

    def destroy(self) -> None:
        """Leave no trace of the instance: process, mount, interface, namespace or file."""
        for folder in self._host_folders():
            with locked(self._lock_file(folder.name)):
                self._remove(folder)
        proxy.stop(self.folder)
        network.release(self.folder)
        overlay.remove(self.folder)

    def hosts(self) -> list[Host]:
        """List the hosts by name, running or not."""
        found = [hosts.read(folder) for folder in self._host_folders()]
        return sorted((host for host in found if host), key=lambda host: host.name)

    def host(self, name: str) -> Host:
        found = hosts.read(self._host_folder(name))
        if found is None:
            known = ", ".join(host.name for host in self.hosts()) or "none"
            raise LabError(f"The lab instance {self.name} has no host {name}; it has: {known}.")
        return found

    def is_up(self, name: str) -> bool:
        """Tell whether the host runs and answers SSH."""
        return hosts.is_running(self._host_folder(name)) and hosts.answers_ssh(self.host(name).address)

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
        with locked(self._lock_file(name)):
            hosts.kill(self._host_folder(name), host)

    def power_on(self, name: str) -> None:
        """Boot a host that is off and wait until it answers SSH."""
        host = self.host(name)
        with locked(self._lock_file(name)):
            self._start(host)

    def doom(self, name: str) -> None:
        """Let the host's next reboot be one that it does not come back from; power_on brings it back."""
        self.host(name)
        (self._host_folder(name) / "doomed").touch()

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

        The host is held still for as long as the copy takes (about 0.2 s); where the kernel cannot do that, it is
        stopped and started again.
        """
        host, folder = self.host(name), self._host_folder(name)
        with locked(self._lock_file(name)), hosts.frozen(folder) as still:
            if still or not hosts.is_running(folder):
                overlay.keep(folder, _label(label))
                return
        with locked(self._lock_file(name)):
            self._stop(host)
            overlay.keep(folder, _label(label))
            self._start(host)

    def restore(self, name: str, label: str) -> None:
        """Put the host's disk back as it was and boot it; the snapshot stays."""
        host, folder = self.host(name), self._host_folder(name)
        if _label(label) not in self.snapshots(name):
            raise LabError(f"{name} has no snapshot {label}; it has: {', '.join(self.snapshots(name)) or 'none'}.")
        with locked(self._lock_file(name)):
            self._stop(host)
            overlay.put_back(folder, label)
            self._start(host)

    def drop_snapshot(self, name: str, label: str) -> None:
        """Forget a snapshot; one that is not there is no error."""
        self.host(name)
        with locked(self._lock_file(name)):
            overlay.remove(self._host_folder(name) / "snapshots" / _label(label))

    def snapshots(self, name: str) -> list[str]:
        folder = self._host_folder(name) / "snapshots"
        return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))

    # Logging in -----------------------------------------------------------------------------------------------

    @property
    def ssh_key(self) -> Path:
        return access.ensure_key(self.root)

    def run(
        self, name: str, argv: Sequence[str], *, user: str = "root", timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the host; the result is returned whatever its exit code, 255 where SSH itself failed."""
        options = access.ssh_options(self.ssh_key, self.known_hosts_file)
        words = " ".join(_quote(word) for word in argv)
        target = f"{user}@{self.host(name).address}"
        return run(["ssh", *options, target, words], check=False, timeout=timeout)

    def known_hosts(self) -> list[str]:
        """Return the host keys as lines for a known_hosts file."""
        with locked(self.folder / "known_hosts.lock"):
            return self._known_hosts()

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
        """Install packages on a host with its own package manager, as NAME or in the manager's NAME=VERSION form."""
        argv = {
            "apt": ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "--allow-downgrades", "install"],
            "dnf": ["dnf", "-q", "-y", "--refresh", "install"],
            "zypper": ["zypper", "--non-interactive", "install", "--oldpackage"],
        }[self.host(name).family]
        if self.host(name).family == "apt":
            self._demand(name, ["apt-get", "-q", "update"])
        if self.host(name).family == "zypper":
            self._demand(name, ["zypper", "--non-interactive", "refresh"])
        self._demand(name, [*argv, *packages])

    # Inside ---------------------------------------------------------------------------------------------------

    def _layers(self, options: HostOptions) -> tuple[str, ...]:
        base = image.ensure_base(self.root, self._say)
        family = options.get("family", "apt")
        if family == "apt":
            return (str(base),)
        return (str(rpm_layer.ensure(self.root, base, family, self._say)), str(base))

    def _freeze(self, name: str, *, still: bool) -> None:
        self.host(name)
        if not hosts.freeze(self._host_folder(name), still=still):
            raise LabError(f"{name} cannot be frozen: it does not run, or the kernel has no cgroup.freeze.")

    def _boot_id(self, name: str) -> str:
        return self.run(name, ["cat", "/proc/sys/kernel/random/boot_id"], timeout=15).stdout.strip()

    def _demand(self, name: str, argv: Sequence[str]) -> None:
        done = self.run(name, argv)
        if done.returncode != 0:
            raise LabError(f"`{' '.join(argv)}` on {name} ended with {done.returncode}: {done.stdout}{done.stderr}")

    def _up(self, name: str, net: network.Network, layers: tuple[str, ...], options: HostOptions) -> Host:
        folder = self._host_folder(name)
        with locked(self._lock_file(name)):
            host = hosts.read(folder)
            if host is None or not (folder / "furnished").exists():
                host = self._make(name, net, layers, options)
            if options.get("doomed"):
                (folder / "doomed").touch()
            self._start(host)
        if options.get("rival_updaters"):
            self.install(name, "unattended-upgrades" if host.family == "apt" else "dnf-automatic")
        return host

    def _make(self, name: str, net: network.Network, layers: tuple[str, ...], options: HostOptions) -> Host:
        folder = self._host_folder(name)
        # What an interrupted attempt has left is of unknown worth.
        self._remove(folder)
        with locked(self.folder / "numbers.lock"):
            host = self._new_host(name, net, layers, options)
            hosts.write(folder, host)
        overlay.prepare(folder, host.disk)
        tree = overlay.mount(folder, [Path(layer) for layer in host.layers])
        public_key = self.ssh_key.with_suffix(".pub").read_text()
        furnish.furnish(tree, host, net.controller, public_key, options.get("sudo_password", ""))
        furnish.write_sources(tree, read_distribution(), net.controller)
        (folder / "host_key").write_text(furnish.host_key(tree))
        self._write_known_hosts()
        (folder / "furnished").touch()
        return host

    def _new_host(self, name: str, net: network.Network, layers: tuple[str, ...], options: HostOptions) -> Host:
        taken = {host.number for host in self.hosts()}
        number = next(number for number in range(_FIRST_HOST, 255) if number not in taken)
        return Host(
            name=name,
            number=number,
            address=net.address(number),
            namespace=net.namespace(number),
            machine=f"plab{net.index}-{self.name}-{name}"[:64].rstrip("-"),
            family=options.get("family", "apt"),
            groups=tuple(options.get("groups", ())),
            user=options.get("user", "root"),
            disk=options.get("disk", ""),
            layers=layers,
        )

    def _start(self, host: Host) -> None:
        folder = self._host_folder(host.name)
        net = network.claim(self.folder)
        network.plug(net, host.number)
        overlay.prepare(folder, host.disk)
        overlay.mount(folder, [Path(layer) for layer in host.layers])
        hosts.start(folder, host)
        hosts.wait_for_ssh(folder, host)

    def _stop(self, host: Host) -> None:
        folder = self._host_folder(host.name)
        hosts.kill(folder, host)
        overlay.unmount(folder)

    def _remove(self, folder: Path) -> None:
        host = hosts.read(folder)
        if host:
            hosts.kill(folder, host)
            network.unplug(network.claim(self.folder), host.number)
        overlay.forget(folder)

    def _write_known_hosts(self) -> None:
        with locked(self.folder / "known_hosts.lock"):
            part = self.known_hosts_file.with_suffix(".part")
            part.write_text("".join(f"{line}\n" for line in self._known_hosts()))
            part.rename(self.known_hosts_file)

    def _known_hosts(self) -> list[str]:
        keys = {host: self._host_folder(host.name) / "host_key" for host in self.hosts()}
        return [f"{host.address},{host.name} {path.read_text()}" for host, path in keys.items() if path.exists()]

    def _host_folders(self) -> list[Path]:
        folder = self.folder / "hosts"
        return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []

    def _host_folder(self, name: str) -> Path:
        return self.folder / "hosts" / name

    def _lock_file(self, name: str) -> Path:
        return self.folder / "hosts" / f"{name}.lock"


def _label(label: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,100}", label):
        raise LabError(f"A snapshot's label has letters, digits, dashes, dots and colons, not {label!r}.")
    return label


def _quote(word: str) -> str:
    return word if re.fullmatch(r"[\w@%+=:,./-]+", word) else "'" + word.replace("'", "'\"'\"'") + "'"


def _raise_inotify_limit() -> None:
    """Raise the limit that stops about the eighteenth host: every systemd takes several inotify instances."""
    if int(_INOTIFY.read_text()) < 1024:
        _INOTIFY.write_text("1024")
