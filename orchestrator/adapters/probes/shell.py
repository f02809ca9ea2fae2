"""Where a probe's script runs, on the host or on this machine, and how it becomes root there."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Protocol

from orchestrator.adapters.probes.accounts import Refused
from orchestrator.adapters.probes.stages import Deadline, StageFailed
from orchestrator.domain.inventory import Connection
from orchestrator.domain.probe import Stage

_PLAIN = "/bin/sh -s"
_UNLESS_ROOT = 'test "$(id -u)" = 0 && exec /bin/sh -s; exec {method} -n /bin/sh -s'
_END_OF_PASSWORD = "--- end of what sudo may read ---"  # noqa: S105
_SKIP_PASSWORD = f'while read -r line; do test "$line" = "{_END_OF_PASSWORD}" && break; done; exec /bin/sh -s'


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command said, and its exit code: None where the time was over before it ended."""

    code: int | None
    out: str
    err: str


class Shell(Protocol):
    """Something that runs commands."""

    def run(self, command: str, stdin: bytes, deadline: Deadline) -> Answer:
        """Run a command; what it said until the deadline is kept."""


class LocalShell:
    """The machine on which we run."""

    def run(self, command: str, stdin: bytes, deadline: Deadline) -> Answer:
        """Run a command in a process group of its own, which ends with the deadline."""
        pipe = subprocess.PIPE
        # The command is one of those built below; like sshd, it is handed to a shell as one text.
        with subprocess.Popen(
            ["/bin/sh", "-c", command], stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        ) as process:
            try:
                out, err = process.communicate(stdin, timeout=deadline.left)
                code: int | None = process.returncode
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                out, err = process.communicate()
                code = None
        return Answer(code=code, out=out.decode(errors="replace"), err=err.decode(errors="replace"))


#: A block within which sudo may be shown the become password.
Trying = Callable[[], AbstractContextManager[None]]


def run_as_root(
    shell: Shell, script: bytes, connection: Connection, deadline: Deadline, trying: Trying = nullcontext
) -> Answer:
    """Run a script as root if the connection becomes root at all. Raises StageFailed at the stage of privilege."""
    if not connection.become:
        return shell.run(_PLAIN, script, deadline)
    method = connection.become_method
    if method == "sudo" and connection.become_password:
        return _with_sudo_password(shell, script, connection, deadline, trying)
    if method not in ("sudo", "doas"):
        raise StageFailed(Stage.PRIVILEGE, f"a probe becomes root with sudo or doas, not with {method}")
    if connection.become_password:
        raise StageFailed(Stage.PRIVILEGE, "doas reads its password from a terminal only; give this account nopass")
    return shell.run(shlex.join(["/bin/sh", "-c", _UNLESS_ROOT.format(method=method)]), script, deadline)


def _with_sudo_password(
    shell: Shell, script: bytes, connection: Connection, deadline: Deadline, trying: Trying
) -> Answer:
    password = connection.become_password.reveal().encode() + b"\n"
    # Asked by itself first: with a wrong password sudo would take the script's lines for further attempts, and
    # three of them may lock the account.
    with trying():
        checked = shell.run(shlex.join(["sudo", "-S", "-p", "", "true"]), password, deadline)
        if checked.code is None:
            raise StageFailed(Stage.PRIVILEGE, f"sudo did not answer within {deadline}")
        if checked.code != 0:
            raise Refused(Stage.PRIVILEGE, f"sudo did not accept the become password: {first_line(checked.err)}")
    # Where sudo asks for none, the password reaches the shell, which passes over it.
    stdin = password + _END_OF_PASSWORD.encode() + b"\n" + script
    return shell.run(shlex.join(["sudo", "-S", "-p", "", "/bin/sh", "-c", _SKIP_PASSWORD]), stdin, deadline)


def first_line(text: str) -> str:
    """Return the first line that says something, shortened."""
    return next((line.strip()[:200] for line in text.splitlines() if line.strip()), "it gave no reason")
