"""`script/demo`: build the lab, carry changes through, show the evidence; or take all of it away."""

import argparse
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from demo import (
    bad_update,
    evidence,
    hosts,
    mixed_patch,
    removal,
    security_patch,
    site,
    windows_hosts,
    windows_patch,
)
from demo.errors import DemoError
from demo.places import MARKER, Places, places, shown
from demo.shell import Shell
from demo.stage import PRODUCTION, STAGING, WINDOWS_PRODUCTION, WINDOWS_STAGING, Stage
from demo.terminal import Terminal, clock
from lab.errors import LabError

_COMMAND = "script/demo"


def main() -> int:
    """Tell the story, or take its traces away."""
    arguments = _parser().parse_args()
    terminal = Terminal(float(os.environ.get("PATCH_DEMO_BEGAN") or time.time()))
    stage = Stage(terminal=terminal, shell=Shell(terminal), places=places(), left_out=arguments.without_linux)
    if arguments.dry_run:
        _introduce(stage)
        return 0
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with _alone(stage.places):
            if arguments.down:
                return _take_down(stage)
            _tell_story(stage, arguments.only)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (DemoError, LabError, OSError) as error:
        terminal.bad(f"The demo stops here: {error}")
        _say_what_is_left(stage)
        return 1
    except KeyboardInterrupt:
        terminal.bad("Interrupted. What runs on the hosts goes on by itself; nothing is half killed.")
        _say_what_is_left(stage)
        return 130
    return 0


def _tell_story(stage: Stage, only: str) -> None:
    _introduce(stage)
    if removal.is_there(stage):
        with stage.part("An earlier demo is removed first"):
            removal.remove(stage)
    stage.places.folder.mkdir(parents=True, exist_ok=True)
    (stage.places.folder / MARKER).touch()
    told = _WITH_LINUX if stage.has_linux else _WINDOWS_ONLY
    with stage.part("The lab: " + ", ".join(told.hosts)):
        if stage.has_linux:
            hosts.build(stage)
        windows_hosts.build(stage)
    with stage.part("The site: people, keys, inventories"):
        site.found(stage)
    numbers = []
    if stage.has_linux and not only:
        stage.meanwhile = mixed_patch.begin
    for name, (title, carry) in told.changes.items():
        if only in ("", name):
            with stage.part(f"CHG {name}: {title}"):
                numbers.append(carry(stage))
    with stage.part("The evidence"):
        evidence.show(stage, numbers)
    stage.terminal.heading("Done")
    _sum_up(stage)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Story:
    """What is told where: the hosts, and the changes by their number, each with its title and who carries it."""

    hosts: tuple[str, ...]
    changes: Mapping[str, tuple[str, Callable[[Stage], str]]]


_WINDOWS = f"{len(WINDOWS_STAGING)}+{len(WINDOWS_PRODUCTION)} Windows hosts"
_WITH_LINUX = _Story(
    hosts=(f"{len(STAGING)}+{len(PRODUCTION)} Linux hosts", _WINDOWS),
    changes={
        "1": ("the monthly security patch", security_patch.carry),
        "2": ("an update that breaks one host", bad_update.carry),
        "3": ("Windows and Linux, and a host that never comes back", mixed_patch.carry),
    },
)
_WINDOWS_ONLY = _Story(hosts=(_WINDOWS,), changes={"1": ("the monthly Windows updates", windows_patch.carry)})


def _introduce(stage: Stage) -> None:
    if stage.has_linux:
        stage.terminal.tell(
            "Six Linux hosts are booted on this machine, five Windows hosts are simulated, and three changes are",
            "carried through on them, with the commands that you would type yourself: a security patch that succeeds,",
            "an update that breaks a service and is put back everywhere by itself, and a change for Windows and Linux",
            "that stops when a host never comes back.",
            f"It takes some minutes; Ctrl-C stops it, {_COMMAND} --down removes everything.",
        )
        return
    stage.terminal.tell(
        f"Linux hosts are left out, and with them two of three changes: {stage.left_out}.",
        "Five simulated Windows hosts are there, and one change is carried through on them, with the commands that you",
        f"would type yourself. It takes some minutes; Ctrl-C stops it, {_COMMAND} --down removes everything.",
    )


def _sum_up(stage: Stage) -> None:
    terminal, folder = stage.terminal, stage.places.folder
    terminal.line()
    for outcome in stage.outcomes:
        terminal.good(outcome)
    terminal.line()
    for title, seconds in stage.timings:
        terminal.line(f"  {clock(seconds):>5}  {title}")
    terminal.line(f"  {clock(terminal.elapsed):>5}  in all")
    terminal.line()
    width = len(shown(folder / "bundles"))
    for name, what in (
        ("site", "the site: playbooks, roles, templates, inventories, people"),
        ("state", "database, signing key, jobs with Ansible's output, proven packages, rollback kits"),
        ("bundles", "the evidence bundles"),
    ):
        terminal.line(f"  {shown(folder / name):<{width}}  {what}")
    terminal.line()
    root = ", as root" if os.environ.get("SUDO_USER") else ""
    terminal.line(f"  To look around{root}:")
    terminal.line(f"    export ORCHESTRATOR_SITE={shown(folder / 'site')} PATH=$PWD/.venv/bin:$PATH")
    terminal.line("    orchestrator status; orchestrator change show CHG-0001; orchestrator --help")
    terminal.line(f"  To remove all of it: {_COMMAND} --down")


def _take_down(stage: Stage) -> int:
    removal.remove(stage)
    stage.terminal.line("No host, process, interface or file of the demo is left.")
    stage.terminal.aside("The image and the package cache are kept for the next time: script/demo --help says where.")
    return 0


def _say_what_is_left(stage: Stage) -> None:
    if removal.is_there(stage):
        site_folder = shown(stage.places.site)
        stage.terminal.line("The hosts and files are left for a look, such as:")
        stage.terminal.line(f"  ORCHESTRATOR_SITE={site_folder} .venv/bin/orchestrator status")
        stage.terminal.line(f"Remove all of it: {_COMMAND} --down")


@contextmanager
def _alone(where: Places) -> Iterator[None]:
    """Hold the demo of this name. Raises DemoError where another one runs."""
    where.lock.parent.mkdir(parents=True, exist_ok=True)
    with where.lock.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DemoError(f"a demo with the name {where.instance} runs already.") from error
        try:
            yield
        finally:
            where.lock.unlink(missing_ok=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_COMMAND,
        description="Boot six Linux hosts on this machine, simulate five Windows hosts, and carry three changes: a "
        "security patch that succeeds, a bad update that is rolled back, and one for Windows and Linux that stops at a "
        "host that never comes back. Where this machine boots no Linux hosts (no root, a plain container), one change "
        "is carried on the Windows hosts.",
        epilog="Kept by --down: the hosts' image and packages under /var/tmp/patch-orchestrator-lab (PATCH_LAB_ROOT), "
        "and .venv. PATCH_DEMO_FOLDER and PATCH_DEMO_INSTANCE name another folder than .demo and another lab instance "
        "than demo, so that two demos can stand side by side.",
    )
    parser.add_argument("--only", choices=["1", "2", "3"], default="", help="carry only that change (with Linux hosts)")
    parser.add_argument("--dry-run", action="store_true", help="only say what this machine would show")
    parser.add_argument("--down", action="store_true", help="remove the hosts, the site and its state")
    # Given by script/demo, which looks before anything is installed.
    parser.add_argument("--without-linux", default="", metavar="WHY", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
