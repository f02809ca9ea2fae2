"""The commands for Windows hosts: `python -m lab windows`."""

import argparse
import json
import sys
import time
from collections.abc import Callable

from lab.instance import Lab
from lab.windows import faults, inventory
from lab.windows.instance import WindowsLab

Deed = Callable[[WindowsLab, argparse.Namespace], int | None]


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands to a parser; each deed takes the instance's Linux lab, of which the name is what counts."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, help_line: str, deed: Deed) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = commands.add_parser(name, help=help_line)
        command.set_defaults(deed=lambda lab, given: deed(_windows(lab), given))
        return command

    _add_up(add("up", "make hosts, and wait until they answer WinRM", _up))
    add("down", "end the instance's Windows hosts and forget them", lambda lab, _: lab.down())
    status = add("status", "tell how the hosts stand", _status)
    status.add_argument("--json", action="store_true", help="everything, as JSON")
    journal = add("journal", "tell what was done to a host", _journal)
    journal.add_argument("name", metavar="HOST")
    journal.add_argument("--only", default="", metavar="DEED", help="only such entries, as module or update-ended")
    read = add(
        "read", "print a file of a host", lambda lab, given: print(lab.read_file(given.name, given.path), end="")
    )
    read.add_argument("name", metavar="HOST")
    read.add_argument("path", metavar="PATH")
    _add_faults(add)
    publish = add("publish", "offer an update that the scenario holds back", _publish)
    publish.add_argument("kb", metavar="KB")
    publish.add_argument("names", nargs="*", metavar="HOST")
    for name, help_line in _FOR_EACH.items():
        add(name, help_line, _for_each(name.replace("-", "_"))).add_argument("names", nargs="+", metavar="HOST")
    for name, help_line in _WITH_LABEL.items():
        command = add(name, help_line, _with_label(name.replace("-", "_")))
        command.add_argument("name", metavar="HOST")
        command.add_argument("label", metavar="LABEL")
    _add_inventory(add("inventory", "print the hosts as an Ansible inventory", _inventory))


_FOR_EACH = {
    "reboot": "reboot hosts at once",
    "power-on": "boot hosts that did not come back from a reboot",
}
_WITH_LABEL = {
    "snapshot": "keep a host's state",
    "restore": "put a host's state back and boot it",
    "drop-snapshot": "forget a snapshot",
}


def _windows(lab: Lab) -> WindowsLab:
    return WindowsLab(lab.name, say=lambda line: print(line, file=sys.stderr, flush=True))


def _up(lab: WindowsLab, given: argparse.Namespace) -> None:
    for host in lab.up(*given.names, scenario=given.scenario, groups=given.group, owner=given.owner):
        print(host.name, host.address)


def _status(lab: WindowsLab, given: argparse.Namespace) -> None:
    hosts = lab.status()
    if given.json:
        print(json.dumps(hosts, indent=2))
        return
    for host in hosts:
        pending = "reboot pending" if host["pending_reboot"] else "no reboot pending"
        wrong = ", ".join(sorted({fault["kind"] for fault in host["faults"]})) or "none"
        print(f"{host['name']} {host['address']} {host['state']}, build {host['build']}, {pending}, faults: {wrong}")
        for kb, state in host["updates"].items():
            print(f"    {kb} {state}{'' if kb in host['offered'] or state != 'available' else ' (not offered)'}")


def _journal(lab: WindowsLab, given: argparse.Namespace) -> None:
    for entry in lab.journal(given.name, given.only):
        at = time.strftime("%H:%M:%S", time.gmtime(entry.at))
        print(at, entry.deed, *(f"{key}={value}" for key, value in entry.details.items()))


def _fault(lab: WindowsLab, given: argparse.Namespace) -> None:
    fields = {"match": given.match, "status": given.status, "times": given.times, "seconds": given.seconds}
    lab.fault(given.name, given.kind, **{key: value for key, value in fields.items() if value is not None})


def _publish(lab: WindowsLab, given: argparse.Namespace) -> None:
    lab.publish(given.kb, *given.names)


def _inventory(lab: WindowsLab, given: argparse.Namespace) -> None:
    print(lab.inventory(given.connection, given.authentication), end="")


def _for_each(method: str) -> Deed:
    def deed(lab: WindowsLab, given: argparse.Namespace) -> None:
        for name in given.names:
            getattr(lab, method)(name)

    return deed


def _with_label(method: str) -> Deed:
    return lambda lab, given: getattr(lab, method)(given.name, given.label)


def _add_up(up: argparse.ArgumentParser) -> None:
    up.add_argument("names", nargs="+", metavar="HOST")
    up.add_argument("--scenario", default="monthly", help="a YAML file, or a shipped one by name (default: monthly)")
    up.add_argument("--group", action="append", default=[], help="inventory group; may be given again")
    up.add_argument("--owner", type=int, help="a process id: the hosts end when that process has ended")


def _add_faults(add: Callable[[str, str, Deed], argparse.ArgumentParser]) -> None:
    kinds = "; ".join(f"{kind}: {what}" for kind, what in faults.KINDS.items())
    fault = add("fault", "let something go wrong with a host", _fault)
    fault.epilog = kinds
    fault.add_argument("name", metavar="HOST")
    fault.add_argument("kind", metavar="KIND", choices=list(faults.KINDS), help=", ".join(faults.KINDS))
    fault.add_argument("--match", help="which modules or scripts, as a regular expression (default: every one)")
    fault.add_argument("--seconds", type=float, help="how long (default: an hour)")
    fault.add_argument("--status", type=int, help="the HTTP status (default: 503)")
    fault.add_argument("--times", type=int, help="how often it strikes (default: until it is lifted)")
    mend = add("mend", "lift a host's faults", lambda lab, given: lab.mend(given.name, given.kind))
    mend.add_argument("name", metavar="HOST")
    mend.add_argument("kind", metavar="KIND", nargs="?", default="", help="only this kind")


def _add_inventory(command: argparse.ArgumentParser) -> None:
    command.add_argument("--connection", choices=inventory.CONNECTIONS, default="winrm")
    command.add_argument("--authentication", choices=list(inventory.AUTHENTICATION), default="ntlm")
