"""What a script or module sees of the process that it runs in, whichever protocol started it."""

import time
from typing import Protocol


class ProcessKilled(Exception):
    """The process was ended from outside: by its shell, by a signal, or because the host went down."""


class Process(Protocol):
    """Standard input, output and error of something that runs on the host."""

    def read_stdin(self) -> str:
        """Return all of the standard input, once it has ended."""

    def out(self, text: str) -> None: ...

    def err(self, text: str) -> None: ...

    def wait(self, seconds: float) -> None:
        """Let time pass; ProcessKilled where the process is ended meanwhile."""

    def cut(self) -> None:
        """Answer whoever asks for the output by resetting the connection. The process itself goes on."""


class Inner:
    """A process without a connection: a script that a module runs, or a job in the background."""

    def __init__(self) -> None:
        self.stdout = ""
        self.stderr = ""

    def read_stdin(self) -> str:
        return ""

    def out(self, text: str) -> None:
        self.stdout += text

    def err(self, text: str) -> None:
        self.stderr += text

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def cut(self) -> None:
        """Do nothing: there is no connection to reset."""
