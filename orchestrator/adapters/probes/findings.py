"""What ``look.sh`` tells of a host, and what it means."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from orchestrator.domain.probe import Needs, Stage

_SCRIPT = resources.files(__package__).joinpath("look.sh").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Free bytes under a path, and where the file system that holds it is mounted."""

    path: str
    free: int
    mount: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The answers. ``reached`` is the stage and the question at which an incomplete answer ended."""

    began: bool = False
    is_complete: bool = False
    reached: tuple[Stage, str] = (Stage.PRIVILEGE, "anything")
    uid: int = -1
    time: int = 0
    spaces: tuple[Space, ...] = ()
    read_only: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    reboot_reasons: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()

    def misfits(self, needs: Needs, skew: int) -> Sequence[tuple[Stage, str]]:
        """Return everything that speaks against working on the host, in the order of the stages."""
        wanted = dict(needs.free)
        found = [
            (Stage.DISK, f"{s.path} has {_mib(s.free)} MiB free{_on(s)}, {_mib(wanted[s.path], up=True)} are needed")
            for s in self.spaces
            if s.free < wanted.get(s.path, 0)
        ]
        found += [(Stage.DISK, f"the file system of {path} is read-only") for path in self.read_only]
        found += [(Stage.PACKAGE_MANAGER, text) for text in self.locks]
        # What a package manager at work has half done is no damage.
        found += [(Stage.PACKAGE_MANAGER, text) for text in self.broken if not self.locks]
        if abs(skew) > needs.clock_skew:
            direction = "ahead of" if skew > 0 else "behind"
            found.append(
                (Stage.CLOCK, f"its clock is {abs(skew)} s {direction} ours, {needs.clock_skew} s are allowed")
            )
        return found


def script(family: str, needs: Needs) -> bytes:
    """Return the shell script that looks at a host."""
    arguments = shlex.join([family, *(path for path, _ in needs.free)])
    return f"set -- {arguments}\n{_SCRIPT}".encode()


def read(answer: str) -> Findings:
    """Read the script's answer. Lines before it (a chatty shell profile) and damaged lines are passed over."""
    lines = [line.split("\t") for line in answer.splitlines()]
    begin = next((number for number, line in enumerate(lines) if line == ["look", "1"]), None)
    if begin is None:
        return Findings()
    told = lines[begin:]
    return Findings(
        began=True,
        is_complete=told[-1] == ["end"],
        reached=_reached(told),
        uid=next((_number(line[1]) for line in _of(told, "uid", 1)), -1),
        time=next((_number(line[1]) for line in _of(told, "time", 1)), 0),
        spaces=tuple(Space(path=p, free=_number(kib) << 10, mount=m) for _, p, kib, m in _of(told, "free", 3)),
        read_only=tuple(path for _, path in _of(told, "readonly", 1)),
        locks=tuple(f"{file} is held by process {pid} ({name})" for _, file, pid, name in _of(told, "lock", 3)),
        broken=tuple(f"{by} finds damage: {what.strip()}" for _, by, what in _of(told, "broken", 2)),
        reboot_reasons=_reboot_reasons(told),
        rivals=tuple(dict.fromkeys(_rivals(told))),
    )


def _reached(told: Sequence[Sequence[str]]) -> tuple[Stage, str]:
    stages = {str(stage): stage for stage in Stage}
    named = [(stages[stage], question) for _, stage, question in _of(told, "at", 2) if stage in stages]
    return named[-1] if named else (Stage.PRIVILEGE, "anything")


def _reboot_reasons(told: Sequence[Sequence[str]]) -> tuple[str, ...]:
    asked = [f"{file} asks for it" for _, file in _of(told, "reboot", 1)]
    older = [f"kernel {run} runs, {new} is installed" for _, run, new in _of(told, "kernel", 2) if run != new]
    return (*asked, *older)


def _rivals(told: Sequence[Sequence[str]]) -> list[str]:
    running = {"active", "activating", "reloading"}
    enabled = {"enabled", "enabled-runtime", "linked", "linked-runtime"}
    units = [unit for _, unit, active, file in _of(told, "unit", 3) if active in running or file in enabled]
    return units + [file for _, file in _of(told, "cron", 1)]


def _of(told: Sequence[Sequence[str]], word: str, values: int) -> list[Sequence[str]]:
    return [line for line in told if line[0] == word and len(line) == values + 1]


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and text.isascii() else 0


def _mib(size: int, *, up: bool = False) -> int:
    return -(-size >> 20) if up else size >> 20


def _on(space: Space) -> str:
    return "" if space.mount == space.path else f" (on {space.mount})"
