"""The `orchestrator` command without the second that it takes to import: forked from a process that has done so.

Every command is a process of its own all the same, with its own environment, folder and output, and ends as Python
ends. ``run`` stands in for ``subprocess.run``; the process that commands are forked from ends with the one that asked.
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
#: What commands import when they come to need it.
_LATER = ("engine.durable", "engine.worker", "adapters.intake.yaml_intake", "adapters.evidence.bundle")
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
    asked = json.dumps([["orchestrator", *words], dict(env), str(cwd)]).encode()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, socket.socket(socket.AF_UNIX) as server:
        server.connect(_address())
        socket.send_fds(server, [len(asked).to_bytes(4)], [out.fileno(), err.fileno()])
        server.sendall(asked)
        process = _number(server)
        server.settimeout(timeout)
        try:
            code = _number(server)
        except TimeoutError:
            os.kill(process, signal.SIGKILL)
            raise subprocess.TimeoutExpired(list(words), timeout) from None
        return subprocess.CompletedProcess(list(words), code, _text(out), _text(err))


def _address() -> str:
    with _STARTING:
        return _started()


@cache
def _started() -> str:
    """Start the process that commands are forked from, and return where it listens."""
    folder = tempfile.TemporaryDirectory(prefix="forked-")
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ} | {"COLUMNS": "250"}
    argv = [sys.executable, "-m", "tests.forked", f"{folder.name}/socket"]
    pipe = subprocess.PIPE
    server = subprocess.Popen(argv, stdin=pipe, stdout=pipe, env=kept, cwd=_ROOT, start_new_session=True)

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


def _serve(address: str) -> Order | None:
    """Fork for each command that is asked for. Return it in the process that is to become it; None at the end."""
    importlib.import_module("orchestrator.cli.main")
    for name in _LATER:
        importlib.import_module(f"orchestrator.{name}")
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
    asked_for = _serve(sys.argv[1])
    if asked_for:
        from orchestrator.cli.main import main

        _become(asked_for)
        main()
