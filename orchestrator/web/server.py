"""The server that answers: a thread for each request, of the standard library."""

from __future__ import annotations

import logging
import threading
import time
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from orchestrator.errors import Unavailable
from orchestrator.settings import Address

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

#: Seconds until an address that somebody else has is tried again.
AGAIN = 15.0

log = logging.getLogger(__name__)


def listening(application: WSGIApplication, address: Address) -> WSGIServer:
    """Return a server that listens already; ``serve_forever`` answers. Raises Unavailable."""
    try:
        return make_server(address.host, address.port, application, server_class=_Server, handler_class=_Quiet)
    except OSError as error:
        raise Unavailable(f"nothing can listen on {address}: {error.strerror}.") from error


def answer_beside(application: WSGIApplication, address: Address) -> None:
    """Answer in a thread of this process, which goes on with its work where nothing can listen there yet."""
    threading.Thread(target=_answer, args=(application, address), name="web", daemon=True).start()


def _answer(application: WSGIApplication, address: Address) -> None:
    said = False
    while True:
        try:
            with listening(application, address) as server:
                log.info("%s answers", Address(address.host, server.server_port))
                server.serve_forever()
        except Unavailable as error:
            if not said:
                log.warning("%s It is tried again; the work goes on.", error)
            said = True
        time.sleep(AGAIN)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    #: Seconds for which a client may be silent.
    timeout = 10

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a line for each scrape would only hide what matters."""
