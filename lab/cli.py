"""The lab's command line: `python -m lab`."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence

from lab.errors import LabError
from lab.host import HostOptions
from lab.image import ensure_base
from lab.instance import Lab
from lab.packages import BEHAVIOURS, Package


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
        case "reboot" | "power-off" | "power-on" | "cut" | "mend" | "freeze" | "thaw" | "doom":
            for name in arguments.names:
                getattr(lab, arguments.command.replace("-", "_"))(name)
        case "install":
            lab.install(arguments.name, *arguments.packages)
        case "inventory":
            print(lab.inventory(), end="")
        case "proxy":
            print(lab.start_proxy())
        case "repo":
            _carry_out_repo(lab, arguments)
        case "list":
            for host in lab.hosts():
                print(host.name, host.address, host.family)
        case "run":
            done = lab.run(arguments.name, arguments.argv)
            sys.stdout.write(done.stdout)
            sys.stderr.write(done.stderr)
            return done.returncode
    return 0


def _carry_out_repo(lab: Lab, arguments: argparse.Namespace) -> None:
    match arguments.deed:
        case "publish":
            fields = {field.name for field in dataclasses.fields(Package)}
            lab.repository.publish(Package(**{key: value for key, value in vars(arguments).items() if key in fields}))
        case "withdraw":
            lab.repository.withdraw(arguments.name, arguments.version)
        case "list":
            for package in lab.repository.published():
                print(package.name, package.version, package.behaviour, "security" if package.security else "")


def _options(arguments: argparse.Namespace) -> HostOptions:
    return HostOptions(
        family=arguments.family,
        groups=tuple(arguments.group),
        user=arguments.user,
        sudo_password=arguments.sudo_password,
        doomed=arguments.doomed,
        disk=arguments.disk,
        rival_updaters=arguments.rival_updaters,
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
    for name in ("reboot", "power-off", "power-on", "cut", "mend", "freeze", "thaw", "doom"):
        commands.add_parser(name).add_argument("names", nargs="+")
    command = commands.add_parser("install", help="install packages on a host with its own package manager")
    command.add_argument("name")
    command.add_argument("packages", nargs="+")
    commands.add_parser("inventory", help="print the hosts as an Ansible inventory")
    commands.add_parser("proxy", help="serve packages to the hosts").add_argument("deed", choices=["start"])
    _add_repo(commands.add_parser("repo", help="the lab's own repository of this instance"))
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
    up.add_argument("--rival-updaters", action="store_true", help="install unattended-upgrades or dnf-automatic too")


def _add_repo(repo: argparse.ArgumentParser) -> None:
    deeds = repo.add_subparsers(dest="deed", required=True)
    deeds.add_parser("list")
    for name in ("publish", "withdraw"):
        deed = deeds.add_parser(name)
        deed.add_argument("name")
        deed.add_argument("version")
        if name == "publish":
            deed.add_argument("--behaviour", choices=BEHAVIOURS, default="good")
            deed.add_argument("--security", action="store_true", help="publish as a security update")
            deed.add_argument("--severity", default="", help="such as important (rpm families)")
            deed.add_argument("--advisory", default="", help="the advisory's name (rpm families)")
            deed.add_argument("--seconds", type=int, default=20, help="how long `slow` takes")
            deed.add_argument("--megabytes", type=int, default=100, help="how much `big` holds")
