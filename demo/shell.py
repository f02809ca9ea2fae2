"""Type commands, really: each is printed, run as a process of its own, and heard out."""

import contextlib
import os
import queue
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from demo.errors import DemoError
from demo.places import TOP, shown
from demo.terminal import Terminal

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
#: Wide enough for the tables of a plan, where there is no terminal whose width counts.
_PIPE_WIDTH = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """How much of a long output is shown: so many lines of its beginning, and of its end."""

    head: int = 10_000
    tail: int = 0


WHOLE = Excerpt()


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a command has printed, without colours, and its exit code."""

    typed: str
    code: int
    lines: tuple[str, ...]

    def find(self, pattern: str) -> str:
        """Return what the pattern's first group matched, the last time. Raises DemoError where it never did."""
        for line in reversed(self.lines):
            if match := re.search(pattern, line):
                return match[1]
        raise DemoError(f"`{self.typed}` was to print something like {pattern!r}, but did not.")


class Shell:
    """Runs commands in the repository's top folder, one after the other."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._environment = _environment(terminal.is_coloured)

    def export(self, name: str, path: Path) -> None:
        """Set a variable to a path for all commands that follow."""
        self._terminal.command(f"export {name}={shlex.quote(shown(path))}")
        self._environment[name] = str(path)

    def run(self, *argv: str | Path, expect: Sequence[int] = (0,), show: Excerpt = WHOLE) -> Done:
        """Type a command and wait for it. Raises DemoError where it ends with another code than expected."""
        words = [shown(word) if isinstance(word, Path) else word for word in argv]
        return self._run(words, shlex.join(words), expect, show)

    def script(self, text: str, *, expect: Sequence[int] = (0,), show: Excerpt = WHOLE) -> Done:
        """Type a line that takes a shell: a loop, a pipe."""
        return self._run(["bash", "-c", text], text, expect, show)

    def _run(self, argv: Sequence[str], typed: str, expect: Sequence[int], show: Excerpt) -> Done:
        self._terminal.command(typed)
        process = subprocess.Popen(
            argv,
            cwd=TOP,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,  # Ctrl-C is for the demo alone, which passes it on.
        )
        try:
            lines = self._hear(process, show)
        except BaseException:
            _interrupt(process)
            raise
        code = process.wait()
        if code not in expect:
            wanted = " or ".join(map(str, expect))
            raise DemoError(f"`{typed}` ended with {code}, where {wanted} was expected; see above.")
        return Done(typed=typed, code=code, lines=tuple(lines))

    def _hear(self, process: subprocess.Popen[str], show: Excerpt) -> list[str]:
        """Print what comes, cut to the excerpt; when nothing comes for long, say that it goes on."""
        heard: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        assert process.stdout is not None
        threading.Thread(target=_listen, args=(process.stdout, heard), daemon=True).start()
        began = time.monotonic()
        lines: list[str] = []
        end: deque[str] = deque(maxlen=show.tail)
        while True:
            try:
                line = heard.get(timeout=0.5)
            except queue.Empty:
                self._terminal.still_at_work(time.monotonic() - began)
                continue
            if line is None:
                break
            lines.append(_COLOUR.sub("", line))
            if len(lines) <= show.head:
                self._terminal.line(line)
            else:
                end.append(line)
        hidden = len(lines) - show.head - len(end)
        if hidden > 0:
            self._terminal.aside(f"  … {hidden} more lines …")
        for line in end:
            self._terminal.line(line)
        return lines


def _environment(coloured: bool) -> dict[str, str]:
    """Return the commands' environment: the project's own programs first, and output for this terminal."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ORCHESTRATOR_", "ANSIBLE_"))}
    programs = Path(sys.executable).parent
    width = shutil.get_terminal_size((_PIPE_WIDTH, 24)).columns if sys.stdout.isatty() else _PIPE_WIDTH
    kept |= {"PATH": f"{programs}:{kept.get('PATH', '')}", "COLUMNS": str(width)}
    kept["FORCE_COLOR" if coloured else "NO_COLOR"] = "1"
    return kept


def _listen(stream: IO[str], heard: "queue.SimpleQueue[str | None]") -> None:
    for line in stream:
        heard.put(line.rstrip())
    heard.put(None)


def _interrupt(process: "subprocess.Popen[str]") -> None:
    """End the command as Ctrl-C would; whoever does not listen is ended."""
    for word in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, word)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
            return
