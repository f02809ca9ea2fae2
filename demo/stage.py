"""What every part of the story needs at hand."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from demo.places import Places
from demo.shell import Done, Shell
from demo.terminal import Terminal

STAGING = ("stage1", "stage2")
PRODUCTION = ("web1", "web2", "web3", "web4")
#: The production host whose configuration differs from that of all others.
DOOMED = "web4"
WINDOWS_STAGING = ("appstage1", "appstage2")
WINDOWS_PRODUCTION = ("app1", "app2", "app3")
#: The Windows host that does not come back from its reboot.
LOST = "app2"


@dataclass(kw_only=True)
class Stage:
    """Terminal, shell and places, and what earlier parts have found out.

    ``left_out`` is why this machine boots no Linux hosts; an empty text where it does. ``meanwhile`` is what can be
    done while a change runs, and ``ahead`` the change that is being proved because of it.
    """

    terminal: Terminal
    shell: Shell
    places: Places
    left_out: str = ""
    meanwhile: Callable[["Stage"], None] = lambda _: None
    ahead: str = ""
    addresses: dict[str, str] = field(default_factory=dict)
    timings: list[tuple[str, float]] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)

    @property
    def has_linux(self) -> bool:
        """Tell whether Linux hosts are part of the story."""
        return not self.left_out

    @contextmanager
    def part(self, title: str) -> Iterator[None]:
        """Put a heading over a part and remember how long it took."""
        self.terminal.heading(title)
        began = time.monotonic()
        yield
        self.timings.append((title, time.monotonic() - began))

    def lab(self, *words: str, expect: tuple[int, ...] = (0,)) -> Done:
        """Type a command of the lab."""
        return self.shell.run("python", "-m", "lab", "--instance", self.places.instance, *words, expect=expect)

    @property
    def lab_typed(self) -> str:
        """Return how commands of the lab begin, for lines that take a shell."""
        return f"python -m lab --instance {self.places.instance}"
