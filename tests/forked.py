"""Commands without the second that they take to import: forked from a process that has done so.

Every command is a process of its own all the same, with its own environment, folder and output, and ends as Python
ends. ``run`` and ``play`` stand in for ``subprocess.run``; the processes that commands are forked from end with the one
that asked.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

_ROOT = Path(__file__).parents[1]
#: The settings of a play that is run by ``play``.
PLAYING = {"ANSIBLE_CONFIG": str(_ROOT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.jsonl"}
#: The commands: the module whose ``main`` they are, and what they import when they come to need it.
_COMMANDS = {
    "orchestrator": (
        "orchestrator.cli.main",
        "orchestrator.engine.durable",
        "orchestrator.engine.worker",
        "orchestrator.adapters.intake.yaml_intake",
        "orchestrator.adapters.evidence.bundle",
    ),
    "ansible-playbook": (
        "ansible.cli.playbook",
        "ansible.executor.playbook_executor",
        "ansible.plugins.strategy",
        "ansible.module_utils.basic",
        "paramiko",
        "pypsrp.powershell",
        "winrm",
    ),
}
_KEPT = ("PATH", "HOME", "LANG", "TERM")
_STARTING = threading.Lock()


@dataclass(frozen=True)
class Order:
    """A command that is asked for, and where it writes to."""

    argv: list[str]
    env: dict[str, str]
    cwd: str
    out: int
    err: int


def run(words: Sequence[str], *, env: Mapping[str, str], cwd: Path, timeout: float) -> subprocess.CompletedProcess[str]:
    """Give a command, with nothing on its standard input. Raises TimeoutExpired, and ends the command then.

    What is imported from somewhere else cannot be forked: with another ``PYTHONPATH`` the command is started.
    """
    if env.get("PYTHONPATH", str(_ROOT)) != str(_ROOT):
        argv = [sys.executable, "-m", "orchestrator", *words]
        nothing = subprocess.DEVNULL
        return subprocess.run(
            argv, env=env, cwd=cwd, timeout=timeout, stdin=nothing, capture_output=True, text=True, check=False
        )
    return _run(["orchestrator", *words], env, cwd, timeout, _kept() | {"COLUMNS": "250"})


def play(words: Sequence[str], *, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `ansible-playbook` with our settings and a line of JSON for each event."""
    # What it is told by its environment, it reads as it is imported.
    return _run(["ansible-playbook", *words], os.environ | PLAYING, cwd, None, _kept() | PLAYING)


def _run(
    argv: list[str], env: Mapping[str, str], cwd: Path, timeout: float | None, imported_with: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    asked = json.dumps([argv, dict(env), str(cwd)]).encode()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, socket.socket(socket.AF_UNIX) as server:
        server.connect(_address(argv[0], imported_with))
        socket.send_fds(server, [len(asked).to_bytes(4)], [out.fileno(), err.fileno()])
        server.sendall(asked)
        process = _number(server)
        server.settimeout(timeout)
        try:
            code = _number(server)
        except TimeoutError:
            os.kill(process, signal.SIGKILL)
            raise subprocess.TimeoutExpired(argv, timeout or 0) from None
        return subprocess.CompletedProcess(argv, code, _text(out), _text(err))


def _kept() -> dict[str, str]:
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


def _address(command: str, imported_with: Mapping[str, str]) -> str:
    with _STARTING:
        return _started(command, frozenset(imported_with.items()))


@cache
def _started(command: str, imported_with: frozenset[tuple[str, str]]) -> str:
    """Start the process that commands are forked from, and return where it listens."""
    folder = tempfile.TemporaryDirectory(prefix="forked-")
    argv = [sys.executable, "-m", "tests.forked", command, f"{folder.name}/socket"]
    pipe = subprocess.PIPE
    server = subprocess.Popen(argv, stdin=pipe, stdout=pipe, env=dict(imported_with), cwd=_ROOT, start_new_session=True)

    def end() -> None:
        server.communicate()
        folder.cleanup()

    atexit.register(end)
    said = server.stdout.readline() if server.stdout else b""
    assert said == b"ready\n", "the process that commands are forked from did not start"
    return argv[-1]


def _number(server: socket.socket) -> int:
    answer = server.recv(4, socket.MSG_WAITALL)
    assert len(answer) == 4, "the process that commands are forked from is gone"
    return int.from_bytes(answer, signed=True)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _serve(command: str, address: str) -> Order | None:
    """Fork for each command that is asked for. Return it in the process that is to become it; None at the end."""
    for name in _COMMANDS[command]:
        importlib.import_module(name)
    gc.freeze()  # What the commands share with this process stays shared.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if listener not in ready:
                return None
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                return _attend(connection)
            connection.close()


def _attend(connection: socket.socket) -> Order:
    """Fork once more: for the command; and wait for its end here, to tell it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, descriptors, _, _ = socket.recv_fds(connection, 4, 2)
    asked = connection.recv(int.from_bytes(size), socket.MSG_WAITALL)
    process = os.fork()
    if process == 0:
        connection.close()
        return Order(*json.loads(asked), *descriptors)
    connection.sendall(process.to_bytes(4))
    _, status = os.waitpid(process, 0)
    connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, signed=True))
    os._exit(0)


def _become(order: Order) -> None:
    """Be the command from here on."""
    os.chdir(order.cwd)
    os.environ.clear()
    os.environ.update(order.env)
    sys.argv = order.argv
    nothing = os.open(os.devnull, os.O_RDONLY)
    for ours, theirs in enumerate((nothing, order.out, order.err)):
        os.dup2(theirs, ours)
        os.close(theirs)


if __name__ == "__main__":
    asked_for = _serve(*sys.argv[1:])
    if asked_for:
        main = importlib.import_module(_COMMANDS[sys.argv[1]][0]).main
        _become(asked_for)
        main()
