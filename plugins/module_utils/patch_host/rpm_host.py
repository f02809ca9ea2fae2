"""What a host with rpm shows beside its packages: locks that are held, kernels, what was replaced since the boot."""

import os
import re
import time

from ansible.module_utils.patch_host.errors import PatchError
from ansible.module_utils.patch_host.rpm_versions import sort_key
from ansible.module_utils.patch_host.shell import Completed
from ansible.module_utils.patch_host.state import booted_at

# Only a reboot brings these into effect everywhere: the list of dnf's needs-restarting, with SUSE's names.
CORE = re.compile(
    r"^(glibc|systemd|udev|dbus|dbus-1|dbus-broker|dbus-daemon|linux-firmware|kernel-firmware.*|microcode_ctl|"
    r"ucode-(intel|amd)|openssl|openssl-libs|libopenssl[0-9_.]+)$"
)
_KERNEL = re.compile(
    r"^kernel(-(rt|debug|64k|64kb|uek|PAE|xen|azure|default|preempt|vanilla|longterm|lt|ml|zfcpdump))*"
    r"(-(core|base|extra|optional|modules(-(core|extra|internal|partner))?|devel))?$"
)


def is_kernel_name(name):
    """Whether a package of this name is installed beside its older versions instead of replacing them."""
    return bool(_KERNEL.match(name))


def newest_kernel(modules=("/lib/modules", "/usr/lib/modules"), boot="/boot"):
    """Return the newest release that has an image, of the running kernel's flavour if there is one; "" for none."""
    found = set()
    for folder in modules:
        if os.path.isdir(folder):
            found |= {name for name in os.listdir(folder) if os.path.exists(os.path.join(folder, name, "vmlinuz"))}
    if os.path.isdir(boot):
        images = [name.partition("-")[2] for name in os.listdir(boot) if name.startswith(("vmlinuz-", "Image-"))]
        found |= {release for release in images if release and "rescue" not in release}
    same = {release for release in found if _flavour(release) == _flavour(os.uname().release)}
    return max(same or found, key=sort_key, default="")


def replaced_since_boot(found, now=None):
    """List the core packages among the database's rows that were installed after the boot."""
    since = booted_at() if now is None else now
    return sorted({row.name for row in found if row.installed_at > since and CORE.match(row.name)})


def lock_holder(shell, pid_files, owners=()):
    """Say who holds the rpm database or the package manager; "" when nobody does.

    A `pid_file` counts when its process lives and, where `owners` are given, looks like one of them: these files stay
    behind, and process numbers come round again.
    """
    path = shell.run(["rpm", "--eval", "%{_dbpath}"], timeout=30).out.strip()
    holder = _locker(os.path.join(path, ".rpm.lock"))
    if holder:
        return "process %d (%s) holds the rpm database" % (holder, _command(holder))
    for pid_file in pid_files:
        holder = _live_process(pid_file)
        command = _command(holder) if holder else ""
        if command and (not owners or any(owner in command.lower() for owner in owners)):
            return "process %d (%s) holds %s" % (holder, command, pid_file)
    return ""


def wait_until_free(held, patience=300, pause=time.sleep):
    """Wait until `held()` says "". Raise `PatchError` when it does not in `patience` seconds; nobody is killed."""
    for _ in range(patience // 2):
        holder = held()
        if not holder:
            return
        pause(2)
    raise PatchError(
        "The package manager was to be used, but %s, for more than %d s. It is not killed; try again when it has ended."
        % (holder, patience)
    )


def run_logged(shell, argv, log, environment=None, stdin=""):
    """Run a program that changes packages: no time limit, its output goes straight to the end of the file `log`.

    Return (rc, what it said, "").
    """
    start = os.path.getsize(log) if os.path.exists(log) else 0
    # Without a pipe in between, the output is complete even when nobody is there to read it any more.
    command = ["sh", "-c", 'exec "$@" >>"$0" 2>&1', log, *argv]
    rc = shell.run(command, environment=environment, stdin=stdin).rc
    with open(log, "rb") as file:
        file.seek(start)
        return Completed(rc, file.read().decode("utf-8", "replace"), "")


def failed_scriptlets(text):
    """List the scriptlets that failed, as rpm tells it: %post(name-version) ..., exit status 1."""
    return sorted(set(re.findall(r"(%\w+\(\S+\) scriptlet failed[^\n]*)", text)))


def _flavour(release):
    found = re.search(r"(\+[\w.-]+|-[A-Za-z][\w]*)$", release)
    return found.group(1) if found else ""


def _locker(path):
    """Return the number of the process that holds a lock on the file; 0 for none."""
    try:
        wanted = os.stat(path)
    except OSError:
        return 0
    device = "%02x:%02x" % (os.major(wanted.st_dev), os.minor(wanted.st_dev))
    with open("/proc/locks", encoding="ascii") as file:
        for line in file:
            fields = line.split()
            if "WRITE" in fields and "->" not in fields and "%s:%d" % (device, wanted.st_ino) in fields:
                return max(0, int(fields[4]))
    return 0


def _live_process(pid_file):
    try:
        with open(pid_file, encoding="ascii", errors="replace") as file:
            found = re.match(r"\s*(\d+)", file.read(64))
    except OSError:
        return 0
    number = int(found.group(1)) if found else 0
    return number if number and number != os.getpid() and os.path.exists("/proc/%d" % number) else 0


def _command(number):
    try:
        with open("/proc/%d/cmdline" % number, "rb") as file:
            return file.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()[:80]
    except OSError:
        return ""
