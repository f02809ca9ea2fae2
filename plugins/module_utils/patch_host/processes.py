"""Which processes still use files that were replaced on disk, and to which systemd unit each belongs."""

import os
import re
import typing

_MAPPING = re.compile(r"^\S+ ..x. \S+ \S+ [1-9]\d* +(/.*) \(deleted\)$", re.MULTILINE)
# Memory that has a name but was never a library on disk: shared memory, queues, graphics, just-in-time compilers.
_NEVER = re.compile(r"^/(?:memfd:|dev/|SYSV|tmp/|var/tmp/|run/|proc/|sys/|\[|drm|anon|i915|aio|home/|root/)")
_CONNECTION = re.compile(r"sshd(?:-session|-auth)?: ")
_UNIT = re.compile(r"([^/]+\.(?:service|scope|socket|mount|swap))")


class Stale(typing.NamedTuple):
    """A process that still runs replaced code. `unit` is "" where systemd knows none."""

    pid: int
    process: str
    unit: str
    path: str


def stale_processes(proc="/proc"):
    """List processes with executable mappings of deleted files, one line a process.

    Login sessions are left out (they end with the login), ours among them: the connection over which this very module
    came in began before the libraries were replaced.
    """
    found = []
    for pid in sorted(int(name) for name in os.listdir(proc) if name.isdigit()):
        path = _deleted_code(os.path.join(proc, str(pid)))
        if not path:
            continue
        unit, is_session = unit_of(_read(os.path.join(proc, str(pid), "cgroup")))
        process = _read(os.path.join(proc, str(pid), "comm")).strip()
        if is_session or _is_connection(proc, pid):
            continue
        found.append(Stale(pid, process, unit, path))
    return found


def unit_of(cgroup):
    """Return (unit, whether it is a login session) from the text of /proc/PID/cgroup."""
    path = ""
    for line in cgroup.splitlines():
        number, controllers, value = [*line.split(":", 2), "", ""][:3]
        if controllers == "name=systemd" or (number == "0" and not controllers and not path):
            path = value
    parts = [part for part in path.split("/") if _UNIT.match(part)]
    if "/init.scope" in path and "user.slice" not in path:
        return "init.scope", False
    if "user.slice" in path or any(part.startswith(("session-", "user@")) for part in parts):
        return (parts[0] if parts else ""), True
    own = [part for part in parts if part.startswith("patch-orchestrator-")]
    return (parts[0] if parts else ""), bool(own)


def _deleted_code(folder):
    for path in _MAPPING.findall(_read(os.path.join(folder, "maps"))):
        if not _NEVER.match(path) and not path.endswith(".dpkg-new"):
            return path
    return ""


def _is_connection(proc, pid):
    """Whether it is an SSH connection or runs under one; only the listener itself belongs to the service.

    Without pam_systemd everything that was started over SSH lies in the service's control group. A connection's parent
    says nothing: it is process 1 once the listener was restarted.
    """
    while pid > 1:
        title = _read(os.path.join(proc, str(pid), "cmdline"))
        if _CONNECTION.match(title) and "[listener]" not in title:
            return True
        pid = _parent(proc, pid)
    return False


def _parent(proc, pid):
    stat = _read(os.path.join(proc, str(pid), "stat"))
    fields = stat.rpartition(")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""  # the process has ended, or is a kernel thread
