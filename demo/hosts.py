"""Part one: six Linux hosts, with a service of ours on each."""

from pathlib import Path

from demo.errors import DemoError
from demo.shell import Excerpt
from demo.stage import DOOMED, PRODUCTION, STAGING, Stage

_ADVICE = (
    "The demo boots real Linux hosts on this machine: run it as root (or with sudo) on a machine or virtual machine of "
    "its own; a container needs --privileged. Everything but the demo and the lab's tests works without."
)

#: Half of it has to be free for the change of CHG 3, as its template says; the hosts fill about 300 MB.
_DISK = "2G"
_MEMORY_NEEDED = 5 << 20  # KiB


def build(stage: Stage) -> None:
    """Boot the hosts and give each the service labapp; one host's configuration is not like the others'."""
    stage.terminal.tell("Can this machine boot Linux hosts? It takes mounts, network namespaces and containers.")
    if stage.lab("doctor", expect=(0, 1)).code:
        raise DemoError(_ADVICE)
    stage.terminal.tell(
        "Two staging hosts and four production hosts, with systemd, sshd and apt of their own.",
        "The first time, the image they share is made of the distribution's packages; it is kept.",
    )
    disks = ["--disk", _DISK] if _has_memory_to_spare() else []
    if disks:
        stage.terminal.tell(f"There is memory enough: what they change lies there, at most {_DISK} each.")
    for names in (STAGING, PRODUCTION):
        done = stage.lab("up", *names, "--group", "web", *disks)
        stage.addresses |= {line.split()[0]: line.split()[1] for line in done.lines if line.startswith(names)}
    _install_service(stage)
    _make_one_host_differ(stage)


def has_pending_updates(stage: Stage) -> bool:
    """Ask a host for the distribution's pending security updates."""
    stage.terminal.tell("Which security updates of the distribution are pending on these hosts today?")
    asked = "apt-get -s upgrade | grep -i '^Inst.*security' || true"
    done = stage.shell.script(f'{stage.lab_typed} run {PRODUCTION[0]} -- sh -c "{asked}"', show=Excerpt(head=4, tail=1))
    pending = sum(line.startswith("Inst ") for line in done.lines)
    if pending:
        stage.terminal.good(f"{pending} security updates are pending")
    return pending > 0


def _has_memory_to_spare() -> bool:
    """Tell whether six disks fit into memory; they hold about 300 MB each in the end."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    available = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    return available >= _MEMORY_NEEDED


def _install_service(stage: Stage) -> None:
    stage.terminal.tell(
        "Every host runs labapp 1.0, a small web service, and has labtool 1.0: both from the lab's repository."
    )
    for package in ("labapp", "labtool"):
        stage.lab("repo", "publish", package, "1.0")
    names = " ".join((*STAGING, *PRODUCTION))
    stage.shell.script(f"printf '%s\\n' {names} | xargs -P6 -I% {stage.lab_typed} install % labapp=1.0 labtool=1.0")


def _make_one_host_differ(stage: Stage) -> None:
    stage.terminal.tell(
        f"{DOOMED} is the odd one out: somebody once set legacy=yes there, and no staging host has that.",
        "Keep it in mind; nobody else does.",
    )
    changed = "sed -i s/legacy=no/legacy=yes/ /etc/labapp.conf && systemctl restart labapp && cat /etc/labapp.conf"
    stage.lab("run", DOOMED, "--", "sh", "-c", changed)
