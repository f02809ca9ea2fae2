"""The command lines by which hosts of each family install packages."""

from collections.abc import Sequence

from lab.errors import LabError
from lab.host import Family

_APT_GET = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]
_ZYPPER = ["zypper", "--non-interactive"]
_DNF_AUTOMATIC = """\
printf '[Service]\\nType=oneshot\\nExecStart=/usr/bin/dnf -y upgrade\\n' >/etc/systemd/system/dnf-automatic.service
printf '[Timer]\\nOnCalendar=06:00\\n[Install]\\nWantedBy=timers.target\\n' >/etc/systemd/system/dnf-automatic.timer
systemctl daemon-reload
systemctl --quiet enable --now dnf-automatic.timer
"""


def commands(family: Family, packages: Sequence[str]) -> list[list[str]]:
    """List the commands that read the repositories anew and install packages, as NAME or NAME=VERSION."""
    if family == "apt":
        return [[*_APT_GET, "update"], [*_APT_GET, "install", "--allow-downgrades", *packages]]
    if family == "dnf":
        return [["dnf", "-q", "-y", "--refresh", "install", *(package.replace("=", "-") for package in packages)]]
    return [[*_ZYPPER, "refresh"], [*_ZYPPER, "install", "--oldpackage", *packages]]


def rival_updaters(family: Family) -> list[list[str]]:
    """List the commands that give a host an updater of its own, which a change has to hold.

    Debian does not package dnf-automatic: its timer is written as Fedora ships it.
    """
    if family == "apt":
        return commands(family, ["unattended-upgrades"])
    if family == "dnf":
        return [["sh", "-ec", _DNF_AUTOMATIC]]
    raise LabError("The lab has no rival updater for zypper hosts: bring them up without one.")
