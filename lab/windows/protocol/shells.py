"""Windows Remote Shell: commands with standard input, output and an exit code (MS-WSMV 3.1.4.1)."""

import logging
import threading
import uuid
from collections.abc import Callable

from lab.windows.process import Process, ProcessKilled
from lab.windows.protocol.envelope import WsmanFault

#: Bytes of output in one answer: base64 of it stays below MaxEnvelopeSize, 153600.
CHUNK = 90_000
Work = Callable[[str, Process], int]


class Reset(Exception):
    """The connection is to be reset instead of answered."""


class Command:
    """One command of a shell: its work is done by a thread, its output is fetched piece by piece."""

    def __init__(self, line: str, work: Work) -> None:
        self.id = str(uuid.uuid4()).upper()
        self._line = line
        self._work = work
        self._changed = threading.Condition()
        self._stdin = bytearray()
        self._stdin_ended = False
        self._output = {"stdout": bytearray(), "stderr": bytearray()}
        self._exit_code: int | None = None
        self._killed = False
        self._cut = False
        threading.Thread(target=self._run, name=f"command {self.id}", daemon=True).start()

    # What the command sees ------------------------------------------------------------------------------------

    def read_stdin(self) -> str:
        with self._changed:
            self._changed.wait_for(lambda: self._stdin_ended or self._killed)
            if self._killed:
                raise ProcessKilled
            return self._stdin.decode()

    def out(self, text: str) -> None:
        self._put("stdout", text)

    def err(self, text: str) -> None:
        self._put("stderr", text)

    def wait(self, seconds: float) -> None:
        with self._changed:
            if self._changed.wait_for(lambda: self._killed, timeout=seconds):
                raise ProcessKilled

    def cut(self) -> None:
        with self._changed:
            self._cut = True
            self._changed.notify_all()

    # What the client asks -------------------------------------------------------------------------------------

    def feed(self, data: bytes, *, ended: bool) -> None:
        with self._changed:
            self._stdin += data
            self._stdin_ended |= ended
            self._changed.notify_all()

    def receive(self, seconds: float) -> tuple[dict[str, bytes], int | None]:
        """Wait for output; the exit code comes with the last piece of it."""
        with self._changed:
            if not self._changed.wait_for(self._has_news, timeout=seconds):
                raise WsmanFault("timed-out")
            if self._cut:
                raise Reset
            pieces = {name: _take(buffer) for name, buffer in self._output.items()}
            ended = self._exit_code is not None and not any(self._output.values())
            return pieces, self._exit_code if ended else None

    def kill(self) -> None:
        with self._changed:
            self._killed = True
            self._changed.notify_all()

    # Inside ---------------------------------------------------------------------------------------------------

    def _has_news(self) -> bool:
        return any(self._output.values()) or self._exit_code is not None or self._cut or self._killed

    def _put(self, stream: str, text: str) -> None:
        with self._changed:
            self._output[stream] += text.encode()
            self._changed.notify_all()

    def _run(self) -> None:
        exit_code = carry_out(self._work, self._line, self)
        with self._changed:
            self._exit_code = exit_code
            self._changed.notify_all()


def carry_out(work: Work, line: str, process: Process) -> int:
    """Do the work; a mistake of the lab itself ends as a failed process that says so, never as a success."""
    try:
        return work(line, process)
    except ProcessKilled:
        return 1
    except Exception as mistake:
        logging.getLogger(__name__).exception("the lab made a mistake")
        process.err(f"lab: mistake of the lab itself, see its log: {mistake!r}")
        return 1


def _take(buffer: bytearray) -> bytes:
    piece = bytes(buffer[:CHUNK])
    del buffer[:CHUNK]
    return piece
