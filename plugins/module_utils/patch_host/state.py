"""Look at the host: what runs, what listens, what is installed, what the journal says."""

import os
import time

from ansible.module_utils.patch_host import sockets, units
from ansible.module_utils.patch_host.processes import stale_processes
from ansible.module_utils.patch_host.reboot import reboot_reasons

_RECORDS = 200


def tell_state_after(host):
    """Have the host tell how it is now that a step has ended, as soon as it has settled.

    SSH answers long before the last service of a boot is up; looking earlier would call it gone.
    """
    host.journal.let_go()
    units.wait_until_settled(host.family.shell)
    host.tell(collect_state("after", host.job, host.family, host.journal))


def collect_state(when, job, family, journal, expected_kernel=""):
    """Return the `state` report. Changes nothing."""
    installed = family.installed()
    stale = stale_processes()
    reasons = reboot_reasons(family, stale, expected_kernel)
    problems = family.check_health()
    records = journal.records()
    running = os.uname().release
    return {
        "kind": "state",
        "when": when,
        "boot_id": boot_id(),
        "booted_at": booted_at(),
        "time": int(time.time()),
        "kernel": {"running": running, "newest": family.newest_kernel() or running},
        "reboot_required": {"needed": bool(reasons), "reasons": reasons},
        "deleted_libraries": [dict(one._asdict()) for one in stale],
        "units": units.services(family.shell, job.services_ignored),
        "listening": sockets.listening(),
        "disks": [_disk(path) for path in job.paths if os.path.exists(path)],
        "packages": {key(package): package.version for package in installed},
        "auto": sorted(key(package) for package in installed if package.auto),
        "held": sorted(key(package) for package in installed if package.held),
        "manager": {"ok": not problems, "problems": problems},
        "at_work": journal.is_at_work(),
        "journal": records[-_RECORDS:],
        "journal_length": len(records),
    }


def key(package):
    """Name a package as reports do: name:arch."""
    return "%s:%s" % (package.name, package.arch)


def boot_id():
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def booted_at():
    """Return when process 1 started; in a container this is the container's boot, not the machine's."""
    with open("/proc/1/stat", encoding="utf-8") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    with open("/proc/stat", encoding="utf-8") as file:
        machine = next(int(line.split()[1]) for line in file if line.startswith("btime"))
    return machine + ticks // os.sysconf("SC_CLK_TCK")


def os_release(path="/etc/os-release"):
    """Return what os-release(5) says."""
    values = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            name, found, value = line.strip().partition("=")
            if found and not name.startswith("#"):
                values[name] = value.strip("\"'")
    return values


def distribution():
    """Return the distribution as the `scan` report names it."""
    values = os_release()
    return {
        "id": values.get("ID", ""),
        "release": values.get("VERSION_ID", ""),
        "codename": values.get("VERSION_CODENAME", ""),
    }


def _disk(path):
    found = os.statvfs(path)
    return {"path": path, "total": found.f_blocks * found.f_frsize, "free": found.f_bavail * found.f_frsize}
