"""Whether this machine can run the lab: what is missing, and what its kernel really allows."""

import os
import shutil
import tempfile
import uuid
from pathlib import Path

from lab import host as hosts
from lab import overlay
from lab.commands import run
from lab.errors import LabError

REQUIRED_COMMANDS: tuple[tuple[str, str], ...] = (
    ("systemd-nspawn", "systemd-container"),
    ("mmdebstrap", "mmdebstrap"),
    ("ip", "iproute2"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("openssl", "openssl"),
    ("setpriv", "util-linux"),
    ("setsid", "util-linux"),
    ("mount", "mount"),
    ("apt-config", "apt"),
    ("apt-ftparchive", "apt-utils"),
    ("dpkg-deb", "dpkg"),
    ("rpmbuild", "rpm"),
    ("createrepo_c", "createrepo-c"),
    ("modifyrepo_c", "createrepo-c"),
)


def missing_packages() -> list[str]:
    """List the Debian packages whose commands are not installed."""
    return sorted({package for command, package in REQUIRED_COMMANDS if not shutil.which(command)})


def can_run(root: Path) -> str:
    """Return "", or one sentence that says why this machine cannot run the lab."""
    if os.geteuid() != 0:
        return "The lab makes mounts, network namespaces and containers, which only root may do."
    missing = missing_packages()
    if missing:
        return f"The lab needs packages that are not installed: apt-get install {' '.join(missing)}"
    try:
        _try_overlay(root)
        _try_namespace()
        _try_container(root)
    except LabError as refused:
        return f"The kernel refuses what the lab needs: {refused}"
    return ""


def _try_overlay(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="probe-", dir=root) as scratch:
        folder, lower = Path(scratch), Path(scratch, "lower")
        lower.mkdir()
        overlay.prepare(folder, "")
        try:
            overlay.mount(folder, [lower])
        finally:
            overlay.unmount(folder)


def _try_namespace() -> None:
    name = f"plab-probe-{uuid.uuid4().hex[:8]}"
    run(["ip", "netns", "add", name])
    try:
        run(["ip", "-n", name, "link", "add", "type", "veth"])
        run(["ip", "-n", name, "link", "add", "plabprobe", "type", "bridge"])
    finally:
        run(["ip", "netns", "del", name])


def _try_container(root: Path) -> None:
    """Run one command of this machine's own /usr in a container."""
    with tempfile.TemporaryDirectory(prefix="probe-", dir=root) as scratch:
        Path(scratch, "usr").mkdir()
        for name in ("bin", "lib", "lib64"):
            Path(scratch, name).symlink_to(f"usr/{name}")
        machine = f"--machine=plab-probe-{uuid.uuid4().hex[:8]}"
        run(hosts.nspawn(f"--directory={scratch}", machine, "--bind-ro=/usr", "--as-pid2", "/usr/bin/true"))
