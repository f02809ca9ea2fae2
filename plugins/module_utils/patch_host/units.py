"""Ask and restart systemd's units."""

import fnmatch
import time

from ansible.module_utils.patch_host.processes import stale_processes

# Restarting these cuts sessions, consoles, the network, containers or the bus off, or is refused by the unit itself.
NEVER_RESTARTED = (
    "dbus*.service",
    "systemd-logind.service",
    "getty@*",
    "serial-getty@*",
    "console-getty*",
    "container-getty@*",
    "autovt@*",
    "user@*",
    "user-runtime-dir@*",
    "ssh@*",
    "sshd@*",
    "gdm*.service",
    "lightdm*.service",
    "sddm*.service",
    "kdm*.service",
    "xdm*.service",
    "display-manager.service",
    "networking.service",
    "NetworkManager*.service",
    "systemd-networkd*.service",
    "wicked*.service",
    "wpa_supplicant*.service",
    "ModemManager.service",
    "openvpn*.service",
    "strongswan*.service",
    "docker.service",
    "containerd.service",
    "crio.service",
    "libvirt*.service",
    "virtlogd.service",
    "virtlockd.service",
    "lxc*.service",
    "xendomains.service",
    "auditd.service",
    "multipathd.service",
    "iscsid.service",
    "emergency.service",
    "rescue.service",
    "plymouth*.service",
    "patch-orchestrator-*",
)
# They come and go with logins and questions over the bus; their absence says nothing about the host.
TRANSIENT = (
    "user@*.service",
    "user-runtime-dir@*.service",
    "systemd-hostnamed.service",
    "systemd-localed.service",
    "systemd-timedated.service",
    "ssh@*.service",
    "sshd@*.service",
    "patch-orchestrator-*",
)


def is_named(unit, patterns):
    return any(fnmatch.fnmatchcase(unit, pattern) for pattern in patterns)


def services(shell, ignored=()):
    """Return {"running": [...], "failed": [...]}, without transient units and those on the list."""
    found = {"running": [], "failed": []}
    plain = ["--plain", "--full", "--no-legend", "--no-pager"]
    listing = ["systemctl", "list-units", "--type=service", "--state=running,failed", *plain]
    done = shell.run(listing, timeout=30)
    for line in done.out.splitlines():
        fields = line.split()
        if len(fields) > 3 and not is_named(fields[0], TRANSIENT) and not is_named(fields[0], ignored):
            found["failed" if "failed" in fields[2:4] else "running"].append(fields[0])
    return {key: sorted(value) for key, value in found.items()}


def wait_until_settled(shell, seconds=60, sleep=time.sleep):
    """Wait until systemd has no job left, as after a boot; return whether that came within the time."""
    for _ in range(seconds):
        done = shell.run(["systemctl", "list-jobs", "--no-legend", "--no-pager"], timeout=30)
        if done.rc == 0 and not done.out.strip():
            return True
        sleep(1)
    return False


def restart_stale(shell):
    """Restart the services whose processes still run replaced code. Return (restarted, not restarted), names sorted.

    systemd itself is asked to execute itself anew. What must not be restarted is left to the reboot decision.
    """
    stale = stale_processes()
    if not stale:
        return [], []
    restarted, left = (
        [],
        sorted({one.unit for one in stale if one.unit and not _may_restart(one.unit)} - {"init.scope"}),
    )
    if any(one.unit == "init.scope" for one in stale):
        done = shell.run(["systemctl", "daemon-reexec"], timeout=90)
        (restarted if done.rc == 0 else left).append("init.scope")
    wanted = sorted({one.unit for one in stale if _may_restart(one.unit)})
    if wanted:
        # One job for all, so that units that depend on each other are restarted once.
        failed = set()
        if shell.run(["systemctl", "restart", *wanted], timeout=300).rc != 0:
            failed = {unit for unit in wanted if shell.run(["systemctl", "is-active", unit], timeout=30).rc != 0}
        restarted += [unit for unit in wanted if unit not in failed]
        left += sorted(failed)
    return restarted, left


def _may_restart(unit):
    return unit.endswith(".service") and not is_named(unit, NEVER_RESTARTED)
