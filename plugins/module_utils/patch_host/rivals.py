"""Hold what would update packages by itself (unattended-upgrades, dnf-automatic, PackageKit) and give it back.

A held service gets a drop-in that lets it start only while no claim stands on the host: the hold survives a reboot, and
it ends by itself when the claim does. Timers are stopped, so that they do not count a skipped run as done.
"""

import contextlib
import os
import time

from ansible.module_utils.patch_host.errors import PatchError
from ansible.module_utils.patch_host.files import FOLDER, read_json, remove, write_json

_NAME = "50-patch-orchestrator.conf"


class Rivals:
    """The rival units of one family on this host."""

    def __init__(self, shell, units, folder=FOLDER, systemd="/etc/systemd/system", pause=time.sleep):
        self.shell = shell
        self.units = units
        self.systemd = systemd
        self.pause = pause
        self._claim = os.path.join(folder, "claim.json")
        self._kept = os.path.join(folder, "rivals.json")

    def hold(self, patience=300):
        """Hold every rival that is there. Return (names held, whether anything changed).

        Waits up to `patience` seconds for a rival that is at work, as a package manager is never killed.
        """
        before = read_json(self._kept)
        states = self._states()
        present = [unit for unit in self.units if states.get(unit, ("", ""))[0] == "loaded"]
        self._wait([unit for unit in present if states[unit][1] in ("activating", "reloading")], patience)
        active = [unit for unit in present if states[unit][1] == "active"]
        if before is None:
            write_json(self._kept, {"units": present, "active": active})
        changed = self._write_conditions([unit for unit in present if unit.endswith(".service")])
        if changed:
            self.shell.run(["systemctl", "daemon-reload"], timeout=90)
        if active:
            self.shell.run(["systemctl", "stop", *active], timeout=120)
        return present, bool(changed or active)

    def give_back(self):
        """Let the held rivals go and start those that ran. Return their names; [] when none was held."""
        kept = read_json(self._kept)
        if kept is None:
            return []
        for unit in kept["units"]:
            remove(self._drop_in(unit))
            # The administrator may keep drop-ins of his own there; a timer has none.
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(self._drop_in(unit)))
        self.shell.run(["systemctl", "daemon-reload"], timeout=90)
        if kept["active"]:
            self.shell.run(["systemctl", "start", "--no-block", *kept["active"]], timeout=90)
        remove(self._kept)
        return kept["units"]

    def _states(self):
        properties = "--property=Id,LoadState,ActiveState"
        done = self.shell.run(["systemctl", "show", properties, "--no-pager", *self.units], timeout=30)
        found = {}
        for block in done.out.split("\n\n"):
            values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
            if "Id" in values:
                found[values["Id"]] = (values.get("LoadState", ""), values.get("ActiveState", ""))
        return found

    def _wait(self, busy, patience):
        while busy and patience > 0:
            self.pause(1)
            patience -= 1
            states = self._states()
            busy = [unit for unit in busy if states.get(unit, ("", ""))[1] in ("activating", "reloading")]
        if busy:
            raise PatchError(
                "Rival updaters were to be held, but %s is at work and did not end in time. It is not killed; try "
                "again when it has ended." % ", ".join(busy)
            )

    def _write_conditions(self, present):
        wanted = "[Unit]\nConditionPathExists=!%s\n" % self._claim
        changed = []
        for unit in present:
            path = self._drop_in(unit)
            if os.path.exists(path):
                continue
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(wanted)
            changed.append(unit)
        return changed

    def _drop_in(self, unit):
        return os.path.join(self.systemd, unit + ".d", _NAME)
