"""What the demo writes: like a shell session, with comments. In two colours on a terminal, without any on a pipe."""

import os
import sys
import threading
import time

_GREEN, _CYAN, _RED, _BOLD, _DIM = "32", "36", "31", "1", "2"
#: After so many seconds without a line, one is written all the same.
_QUIET = 3.5


class Terminal:
    """Writes whole lines, from several threads; `began` is when the demo was called, in Unix time."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._lock = threading.Lock()
        self._spoke = time.monotonic()
        self.is_coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    @property
    def elapsed(self) -> float:
        """Return the seconds since the demo was called."""
        return time.time() - self._began

    def heading(self, title: str) -> None:
        """Begin a part."""
        rule = "═" * max(4, 78 - len(title) - 12)
        self.line()
        self.line(self._styled(f"══ {title} {rule} {clock(self.elapsed)}", _BOLD, _CYAN))

    def tell(self, *sentences: str) -> None:
        """Say what happens and why, before the command."""
        self.line()
        for sentence in sentences:
            self.line(self._styled(f"# {sentence}", _CYAN))

    def command(self, text: str) -> None:
        """Show a command as it is typed."""
        self.line(self._styled(f"$ {text}", _BOLD))

    def good(self, text: str) -> None:
        """Say that something is as it should be."""
        self.line(self._styled(f"# ✓ {text}", _GREEN))

    def bad(self, text: str) -> None:
        """Say what went wrong."""
        self.line()
        self.line(self._styled(text, _RED))

    def aside(self, text: str) -> None:
        """Say something in passing."""
        self.line(self._styled(text, _DIM))

    def still_at_work(self, seconds: float) -> None:
        """Write a line if none was written for a while."""
        if time.monotonic() - self._spoke >= _QUIET:
            self.aside(f"  … {seconds:.0f} s")

    def line(self, text: str = "") -> None:
        """Write one line."""
        with self._lock:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
            self._spoke = time.monotonic()

    def _styled(self, text: str, *codes: str) -> str:
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if self.is_coloured else text


def clock(seconds: float) -> str:
    """Return minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
