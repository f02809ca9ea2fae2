"""One way to log for every process: plain lines or line JSON, with change, job and host where they are known.

Standard library only: supervisors use it, whose start is time inside a maintenance window. What is recorded is the
audit trail; a log is for whoever looks why a process did what it did, and may be lost.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType

#: What a line may be about, in the order in which it is told.
ABOUT = ("change", "job", "host")

#: The environment variable that tells a supervisor how its lines look.
FORM = "ORCHESTRATOR_LOG_FORMAT"

_about: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))


class LogForm(StrEnum):
    """How a line looks."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """The least that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def number(self) -> int:
        """Return it as the standard library counts."""
        return logging.getLevelNamesMapping()[self.name]


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What a site wants of its logs, ``[log]``."""

    form: LogForm = LogForm.TEXT
    level: LogLevel = LogLevel.INFO


def begin(settings: LogSettings, *, least: LogLevel = LogLevel.DEBUG, mask: Callable[[str], str] = str) -> None:
    """Log to standard error from now on, nothing below ``least``; ``mask`` is applied to every line.

    Other people's libraries are heard from WARNING on, from each place in them once in half a minute: what tries a
    database again and again would fill a disk with it.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Seldom())
    handler.setFormatter(_Json(mask) if settings.form is LogForm.JSON else _Text(mask))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("orchestrator").setLevel(max(settings.level.number, least.number))


@contextmanager
def about(**known: str) -> Iterator[None]:
    """Say what every line of the block is about: ``change``, ``job``, ``host``."""
    token = _about.set({**_about.get(), **known})
    try:
        yield
    finally:
        _about.reset(token)


class _Seldom(logging.Filter):
    """Lets a place in somebody else's library speak once in a while."""

    PAUSE = 30.0

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the line is written."""
        if record.name.partition(".")[0] == "orchestrator":
            return True
        place = (record.pathname, record.lineno)
        if record.created - self._said.get(place, 0.0) < self.PAUSE:
            return False
        self._said[place] = record.created
        return True


class _Lines(logging.Formatter):
    """What both forms have in common."""

    def __init__(self, mask: Callable[[str], str]) -> None:
        super().__init__()
        self._mask = mask

    def known(self, record: logging.LogRecord) -> dict[str, str]:
        """Return what the line is about, from the call itself or from the block around it."""
        around = _about.get()
        found = {name: getattr(record, name, None) or around.get(name, "") for name in ABOUT}
        return {name: str(value) for name, value in found.items() if value}

    def error(self, record: logging.LogRecord) -> str:
        """Return the traceback, where there is one."""
        return self.formatException(record.exc_info) if record.exc_info else ""

    def at(self, record: logging.LogRecord) -> str:
        """Return the time, RFC 3339 in UTC to the millisecond."""
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Text(_Lines):
    def format(self, record: logging.LogRecord) -> str:
        known = "".join(f" {name}={value}" for name, value in self.known(record).items())
        line = f"{self.at(record)} {record.levelname} {record.name}{known}: {record.getMessage()}"
        return self._mask("\n".join(filter(None, (line, self.error(record)))))


class _Json(_Lines):
    def format(self, record: logging.LogRecord) -> str:
        line = {"at": self.at(record), "level": record.levelname.lower(), "logger": record.name, **self.known(record)}
        line["message"] = record.getMessage()
        if error := self.error(record):
            line["error"] = error
        # Text by text, so that what is masked cannot be the punctuation between them.
        masked = {name: self._mask(value) for name, value in line.items()}
        return json.dumps(masked, ensure_ascii=False, separators=(",", ":"))
