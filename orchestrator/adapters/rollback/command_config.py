"""How a site tells of its snapshot tool: command lines with placeholders, a class and limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.domain.rollback import RollbackClass
from orchestrator.errors import InvalidInput, Mistake

#: One command line, word by word. No shell reads it.
CommandLine = tuple[str, ...]

PLACEHOLDERS = ("host", "address", "label", "change")
_PLACEHOLDER = re.compile(r"{([a-z_]+)}")
_LINES = ("take", "restore", "release")
_KNOWN = (*_LINES, "exists", "rollback_class", "timeout", "parallel")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandConfig:
    """A snapshot tool. ``restore`` and ``release`` must be safe to repeat.

    ``exists`` ends with 0 where the host has a snapshot of that label, which is then kept, with 1 where it has none,
    and with anything else where that cannot be told; without it, the tool itself decides what a second snapshot under
    the same label is. ``timeout`` is in seconds for one command, ``parallel`` how many hosts are worked on at once.
    """

    take: CommandLine
    restore: CommandLine
    release: CommandLine
    exists: CommandLine = ()
    rollback_class: RollbackClass = RollbackClass.EXACT
    timeout: int = 600
    parallel: int = 4

    def __post_init__(self) -> None:
        mistakes = [
            Mistake(name, 0, 0, problem)
            for name, line in (("take", self.take), ("restore", self.restore), ("release", self.release))
            if (problem := "is missing: a list of words, the program first" if not line else _unknown(line))
        ]
        if self.exists and (problem := _unknown(self.exists)):
            mistakes.append(Mistake("exists", 0, 0, problem))
        for name, number in (("timeout", self.timeout), ("parallel", self.parallel)):
            if number < 1:
                mistakes.append(Mistake(name, 0, 0, f"{number} is too small: 1 or more"))
        if mistakes:
            raise InvalidInput("the snapshot commands cannot be used:", mistakes)


def read_config(options: Mapping[str, object]) -> CommandConfig:
    """Return the configuration that a table of settings holds. Raises InvalidInput with every mistake."""
    mistakes = [
        Mistake(name, 0, 0, f"is not known here; known are {', '.join(_KNOWN)}")
        for name in options
        if name not in _KNOWN
    ]
    lines = {name: _line(options, name, mistakes) for name in (*_LINES, "exists")}
    numbers = {name: _number(options, name, default, mistakes) for name, default in (("timeout", 600), ("parallel", 4))}
    rollback_class = _class(options, mistakes)
    if mistakes:
        raise InvalidInput("the snapshot commands cannot be used:", mistakes)
    return CommandConfig(
        take=lines["take"],
        restore=lines["restore"],
        release=lines["release"],
        exists=lines["exists"],
        rollback_class=rollback_class,
        timeout=numbers["timeout"],
        parallel=numbers["parallel"],
    )


def filled(line: CommandLine, values: Mapping[str, str]) -> CommandLine:
    """Return the command line for one host; each word stays one word, whatever the values hold."""
    return tuple(_PLACEHOLDER.sub(lambda found: values[found[1]], word) for word in line)


def _unknown(line: CommandLine) -> str:
    names = [name for word in line for name in _PLACEHOLDER.findall(word) if name not in PLACEHOLDERS]
    known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
    return f"{{{names[0]}}} is no placeholder; there are {known}" if names else ""


def _line(options: Mapping[str, object], name: str, mistakes: list[Mistake]) -> CommandLine:
    value = options.get(name, [])
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        return tuple(value)
    mistakes.append(Mistake(name, 0, 0, 'is no list of words, such as ["virsh", "snapshot-create-as", "{host}"]'))
    return ("",)


def _number(options: Mapping[str, object], name: str, default: int, mistakes: list[Mistake]) -> int:
    value = options.get(name, default)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    mistakes.append(Mistake(name, 0, 0, f"{value!r} is no whole number"))
    return default


def _class(options: Mapping[str, object], mistakes: list[Mistake]) -> RollbackClass:
    value = options.get("rollback_class", RollbackClass.EXACT.value)
    try:
        return RollbackClass(str(value))
    except ValueError:
        known = ", ".join(RollbackClass)
        mistakes.append(Mistake("rollback_class", 0, 0, f"{value!r} is none of {known}"))
        return RollbackClass.NONE
