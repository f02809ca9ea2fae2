"""One lab host as it is written down, and its life as a container: start, stop, freeze."""

import contextlib
import json
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypedDict

from lab import processes
from lab.commands import run
from lab.errors import LabError

Family = Literal["apt", "dnf", "zypper"]


class HostOptions(TypedDict, total=False):
    """What may be said about a host when it is made."""

    family: Family
    groups: tuple[str, ...]
    user: Literal["root", "patch", "patchpw"]
    sudo_password: str
    rival_updaters: bool
    doomed: Literal["", "reboot"]
    disk: str
    no_archive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host: its place in the instance's network, what it is and what it is made of."""

    name: str
    number: int
    address: str
    namespace: str
    machine: str
    family: Family = "apt"
    groups: tuple[str, ...] = ()
    user: str = "root"
    disk: str = ""
    layers: tuple[str, ...] = ()


def write(folder: Path, host: Host) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "host.part"
    part.write_text(json.dumps(asdict(host)))
    part.rename(folder / "host.json")


def read(folder: Path) -> Host | None:
    """Read a host back; None where it never got as far as being written down."""
    try:
        kept = json.loads((folder / "host.json").read_text())
    except FileNotFoundError:
        return None
    return Host(**{**kept, "groups": tuple(kept["groups"]), "layers": tuple(kept["layers"])})


def start(folder: Path, host: Host) -> None:
    """Boot the host under a supervisor that outlives this process; a host that runs already is left alone."""
    if is_running(folder):
        return
    plan = {"command": _command(folder, host), "control_groups": [str(path) for path in _control_groups(host)]}
    (folder / "start.json").write_text(json.dumps(plan))
    run([sys.executable, "-I", "-S", str(Path(__file__).with_name("supervisor.py")), str(folder)])


def is_running(folder: Path) -> bool:
    return processes.recall(folder / "supervisor.json") is not None


def kill(folder: Path, host: Host) -> None:
    """End the host at once, as when its power fails."""
    supervisor, nspawn = (processes.recall(folder / name) for name in ("supervisor.json", "nspawn.json"))
    marks = [mark for mark in (supervisor, nspawn) if mark]
    if nspawn:
        marks += processes.children(nspawn.pid)
    for mark in marks:
        mark.send(signal.SIGKILL)
    if not processes.wait_until_gone(marks, 10):
        raise LabError(f"The processes of {host.name} do not end: {[mark.pid for mark in marks]}.")
    for group in _control_groups(host):
        _remove_group(group)


@contextlib.contextmanager
def frozen(folder: Path) -> Iterator[bool]:
    """Hold all processes of the host still; yields whether that could be done."""
    try:
        yield freeze(folder, still=True)
    finally:
        freeze(folder, still=False)


def freeze(folder: Path, *, still: bool) -> bool:
    """Hold all processes of the host still, or let them go on; returns whether the kernel could."""
    switch = _freezer(folder)
    if switch is None:
        return False
    switch.write_text("1" if still else "0")
    return _wait_for(lambda: f"frozen {still:d}" in (switch.parent / "cgroup.events").read_text(), 5)


def nspawn(*options: str) -> list[str]:
    """Return the command that runs a container on this machine, whether or not systemd manages it."""
    unit = [] if _systemd_manages_this_machine() else ["--keep-unit"]
    return ["systemd-nspawn", "--quiet", "--register=no", *unit, *options]


def answers_ssh(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=1) as connection:
            connection.settimeout(2)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def wait_for_ssh(folder: Path, host: Host, seconds: float = 60) -> None:
    """Wait until the host answers SSH; what its console said is in the error when it does not."""
    until = time.monotonic() + seconds
    while not answers_ssh(host.address):
        if time.monotonic() > until or not is_running(folder):
            console = (folder / "console.log").read_text(errors="replace")[-1500:]
            raise LabError(f"{host.name} ({host.address}) does not answer SSH. Its console's last words:\n{console}")
        time.sleep(0.02)


def _command(folder: Path, host: Host) -> list[str]:
    # The death signal: without its supervisor a host would run on, and nobody would know of it.
    return [
        *("setpriv", "--pdeathsig", "KILL"),
        *nspawn("--boot"),
        f"--directory={folder}/root",
        f"--machine={host.machine}",
        f"--hostname={host.name}",
        f"--network-namespace-path=/run/netns/{host.namespace}",
        "--console=pipe",
    ]


def _control_groups(host: Host) -> list[Path]:
    """Name the control groups to make for the host where no systemd makes them.

    Without groups of their own all hosts share one: to freeze one would freeze all of them.
    """
    if _systemd_manages_this_machine():
        return []
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return [
        Path(where, f"patch-lab-{host.machine}")
        for _, where, kind, options, *_ in mounts
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options)
    ]


def _systemd_manages_this_machine() -> bool:
    return Path("/run/systemd/system").is_dir()


def _freezer(folder: Path) -> Path | None:
    """Find the switch that holds all of the host still: cgroup.freeze of the group around its systemd."""
    nspawn = processes.recall(folder / "nspawn.json")
    first = processes.children(nspawn.pid) if nspawn else []
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    hierarchy = next((fields[1] for fields in mounts if fields[2] == "cgroup2"), None)
    if not first or hierarchy is None:
        return None
    groups = Path(f"/proc/{first[0].pid}/cgroup").read_text()
    found = re.search(r"^0::(/.*?)(?:/init\.scope)?$", groups, re.MULTILINE)
    switch = Path(f"{hierarchy}{found.group(1)}/cgroup.freeze") if found else None
    return switch if switch and switch.exists() else None


def _remove_group(group: Path) -> None:
    if group.is_dir():
        for inner in sorted(group.rglob("*/"), reverse=True):
            _remove_empty(inner)
        _remove_empty(group)


def _remove_empty(group: Path) -> None:
    # Tasks that have just been killed are counted for a moment more.
    for _ in range(100):
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.01)


def _wait_for(claim: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True
