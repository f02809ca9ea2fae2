"""Whether a reboot is needed and why, and which kernel GRUB boots: once at first, then for good."""

import os
import re

_CONFIGURATIONS = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg")


def reboot_reasons(family, stale, expected_kernel=""):
    """List why this host should be rebooted; [] when it need not. `expected_kernel` "" stands for the newest one."""
    reasons = list(family.reboot_reasons())
    expected = expected_kernel or family.newest_kernel()
    running = os.uname().release
    if expected and expected != running and not in_container():
        reasons.append("kernel %s is to run, %s runs" % (expected, running))
    reasons += sorted({"%s still uses %s" % (one.unit or one.process, one.path) for one in stale})
    return reasons


def in_container():
    """Whether the kernel is not this host's own."""
    return os.path.exists("/run/systemd/container") or os.path.exists("/run/.containerenv")


class Grub:
    """The boot default, by GRUB's own tools; does nothing where they are not installed."""

    def __init__(self, shell, configurations=_CONFIGURATIONS, defaults="/etc/default/grub"):
        self.shell = shell
        self._configurations = configurations
        self._defaults = defaults

    def boot_once(self, release):
        """Make `release` the kernel of the next boot alone. Return whether it was done."""
        return self._set("reboot", release)

    def keep(self, release):
        """Make `release` the default for good; only where the site lets GRUB keep one (GRUB_DEFAULT=saved)."""
        return self.keeps_default() and self._set("set-default", release)

    def keeps_default(self):
        return bool(re.search(r"^GRUB_DEFAULT=[\"']?saved", _read(self._defaults), re.MULTILINE))

    def entry(self, release):
        """Return the path of menu identifiers of the kernel's plain entry ("submenu>entry"); "" where there is none."""
        for configuration in self._configurations:
            found = _find_entry(_read(configuration), release)
            if found:
                return found
        return ""

    def _set(self, action, release):
        entry = self.entry(release)
        for prefix in ("grub-", "grub2-"):
            if entry and self.shell.has(prefix + action):
                return self.shell.run([prefix + action, entry], timeout=30).rc == 0
        return False


def _find_entry(text, release):
    submenu = ""
    for line in text.splitlines():
        found = re.match(r"\s*(submenu|menuentry)\s.*\$menuentry_id_option\s+'([^']+)'", line)
        if not found:
            continue
        kind, name = found.groups()
        if kind == "submenu":
            submenu = name
        elif ("-%s-advanced-" % release) in name:
            return "%s>%s" % (submenu, name) if submenu else name
    return ""


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
