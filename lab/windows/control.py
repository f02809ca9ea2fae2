"""How commands reach a running instance: one line of JSON each way, over a socket in the instance's folder."""

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lab.errors import LabError

_NAME = "control"
Answer = Callable[[Mapping[str, Any]], Any]


def ask(folder: Path, deed: str, **words: object) -> Any:
    """Ask the instance to do something; LabError with its own words where it refuses."""
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(socket.socket(socket.AF_UNIX))
        connection.settimeout(60)
        try:
            connection.connect(stack.enter_context(_short(folder)))
            stream = stack.enter_context(connection.makefile("rw"))
            stream.write(json.dumps({"deed": deed, **words}) + "\n")
            stream.flush()
            told = json.loads(stream.readline())
        except (OSError, ValueError) as silent:
            raise LabError(
                f"The Windows hosts of {folder} do not answer ({silent}); `windows up` starts them."
            ) from silent
    if "error" in told:
        raise LabError(str(told["error"]))
    return told["result"]


def listen(folder: Path, answer: Answer) -> None:
    """Answer commands, one thread for each, until the process ends."""
    with contextlib.suppress(FileNotFoundError):
        (folder / _NAME).unlink()
    listening = socket.socket(socket.AF_UNIX)
    with _short(folder) as path:
        listening.bind(path)
    (folder / _NAME).chmod(0o600)
    listening.listen(16)

    def accept() -> None:
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_serve, args=(connection, answer), name="command", daemon=True).start()

    threading.Thread(target=accept, name="control", daemon=True).start()


def _serve(connection: socket.socket, answer: Answer) -> None:
    with connection, connection.makefile("rw") as stream:
        try:
            told: dict[str, Any] = {"result": answer(json.loads(stream.readline()))}
        except (LabError, ValueError, KeyError, TypeError) as refused:
            told = {"error": str(refused) if isinstance(refused, LabError) else repr(refused)}
        stream.write(json.dumps(told, default=str) + "\n")


@contextlib.contextmanager
def _short(folder: Path) -> Iterator[str]:
    """Name the socket by its folder's descriptor: the path of a socket has at most 107 bytes (unix(7))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{_NAME}"
    finally:
        os.close(descriptor)
