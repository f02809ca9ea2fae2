"""One look at a Windows host, read into values and into the `state` report."""

import fnmatch
import json
import re
import typing

from ansible.module_utils.patch_host.journal import parsed_record
from ansible.module_utils.patch_windows.updates import architecture

_RECORDS = 200
#: Ports that programs are given anew at each boot (RFC 6335, and Windows' own default): no port that answers to a name.
_DYNAMIC = 49152
#: Services that start by themselves and stop by themselves: that one of them does not run means nothing.
COME_AND_GO = (
    "BITS", "CDPSvc", "clr_optimization*", "edgeupdate*", "GoogleUpdater*", "gpsvc", "gupdate*", "MapsBroker",
    "RemoteRegistry", "ShellHWDetection", "sppsvc", "tiledatamodelsvc", "TrustedInstaller", "UsoSvc", "WaaSMedicSvc",
    "WbioSrvc", "wuauserv", "dmwappushservice",
)  # fmt: skip
#: Exit codes of a service that has not failed: it did well, or it has not been started since the boot.
_NOT_FAILED = (0, 1077)
#: What asks for a reboot that we would carry out; files that wait to be renamed are many programs' everyday habit.
_WAITS = {
    "servicing": "Windows' servicing waits for a reboot",
    "windows-update": "Windows Update waits for a reboot",
}


class Look(typing.NamedTuple):
    """What `look.ps1` tells. `records` is the whole journal of the host; `offset` what its clock is ahead of ours."""

    told: typing.Dict[str, typing.Any]
    records: typing.List[typing.Dict[str, typing.Any]]
    claim: typing.Dict[str, typing.Any]
    offset: int

    @property
    def reasons(self):
        """Say why the host waits for a reboot; [] where it does not."""
        return [_WAITS[sign] for sign in self.told["signs"] if sign in _WAITS]

    @property
    def is_at_work(self):
        """Whether an installation goes on, be it one whose connection to us broke."""
        return bool(self.told["busy"] or (self.told["tasks"] and self.told["tasks_fresh"]))

    @property
    def build(self):
        return "%s.%d" % (self.told["os"]["build"], self.told["os"]["revision"])

    @property
    def arch(self):
        return architecture(self.told["os"]["architecture"])

    @property
    def origin(self):
        return self.told["server"] or "Windows Update"

    def kept(self, name):
        """Return a file of ours; None where it is not there or cannot be read."""
        return _read(self.told[name])


def read_look(told, now):
    """Return the look; `now` is the controller's clock."""
    records = [one for one in map(parsed_record, told["journal"].splitlines()) if one is not None]
    return Look(told=told, records=records, claim=_read(told["claim"]) or {}, offset=int(told["time"] - now))


def packages(look, updates, definitions):
    """Return what is installed, as reports name it: `KB5034129:x64` -> `UpdateID:revision`.

    Windows lists hotfixes of which the update agent knows no more, as they were superseded or came by hand. Their
    version is what this change knew or installed, otherwise `installed`. Definitions are left out.
    """
    hotfixes = {kb.upper() for kb in look.told["hotfixes"]} - set(definitions)
    brought = look.kept("transaction") or []
    known = {"%s:%s" % (one["name"], one["arch"]): one["to"] for one in brought}
    known.update((look.kept("before") or {}).get("packages", {}))
    keys = ["%s:%s" % (kb, look.arch) for kb in hotfixes if kb.startswith("KB")]
    found = {key: known.get(key, "installed") for key in keys}
    for one in updates:
        if not one.is_offered:
            for kb in one.kbs:
                found.pop("%s:%s" % (kb, look.arch), None)
            found["%s:%s" % (one.name, look.arch)] = one.version
    return found


def state_report(when, look, job, installed, problems):
    """Return the `state` report."""
    told, reasons = look.told, look.reasons
    return {
        "kind": "state",
        "when": when,
        "boot_id": told["boot_id"],
        "booted_at": told["booted_at"],
        "time": told["time"],
        "kernel": {"running": look.build, "newest": look.build},
        "reboot_required": {"needed": bool(reasons), "reasons": reasons},
        "deleted_libraries": [],
        "units": units(look, job.services_ignored),
        "listening": listening(look),
        "disks": [dict(one) for one in told["disks"]],
        "packages": installed,
        "auto": [],
        "held": [],
        "manager": {"ok": not problems, "problems": problems},
        "at_work": look.is_at_work,
        "journal": look.records[-_RECORDS:],
        "journal_length": len(look.records),
        "events": ["%s %d: %s" % (one["source"], one["id"], one["text"]) for one in told["events"]],
    }


def units(look, ignored=()):
    """Return the services that start with Windows: those that run, and those that have failed."""
    every = [one for one in look.told["services"] if one["start"] == "auto" and not one["trigger"]]
    names = {one["name"] for one in look.told["services"]}
    steady = [
        one for one in every if not _is_named(one["name"], (*COME_AND_GO, *ignored)) and not _is_of_a_login(one, names)
    ]
    return {
        "running": sorted(one["name"] for one in steady if one["state"] == "running"),
        "failed": sorted(
            one["name"] for one in steady if one["state"] == "stopped" and one["exit_code"] not in _NOT_FAILED
        ),
    }


def listening(look):
    """Name what listens as reports do: `tcp 0.0.0.0:80 System`."""
    found = set()
    for one in look.told["listening"]:
        if one["port"] < _DYNAMIC:
            address = "[%s]" % one["address"] if ":" in one["address"] else one["address"]
            found.add("tcp %s:%d %s" % (address, one["port"], one["process"]))
    return sorted(found)


def health(look):
    """List what is wrong with the host's updating; [] when all is well."""
    agent = next((one for one in look.told["services"] if one["name"].lower() == "wuauserv"), None)
    if agent is None or agent["start"] == "disabled":
        return [
            "the service Windows Update (wuauserv) is disabled, and nothing can be searched or installed without it"
        ]
    return []


def _is_named(name, patterns):
    return any(fnmatch.fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)


def _is_of_a_login(service, names):
    """Whether it is a service of one login, as CDPUserSvc_3f2a1: it has another name after the next boot."""
    template = re.sub(r"_[0-9a-f]{3,8}\Z", "", service["name"])
    return template != service["name"] and template in names


def _read(text):
    try:
        return json.loads(text) if text.strip() else None
    except ValueError:
        return None
