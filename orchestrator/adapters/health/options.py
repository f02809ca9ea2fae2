"""A check's options as the template writes them, read with every mistake told at once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from orchestrator.domain.health import HealthCheck
from orchestrator.domain.inventory import Host
from orchestrator.errors import InvalidInput

_T = TypeVar("_T")

_YES, _NO = ("yes", "true", "on", "1"), ("no", "false", "off", "0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a service may take: ``timeout`` seconds for one answer, ``retries`` more tries, ``delay`` between them.

    A service needs a moment after its restart. No try begins later than ``retries`` times ``delay`` after the first,
    so that one that hangs costs no more time than one that refuses.
    """

    timeout: float = 5.0
    retries: int = 3
    delay: float = 3.0


@dataclass(slots=True, kw_only=True)
class Options:
    """Reads the options of one check, and remembers what is wrong with them."""

    check: HealthCheck
    mistakes: list[str] = field(default_factory=list)
    _known: list[str] = field(default_factory=list)

    def text(self, name: str, default: str | None = "") -> str:
        """Return an option; without a default it is needed."""
        self._known.append(name)
        value = self.check.options.get(name, default)
        if not value and default is None:
            self.mistakes.append(f"{name} is missing")
        return value or ""

    def parsed(self, name: str, parse: Callable[[str], _T], default: _T, wanted: str) -> _T:
        """Return an option as ``parse`` understands it (which raises ValueError); ``wanted`` says what it should be."""
        text = self.text(name)
        try:
            return parse(text.strip()) if text else default
        except ValueError:
            self.mistakes.append(f"{name} is {text!r} and should be {wanted}")
            return default

    def needed(self, name: str, parse: Callable[[str], _T], default: _T, wanted: str) -> _T:
        """Return an option that has to be there."""
        self.text(name, None)
        return self.parsed(name, parse, default, wanted)

    def patience(self) -> Patience:
        """Return how long to wait."""
        usual = Patience()
        return Patience(
            timeout=self.parsed("timeout", positive, usual.timeout, "seconds, more than 0"),
            retries=self.parsed("retries", counting, usual.retries, "a number from 0"),
            delay=self.parsed("delay", seconds, usual.delay, "seconds"),
        )

    def done(self) -> None:
        """Raise InvalidInput where anything was wrong, or an option stands there that nobody reads."""
        for name in self.check.options:
            if name not in self._known:
                near = difflib.get_close_matches(name, self._known, n=1)
                self.mistakes.append(f"{name} is unknown" + (f"; {near[0]} was meant?" if near else ""))
        if self.mistakes:
            raise InvalidInput(
                f"the health check {self.check.name!r} ({self.check.kind}) cannot be carried out: "
                f"{'; '.join(dict.fromkeys(self.mistakes))}. Correct it in the change template."
            )


def filled(text: str, host: Host, *, in_url: bool = False) -> str:
    """Return the text with ``{host}`` and ``{address}`` of this host."""
    address = host.connection.address
    # An IPv6 address stands in brackets in a URL (RFC 3986 3.2.2).
    shown = f"[{address}]" if in_url and ":" in address else address
    return text.replace("{host}", host.name).replace("{address}", shown)


def yes_or_no(text: str) -> bool:
    """Return what the word says. Raises ValueError."""
    if text.lower() not in (*_YES, *_NO):
        raise ValueError(text)
    return text.lower() in _YES


def counting(text: str) -> int:
    """Return a whole number from 0. Raises ValueError."""
    if int(text) < 0:
        raise ValueError(text)
    return int(text)


def seconds(text: str) -> float:
    """Return seconds, fractions allowed. Raises ValueError."""
    if not 0 <= float(text) < float("inf"):
        raise ValueError(text)
    return float(text)


def positive(text: str) -> float:
    """Return seconds, more than 0. Raises ValueError."""
    if seconds(text) == 0:
        raise ValueError(text)
    return seconds(text)


def port(text: str) -> int:
    """Return a TCP port. Raises ValueError."""
    if not 0 < int(text) < 1 << 16:
        raise ValueError(text)
    return int(text)


def one_of(*words: str) -> Callable[[str], str]:
    """Return a parser that lets these words pass."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return parse


def listed(text: str) -> Sequence[str]:
    """Return the parts of ``a, b``."""
    return [part.strip() for part in text.split(",") if part.strip()]
