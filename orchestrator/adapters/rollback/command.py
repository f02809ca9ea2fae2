"""Going back by any snapshot tool: configured command lines, run on the controller, several hosts at once."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from orchestrator.adapters.rollback.command_config import CommandConfig, CommandLine, filled, read_config
from orchestrator.domain.inventory import Host
from orchestrator.domain.rollback import PointTaken, PutBack, RollbackClass, RollbackPoint
from orchestrator.ports import Occasion, Subject

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_LABEL = 60
_SHOWN = 1500
#: How long a tool that was told to end may take to clear up after itself.
_GRACE = 10

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandProvider:
    """Implements ``ports.RollbackProvider`` by command lines; ``name`` is what the site calls the tool."""

    name: str
    config: CommandConfig
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    @property
    def rollback_class(self) -> RollbackClass:
        """Return the class of its points, as configured."""
        return self.config.rollback_class

    def take(self, subjects: Sequence[Subject], occasion: Occasion) -> Sequence[PointTaken]:
        """Take a snapshot of each host; one that is there under the change's label is kept."""
        return self._each(subjects, lambda subject: self._take(subject.host, occasion))

    def restore(
        self,
        points: Sequence[RollbackPoint],
        subjects: Sequence[Subject],
        occasion: Occasion,  # noqa: ARG002
    ) -> Sequence[PutBack]:
        """Put each host back to its snapshot; a host that was not reached by the tool is named."""
        addresses = _addresses(subjects)
        return self._each(points, lambda point: self._restore(point, addresses))

    def release(
        self,
        points: Sequence[RollbackPoint],
        subjects: Sequence[Subject],
        occasion: Occasion,  # noqa: ARG002
    ) -> Mapping[str, str]:
        """Remove the snapshots; return the hosts that still have one, each with the reason."""
        addresses = _addresses(subjects)
        problems = self._each(points, lambda point: self._release(point, addresses))
        return {point.host: problem for point, problem in zip(points, problems, strict=True) if problem}

    def restore_line(self, host: Host, change: str) -> CommandLine:
        """Return the command that restores a host to its point of a change, for a person to type."""
        return filled(self.config.restore, _values(host.name, host.connection.address, change))

    def _take(self, host: Host, occasion: Occasion) -> PointTaken:
        values = _values(host.name, host.connection.address, occasion.change)
        is_there, problem = self._look(values, otherwise=False)
        if not is_there and not problem:
            problem = self._run(self.config.take, values)
        if problem:
            return PointTaken(host=host.name, problem=problem)
        point = RollbackPoint(
            change=occasion.change,
            host=host.name,
            provider=self.name,
            rollback_class=self.config.rollback_class,
            reference={"label": values["label"], "address": values["address"]},
            taken_at=self.now(),
            expires_at=occasion.expires_at,
        )
        return PointTaken(host=host.name, point=point)

    def _restore(self, point: RollbackPoint, addresses: Mapping[str, str]) -> PutBack:
        problem = self._run(self.config.restore, _values_of(point, addresses))
        return PutBack(host=point.host, restored=not problem, problem=problem)

    def _release(self, point: RollbackPoint, addresses: Mapping[str, str]) -> str:
        values = _values_of(point, addresses)
        is_there, problem = self._look(values, otherwise=True)
        if is_there and not problem:
            problem = self._run(self.config.release, values)
        return f"snapshot {values['label']} was not removed: {problem}" if problem else ""

    def _look(self, values: Mapping[str, str], *, otherwise: bool) -> tuple[bool, str]:
        """Return whether there is a snapshot, and why nobody can tell; ``otherwise`` where the tool cannot be asked."""
        if not self.config.exists:
            return otherwise, ""
        rc, problem = self._outcome(self.config.exists, values)
        return rc == 0, problem if rc not in (0, 1) else ""

    def _each(self, over: Sequence[T], act: Callable[[T], R]) -> list[R]:
        if not over:
            return []
        with ThreadPoolExecutor(max_workers=self.config.parallel, thread_name_prefix=self.name) as pool:
            return list(pool.map(act, over))

    def _run(self, line: CommandLine, values: Mapping[str, str]) -> str:
        """Run one command; return what went wrong, or an empty text."""
        rc, problem = self._outcome(line, values)
        return "" if rc == 0 else problem

    def _outcome(self, line: CommandLine, values: Mapping[str, str]) -> tuple[int, str]:
        """Run one command; return its exit code (negative where it has none) and what to say where that is not 0."""
        if values["host"].startswith("-") or values["address"].startswith("-"):
            return -1, f"{values['host']} would be taken for an option of {line[0]}. Rename it in the inventory."
        argv = filled(line, values)
        try:
            rc, output = _carry_out(argv, self.config.timeout)
        except OSError as error:
            return -1, f"{argv[0]} could not be started: {error.strerror or error}"
        except subprocess.TimeoutExpired:
            return -1, (
                f"'{' '.join(argv)}' did not end within {self.config.timeout} s and was stopped. "
                f"Look whether there is a snapshot {values['label']}"
            )
        return rc, f"'{' '.join(argv)}' ended with {rc}: {output or 'it said nothing'}"


def command_provider(name: str, options: Mapping[str, object]) -> CommandProvider:
    """Make a provider from a table of settings (entry point ``command``). Raises InvalidInput."""
    return CommandProvider(name=name, config=read_config(options))


def label(change: str, host: str) -> str:
    """Return the name of a host's snapshot for a change: letters, digits, dash and underscore, and no other host's."""
    wanted = f"{change}-{host}"
    safe = _UNSAFE.sub("-", wanted)[:_LONGEST_LABEL]
    return safe if safe == wanted else f"{safe}-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"


def _carry_out(argv: CommandLine, timeout: int) -> tuple[int, str]:
    # Output goes to a file: what the tool leaves running in the background may keep a pipe open for ever.
    with tempfile.TemporaryFile() as said:
        # A session of its own: Ctrl-C at the keyboard must not end a snapshot half-way.
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True)
        try:
            rc = process.wait(timeout)
        except subprocess.TimeoutExpired:
            _end(process)
            raise
        said.seek(max(0, said.seek(0, os.SEEK_END) - _SHOWN))
        return rc, said.read().decode("utf-8", "replace").strip()


def _end(process: subprocess.Popen[bytes]) -> None:
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
            return


def _addresses(subjects: Sequence[Subject]) -> dict[str, str]:
    return {subject.host.name: subject.host.connection.address for subject in subjects}


def _values_of(point: RollbackPoint, addresses: Mapping[str, str]) -> dict[str, str]:
    address = addresses.get(point.host) or point.reference.get("address", point.host)
    values = _values(point.host, address, point.change)
    return values | {"label": point.reference.get("label", values["label"])}


def _values(host: str, address: str, change: str) -> dict[str, str]:
    return {"host": host, "address": address, "change": change, "label": label(change, host)}
