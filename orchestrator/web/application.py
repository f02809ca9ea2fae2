"""What a site answers over HTTP: its figures for Prometheus, and whether its work goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from orchestrator.errors import OrchestratorError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

log = logging.getLogger(__name__)

_TEXT = "text/plain; charset=utf-8"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


class Application:
    """A WSGI application (PEP 3333) that is only read. There is no sign-in: no page names a host or a person."""

    def __init__(self, figures: Callable[[], bytes], ailment: Callable[[], str] | None = None) -> None:
        """``figures`` gives the metrics; ``ailment`` says why work does not go on, "" where it does."""
        self._pages: dict[str, Callable[[], tuple[str, str, bytes]]] = {
            "/metrics": lambda: ("200 OK", _METRICS, figures())
        }
        if ailment is not None:
            self._pages["/healthz"] = lambda: _health(ailment())

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        status, kind, body = self._answer(str(environ.get("PATH_INFO")), str(environ.get("REQUEST_METHOD")))
        start(status, [("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")])
        return [body if environ.get("REQUEST_METHOD") != "HEAD" else b""]

    def _answer(self, path: str, method: str) -> tuple[str, str, bytes]:
        if path not in self._pages:
            return "404 Not Found", _TEXT, f"There is {' and '.join(self._pages)}, and nothing else.\n".encode()
        if method not in {"GET", "HEAD"}:
            return "405 Method Not Allowed", _TEXT, b"This is only read.\n"
        try:
            return self._pages[path]()
        # A scrape that fails is a metric by itself (up == 0). What stood in the way names places that are nobody's
        # business who has not signed in.
        except OrchestratorError as error:
            log.warning("%s could not be answered: %s", path, error)
            return "503 Service Unavailable", _TEXT, b"this cannot be told now; the log says why\n"
        except DBAPIError as error:
            log.warning("%s could not be answered: %s", path, error.orig)
            return "503 Service Unavailable", _TEXT, b"the database is away; the log says more\n"


def _health(ailment: str) -> tuple[str, str, bytes]:
    if ailment:
        return "503 Service Unavailable", _TEXT, f"{ailment}\n".encode()
    return "200 OK", _TEXT, b"ok\n"
