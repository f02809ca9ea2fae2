"""The network of one lab instance: a bridge, a subnet of its own and one network namespace for each host."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from lab.commands import ip, run
from lab.errors import LabError
from lab.locks import locked

# Made by whichever lab comes first: two labs with different roots must not choose the same subnet.
_MACHINE_LOCK = Path("/run/lock/patch-lab.lock")
_SUBNETS = range(1, 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Subnet 10.77.INDEX.0/24; the controller is .1 of it, hosts begin at .10."""

    index: int

    @property
    def bridge(self) -> str:
        return f"plab{self.index}"

    @property
    def controller(self) -> str:
        return self.address(1)

    def address(self, number: int) -> str:
        return f"10.77.{self.index}.{number}"

    def link(self, number: int) -> str:
        """Name the controller's end of a host's cable; interface names have at most 15 characters."""
        return f"plab{self.index}-{number}"

    def namespace(self, number: int) -> str:
        return f"plab{self.index}-{number}"


def claim(folder: Path) -> Network:
    """Make the instance's bridge, on the subnet it had before or else on the first free one.

    The bridge itself is the claim: it carries the instance's folder as its alias.
    """
    kept = _kept(folder)
    with locked(_MACHINE_LOCK):
        bridges = _bridges()
        taken = _subnets_in_use()
        if kept is not None and bridges.get(kept.bridge) == str(folder):
            return kept
        if kept is not None and kept.index in taken:
            raise LabError(
                f"The lab instance in {folder} had the subnet {kept.address(0)}/24, which somebody else uses now;"
                " destroy the instance and make it again."
            )
        network = kept or Network(index=next(index for index in _SUBNETS if index not in taken))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "network.json").write_text(json.dumps({"index": network.index}))
        _make_bridge(network, folder)
        return network


def plug(network: Network, number: int) -> None:
    """Make a host's namespace and cable where they are missing."""
    namespace, link = network.namespace(number), network.link(number)
    if not Path("/run/netns", namespace).exists():
        ip(f"netns add {namespace}")
    if not Path("/sys/class/net", link).exists():
        ip(f"link add {link} type veth peer name eth0 netns {namespace}")
    ip(f"link set {link} master {network.bridge} up")
    address = f"addr replace {network.address(number)}/24 dev eth0"
    run(["ip", "-n", namespace, "-batch", "-"], stdin=f"{address}\nlink set eth0 up\nlink set lo up\n")


def unplug(folder: Path, number: int) -> None:
    """Take away the namespace and cable of a host of the instance; what is not there is no error."""
    network = _own(folder)
    if network:
        _unplug(network, number)


def cut(network: Network, number: int) -> None:
    ip(f"link set {network.link(number)} down")


def mend(network: Network, number: int) -> None:
    ip(f"link set {network.link(number)} up")


def release(folder: Path) -> None:
    """Take away the instance's bridge and whatever still hangs on it; an instance that has none is no error."""
    network = _own(folder)
    if network is None:
        return
    for number in range(2, 255):
        _unplug(network, number)
    ip(f"link del {network.bridge}")


def _own(folder: Path) -> Network | None:
    """Return the instance's network where its bridge still stands: the names could be somebody else's by now."""
    network = _kept(folder)
    return network if network and _bridges().get(network.bridge) == str(folder) else None


def _unplug(network: Network, number: int) -> None:
    if Path("/sys/class/net", network.link(number)).exists():
        ip(f"link del {network.link(number)}")
    if Path("/run/netns", network.namespace(number)).exists():
        ip(f"netns del {network.namespace(number)}")


def _kept(folder: Path) -> Network | None:
    try:
        return Network(index=int(json.loads((folder / "network.json").read_text())["index"]))
    except (OSError, ValueError, KeyError):
        return None


def _make_bridge(network: Network, folder: Path) -> None:
    ip(
        f"link add {network.bridge} type bridge forward_delay 0",
        f"link set dev {network.bridge} alias {folder}",
        f"addr add {network.controller}/24 dev {network.bridge}",
        f"link set {network.bridge} up",
    )


def _bridges() -> dict[str, str]:
    found = {}
    for interface in Path("/sys/class/net").iterdir():
        if re.fullmatch(r"plab\d+", interface.name):
            found[interface.name] = (interface / "ifalias").read_text().strip()
    return found


def _subnets_in_use() -> set[int]:
    """Find the 10.77.x subnets that this machine already has a route or an address in."""
    shown = run(["ip", "-4", "-o", "addr", "show"]).stdout + run(["ip", "-4", "route", "show", "table", "all"]).stdout
    return {int(index) for index in re.findall(r"\b10\.77\.(\d+)\.\d+", shown)}
