"""One host's look becomes a report, whatever happens on the way; no secret gets into it or into the log."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from traceback import format_exception
from typing import TypeVar

from orchestrator.adapters.probes.accounts import AlreadyIn, Refused
from orchestrator.adapters.probes.stages import Deadline, StageFailed
from orchestrator.domain.inventory import Connection, Host
from orchestrator.domain.probe import ProbeReport, Stage
from orchestrator.errors import Unavailable

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


def reported(host: Host, look: Callable[[], ProbeReport]) -> ProbeReport:
    """Look at a host; a host that does not answer is a report, never an exception."""
    began = time.monotonic()
    try:
        report = look()
    except AlreadyIn:
        report = ProbeReport(host=host.name)
    except StageFailed as failed:
        detail = without_secrets(failed.detail, host.connection)
        report = ProbeReport(
            host=host.name, failed_at=failed.stage, detail=detail, is_refused=isinstance(failed, Refused)
        )
    except Unavailable as error:
        report = ProbeReport(host=host.name, failed_at=Stage.AUTHENTICATE, detail=str(error))
    except Exception as error:
        # Whatever one odd host sets off here, the look at all the others stands.
        # Not as exception: a traceback ends with the error's own words, and those may hold a password.
        told = without_secrets("".join(format_exception(error)), host.connection)
        _LOG.error("probe of %s failed\n%s", host.name, told, extra={"host": host.name})
        detail = without_secrets(f"the probe itself failed: {type(error).__name__}: {error}", host.connection)
        report = ProbeReport(host=host.name, failed_at=Stage.CONNECT, detail=detail)
    report = replace(report, milliseconds=round((time.monotonic() - began) * 1000))
    _LOG.debug(
        "probe of %s: %s in %s ms",
        host.name,
        report.failed_at or "fit",
        report.milliseconds,
        extra={"host": host.name},
    )
    return report


def in_time(work: Callable[[], _T], deadline: Deadline, late: Callable[[], StageFailed]) -> _T:
    """Do the work in a thread that is left to itself when the deadline is over; then raise what ``late`` returns."""
    done: list[_T] = []
    failed: list[BaseException] = []

    def carry() -> None:
        try:
            done.append(work())
        except BaseException as error:  # handed on to whoever waits
            failed.append(error)

    thread = threading.Thread(target=carry, name="probe of one host", daemon=True)
    thread.start()
    thread.join(deadline.left)
    for error in failed:
        raise error
    if not done:
        raise late()
    return done[0]


def skew(told: int, before: float, after: float) -> int:
    """Return by how many seconds the host is ahead of us (negative: behind) beyond what the round trip explains."""
    if told > after:
        return int(told - after)
    # The host tells whole seconds, cut off: up to one more may have passed.
    return -max(0, int(before - told - 1))


def without_secrets(text: str, connection: Connection) -> str:
    """Return the text with the connection's secrets masked."""
    for secret in (connection.password, connection.become_password):
        with suppress(Unavailable):
            if secret and (shown := secret.reveal()):
                text = text.replace(shown, "***")
    return text
