"""What is answered over HTTP, by a server that listens."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

import pytest
from sqlalchemy.exc import OperationalError

from orchestrator.errors import Unavailable
from orchestrator.settings import LOOPBACK, Address
from orchestrator.web.application import Application
from orchestrator.web.server import answer_beside, listening
from tests.waiting import until

ANYWHERE = Address(LOOPBACK, 0)


def figures() -> bytes:
    return b"orchestrator_changes 2.0\n"


@contextmanager
def served(
    figures: Callable[[], bytes] = figures, ailment: Callable[[], str] | None = None
) -> Iterator[http.client.HTTPConnection]:
    with listening(Application(figures, ailment), ANYWHERE) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        asking = http.client.HTTPConnection(LOOPBACK, server.server_port, timeout=10)
        try:
            yield asking
        finally:
            asking.close()
            server.shutdown()
            thread.join()


def answer(asking: http.client.HTTPConnection, path: str, method: str = "GET") -> tuple[int, bytes]:
    asking.request(method, path)
    found = asking.getresponse()
    return found.status, found.read()


def test_figures_are_served_as_prometheus_wants_them() -> None:
    with served() as asking:
        asking.request("GET", "/metrics")
        found = asking.getresponse()
        assert found.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert found.headers["Cache-Control"] == "no-store"
        assert found.read() == figures()


def test_there_is_nothing_else_and_nothing_to_write() -> None:
    with served() as asking:
        for path in ("/", "/healthz", "/metrics/", "/../metrics"):
            assert answer(asking, path) == (404, b"There is /metrics, and nothing else.\n"), path
        assert answer(asking, "/metrics", "POST") == (405, b"This is only read.\n")
        assert answer(asking, "/metrics", "HEAD") == (200, b"")


@pytest.mark.parametrize(
    ("ailment", "answered"),
    [("", (200, b"ok\n")), ("nobody has looked", (503, b"nobody has looked\n"))],
)
def test_health_is_said_with_the_reason(ailment: str, answered: tuple[int, bytes]) -> None:
    with served(ailment=lambda: ailment) as asking:
        assert answer(asking, "/healthz") == answered


@pytest.mark.parametrize(
    ("error", "answered"),
    [
        (Unavailable("no database at db.example"), b"this cannot be told now; the log says why\n"),
        (OperationalError("SELECT 1", {}, Exception("no db.example")), b"the database is away; the log says more\n"),
    ],
)
def test_what_stands_in_the_way_is_told_to_the_log_and_not_to_everybody(
    error: Exception, answered: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> bytes:
        raise error

    with served(fails) as asking, caplog.at_level("WARNING", logger="orchestrator"):
        assert answer(asking, "/metrics") == (503, answered)
    (said,) = caplog.messages
    assert said.startswith("/metrics could not be answered: no ")
    assert "db.example" in said


def test_port_that_is_taken_is_said() -> None:
    with listening(Application(figures), ANYWHERE) as server, pytest.raises(Unavailable, match="nothing can listen on"):
        listening(Application(figures), Address(LOOPBACK, server.server_port))


def test_port_that_was_taken_is_tried_again(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("orchestrator.web.server.AGAIN", 0.05)
    with listening(Application(figures), ANYWHERE) as other, caplog.at_level("WARNING", logger="orchestrator"):
        taken = Address(LOOPBACK, other.server_port)
        answer_beside(Application(lambda: b"at last"), taken)
        until(lambda: bool(caplog.records))
    until(lambda: said_at(taken) == b"at last")
    assert len(caplog.records) == 1


def said_at(address: Address) -> bytes:
    asking = http.client.HTTPConnection(address.host, address.port, timeout=10)
    try:
        return answer(asking, "/metrics")[1]
    except ConnectionRefusedError:
        return b""
    finally:
        asking.close()
