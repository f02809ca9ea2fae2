"""The hosts of one instance as they stand on disk, and how one is made, started, stopped and taken away."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import access, furnish, image, network, overlay, rpm_layer
from lab import host as hosts
from lab.errors import LabError
from lab.host import Host, HostOptions
from lab.locks import locked

Say = Callable[[str], None]
_FIRST_HOST = 10


class Fleet:
    """What an instance keeps about its hosts. Callers hold the host's lock where a host is changed."""

    def __init__(self, name: str, root: Path, say: Say) -> None:
        self.name = name
        self.root = root
        self.folder = root / "instances" / name
        self.known_hosts_file = self.folder / "known_hosts"
        self._say = say

    def all(self) -> list[Host]:
        found = [hosts.read(folder) for folder in self.folders()]
        return sorted((host for host in found if host), key=lambda host: host.name)

    def one(self, name: str) -> Host:
        found = hosts.read(self.folder_of(name))
        if found is None:
            known = ", ".join(host.name for host in self.all()) or "none"
            raise LabError(f"The lab instance {self.name} has no host {name}; it has: {known}.")
        return found

    def folders(self) -> list[Path]:
        folder = self.folder / "hosts"
        return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []

    def folder_of(self, name: str) -> Path:
        return self.folder / "hosts" / name

    @contextmanager
    def holding(self, name: str) -> Iterator[Path]:
        """Hold the host's lock; yields its folder."""
        with locked(self.folder / "hosts" / f"{name}.lock"):
            yield self.folder_of(name)

    def layers(self, options: HostOptions) -> tuple[str, ...]:
        """Return the folders that a new host's file system is made of, the uppermost first."""
        base = image.ensure_base(self.root, self._say)
        family = options.get("family", "apt")
        if family == "apt":
            return (str(base),)
        return (str(rpm_layer.ensure(self.root, base, family, self._say)), str(base))

    def ensure(self, name: str, net: network.Network, layers: tuple[str, ...], options: HostOptions) -> Host:
        """Return the host, made anew where it is missing or was left half made."""
        folder = self.folder_of(name)
        host = hosts.read(folder)
        if host and (folder / "furnished").exists():
            return host
        self.remove(folder)
        with locked(self.folder / "numbers.lock"):
            host = self._describe(name, net, layers, options)
            hosts.write(folder, host)
        overlay.prepare(folder, host.disk)
        tree = overlay.mount(folder, [Path(layer) for layer in host.layers])
        public_key = access.ensure_key(self.root).with_suffix(".pub").read_text()
        furnish.furnish(tree, host, net.controller, public_key, options.get("sudo_password", ""))
        if options.get("no_archive"):
            furnish.forget_archive(tree)
        (folder / "host_key").write_text(furnish.host_key(tree))
        self.write_known_hosts()
        (folder / "furnished").touch()
        return host

    def start(self, host: Host) -> None:
        """Boot the host where it does not run, and wait until it answers SSH."""
        folder = self.folder_of(host.name)
        network.plug(network.claim(self.folder), host.number)
        overlay.prepare(folder, host.disk)
        overlay.mount(folder, [Path(layer) for layer in host.layers])
        hosts.start(folder, host)
        hosts.wait_for_ssh(folder, host)

    def stop(self, host: Host) -> None:
        """End the host at once and take its file system apart; its changes stay."""
        folder = self.folder_of(host.name)
        hosts.kill(folder, host)
        overlay.unmount(folder)

    def remove(self, folder: Path) -> None:
        """Take away everything of a host, however far it got."""
        host = hosts.read(folder)
        if host:
            hosts.kill(folder, host)
            network.unplug(self.folder, host.number)
        overlay.forget(folder)

    def known_hosts(self) -> list[str]:
        keys = {host: self.folder_of(host.name) / "host_key" for host in self.all()}
        return [f"{host.address},{host.name} {path.read_text()}" for host, path in keys.items() if path.exists()]

    def write_known_hosts(self) -> None:
        with locked(self.folder / "known_hosts.lock"):
            part = self.known_hosts_file.with_suffix(".part")
            part.write_text("".join(f"{line}\n" for line in self.known_hosts()))
            part.rename(self.known_hosts_file)

    def _describe(self, name: str, net: network.Network, layers: tuple[str, ...], options: HostOptions) -> Host:
        taken = {host.number for host in self.all()}
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
