"""The lab's command line: `python -m lab`."""

import argparse
import sys
from collections.abc import Sequence

from lab.errors import LabError
from lab.host import HostOptions
from lab.image import ensure_base
from lab.instance import Lab


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command; errors are told in one line and end with 1."""
    arguments = _parser().parse_args(argv)
    try:
        lab = Lab(arguments.instance, say=lambda line: print(line, file=sys.stderr, flush=True))
        return _carry_out(lab, arguments)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def _carry_out(lab: Lab, arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "image":
            print(ensure_base(lab.root, print))
        case "up":
            for host in lab.up_many(arguments.names, **_options(arguments)):
                print(host.name, host.address)
        case "down":
            for name in arguments.names:
                lab.down(name)
        case "destroy":
            lab.destroy()
        case "snapshot":
            lab.snapshot(arguments.name, arguments.label)
        case "restore":
            lab.restore(arguments.name, arguments.label)
        case "drop-snapshot":
            lab.drop_snapshot(arguments.name, arguments.label)
        case "list":
            for host in lab.hosts():
                print(host.name, host.address, host.family)
        case "run":
            done = lab.run(arguments.name, arguments.argv)
            sys.stdout.write(done.stdout)
            sys.stderr.write(done.stderr)
            return done.returncode
    return 0


def _options(arguments: argparse.Namespace) -> HostOptions:
    return HostOptions(
        family=arguments.family,
        groups=tuple(arguments.group),
        user=arguments.user,
        sudo_password=arguments.sudo_password,
        doomed=arguments.doomed,
        disk=arguments.disk,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    parser.add_argument("--instance", default="demo", help="which instance (default: demo)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("image", help="build the image where it is missing")
    _add_up(commands.add_parser("up", help="make or start hosts and wait until they answer SSH"))
    commands.add_parser("down", help="end hosts and forget them").add_argument("names", nargs="+")
    commands.add_parser("destroy", help="leave no trace of the instance")
    commands.add_parser("list", help="list the hosts")
    for name in ("snapshot", "restore", "drop-snapshot"):
        command = commands.add_parser(name)
        command.add_argument("name")
        command.add_argument("label")
    command = commands.add_parser("run", help="run a command on a host as root")
    command.add_argument("name")
    command.add_argument("argv", nargs=argparse.REMAINDER)
    return parser


def _add_up(up: argparse.ArgumentParser) -> None:
    up.add_argument("names", nargs="+")
    up.add_argument("--family", choices=["apt", "dnf", "zypper"], default="apt")
    up.add_argument("--group", action="append", default=[], help="inventory group; may be given again")
    up.add_argument("--user", choices=["root", "patch", "patchpw"], default="root", help="who Ansible logs in as")
    up.add_argument("--sudo-password", default="", help="the password of the account patchpw")
    up.add_argument("--doomed", choices=["", "reboot"], default="", help="never come back from the next reboot")
    up.add_argument("--disk", default="", help="room for changes, such as 300M (default: as much as the machine has)")
