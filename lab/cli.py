"""The lab's command line: `python -m lab`."""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence

from lab.errors import LabError
from lab.host import HostOptions
from lab.image import ensure_base
from lab.instance import Lab
from lab.packages import BEHAVIOURS, Package
from lab.windows import cli as windows
from lab.windows.instance import WindowsLab

Deed = Callable[[Lab, argparse.Namespace], int | None]


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command; errors are told in one line and end with 1."""
    arguments = _parser().parse_args(argv)
    deed: Deed = arguments.deed
    try:
        return deed(Lab(arguments.instance, say=_say), arguments) or 0
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _doctor(lab: Lab, _: argparse.Namespace) -> int:
    reason = lab.can_run()
    print(reason or "This machine can run the lab.")
    return 1 if reason else 0


def _image(lab: Lab, _: argparse.Namespace) -> None:
    print(ensure_base(lab.root, _say))


def _up(lab: Lab, arguments: argparse.Namespace) -> None:
    options = HostOptions(
        family=arguments.family,
        groups=tuple(arguments.group),
        user=arguments.user,
        sudo_password=arguments.sudo_password,
        doomed=arguments.doomed,
        disk=arguments.disk,
        rival_updaters=arguments.rival_updaters,
        no_archive=arguments.no_archive,
    )
    for host in lab.up_many(arguments.names, **options):
        print(host.name, host.address)


def _list(lab: Lab, _: argparse.Namespace) -> None:
    for host in lab.hosts():
        state = "up" if lab.is_up(host.name) else "off"
        print(host.name, host.address, host.family, state, *lab.snapshots(host.name))


def _run(lab: Lab, arguments: argparse.Namespace) -> int:
    argv = arguments.argv[1:] if arguments.argv[:1] == ["--"] else arguments.argv
    done = lab.run(arguments.name, argv)
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return done.returncode


def _publish(lab: Lab, arguments: argparse.Namespace) -> None:
    fields = {field.name for field in dataclasses.fields(Package)}
    lab.repository.publish(Package(**{key: value for key, value in vars(arguments).items() if key in fields}))


def _list_packages(lab: Lab, _: argparse.Namespace) -> None:
    for package in lab.repository.published():
        print(package.name, package.version, package.behaviour, "security" if package.security else "")


def _destroy(lab: Lab, _: argparse.Namespace) -> None:
    WindowsLab(lab.name).down()
    lab.destroy()


def _for_each(method: str) -> Deed:
    """Make the deed that calls a method of Lab for each named host."""

    def deed(lab: Lab, arguments: argparse.Namespace) -> None:
        for name in arguments.names:
            getattr(lab, method)(name)

    return deed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    parser.add_argument("--instance", default="demo", help="which instance (default: demo)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, help_line: str, deed: Deed) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = commands.add_parser(name, help=help_line)
        command.set_defaults(deed=deed)
        return command

    add("doctor", "say whether this machine can run the lab", _doctor)
    add("image", "build the image where it is missing", _image)
    _add_up(add("up", "make or start hosts and wait until they answer SSH", _up))
    for name, help_line in _FOR_EACH.items():
        add(name, help_line, _for_each(name.replace("-", "_"))).add_argument("names", nargs="+", metavar="HOST")
    _add_states(add)
    add("list", "list the hosts: address, family, state, snapshots", _list)
    add("destroy", "leave no trace of the instance", _destroy)
    add("inventory", "print the hosts as an Ansible inventory", lambda lab, _: print(lab.inventory(), end=""))
    proxy = add("proxy", "serve packages to the hosts (up does it too)", lambda lab, _: print(lab.start_proxy()))
    proxy.add_argument("start", choices=["start"])
    _add_repo(commands.add_parser("repo", help="the lab's own packages of this instance"))
    windows.add_commands(commands.add_parser("windows", help="the simulated Windows hosts of this instance"))
    return parser


_FOR_EACH = {
    "down": "end hosts and forget them",
    "reboot": "reboot hosts and wait until they are back",
    "power-off": "kill hosts at once",
    "power-on": "boot hosts that are off",
    "cut": "pull the hosts' network cables",
    "mend": "plug the hosts' network cables in again",
    "freeze": "hold hosts still: connections stay open and nothing answers",
    "thaw": "let frozen hosts go on",
    "doom": "let the hosts' next reboot be one that they do not come back from",
}


def _add_states(add: Callable[[str, str, Deed], argparse.ArgumentParser]) -> None:
    deeds: dict[str, tuple[str, Deed]] = {
        "snapshot": ("keep a host's disk", lambda lab, given: lab.snapshot(given.name, given.label)),
        "restore": ("put a host's disk back", lambda lab, given: lab.restore(given.name, given.label)),
        "drop-snapshot": ("forget a snapshot", lambda lab, given: lab.drop_snapshot(given.name, given.label)),
    }
    for name, (help_line, deed) in deeds.items():
        command = add(name, help_line, deed)
        command.add_argument("name", metavar="HOST")
        command.add_argument("label", metavar="LABEL")
    command = add("run", "run a command on a host as root", _run)
    command.add_argument("name", metavar="HOST")
    command.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND")
    command = add("install", "install packages by the host's own tool", lambda lab, given: lab.install(*given.words))
    command.add_argument("words", nargs="+", metavar="HOST NAME[=VERSION]")


def _add_up(up: argparse.ArgumentParser) -> None:
    up.add_argument("names", nargs="+", metavar="HOST")
    up.add_argument("--family", choices=["apt", "dnf", "zypper"], default="apt")
    up.add_argument("--group", action="append", default=[], help="inventory group; may be given again")
    up.add_argument("--user", choices=["root", "patch", "patchpw"], default="root", help="who Ansible logs in as")
    up.add_argument("--sudo-password", default="", help="the password of the account patchpw")
    up.add_argument("--doomed", choices=["", "reboot"], default="", help="never come back from the next reboot")
    up.add_argument("--disk", default="", help="room for changes, such as 300M (default: as much as the machine has)")
    up.add_argument("--no-archive", action="store_true", help="offer the lab's own packages only, for quick apt hosts")
    up.add_argument("--rival-updaters", action="store_true", help="install unattended-upgrades or dnf-automatic too")


def _add_repo(repo: argparse.ArgumentParser) -> None:
    deeds = repo.add_subparsers(required=True, metavar="DEED")
    deeds.add_parser("list", help="list what is published").set_defaults(deed=_list_packages)
    withdraw = deeds.add_parser("withdraw", help="drop a version as distributions do")
    withdraw.set_defaults(deed=lambda lab, given: lab.repository.withdraw(given.name, given.version))
    publish = deeds.add_parser("publish", help="offer a version to the hosts")
    publish.set_defaults(deed=_publish)
    for deed in (withdraw, publish):
        deed.add_argument("name", metavar="NAME")
        deed.add_argument("version", metavar="VERSION")
    publish.add_argument("--behaviour", choices=BEHAVIOURS, default="good")
    publish.add_argument("--security", action="store_true", help="publish as a security update")
    publish.add_argument("--severity", default="", help="such as important (rpm families)")
    publish.add_argument("--advisory", default="", help="the advisory's name (rpm families)")
    publish.add_argument("--seconds", type=int, default=20, help="how long `slow` takes")
    publish.add_argument("--megabytes", type=int, default=100, help="how much `big` holds")
