"""The built-in service checks keep the contract, on servers of our own on loopback addresses."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from orchestrator.adapters.health import CommandCheck, HttpCheck, TcpCheck
from orchestrator.domain.health import CheckKind, HealthCheck
from orchestrator.domain.inventory import Connection, Host
from orchestrator.ports import ServiceCheck
from tests.contract.service_check import ServiceCheckContract

#: Loopback is a whole network: the same port may be served, silent or closed, depending on the address.
UP, DOWN, SLOW = "127.0.0.1", "127.0.0.2", "127.0.0.3"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux answers on all of 127.0.0.0/8")


def host(name: str, address: str) -> Host:
    return Host(name=name, connection=Connection(address=address))


class Hosts(ServiceCheckContract):
    @pytest.fixture
    def up(self) -> Host:
        return host("up", UP)

    @pytest.fixture
    def down(self) -> Host:
        return host("down", DOWN)

    @pytest.fixture
    def slow(self) -> Host:
        return host("slow", SLOW)


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"all is well")

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    #: The usual five would make a batch wait.
    request_queue_size = 64


@pytest.fixture
def web_port() -> Iterator[int]:
    with Server((UP, 0), Page) as server, socket.create_server((SLOW, server.server_port)):
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


class TestHttpCheck(Hosts):
    @pytest.fixture
    def service_check(self) -> ServiceCheck:
        return HttpCheck()

    @pytest.fixture
    def asked(self, web_port: int) -> HealthCheck:
        options = {"url": f"http://{{address}}:{web_port}/", "contains": "well", "timeout": "1", "retries": "0"}
        return HealthCheck(name="web", kind=CheckKind.HTTP, options=options)


@pytest.fixture
def tcp_port() -> Iterator[int]:
    with socket.create_server((UP, 0), backlog=64) as up:
        port = int(up.getsockname()[1])
        # A queue that is full lets further callers wait: the kernel drops what they send.
        with socket.create_server((SLOW, port), backlog=0):
            callers = [socket.socket() for _ in range(3)]
            for caller in callers:
                caller.setblocking(False)
                caller.connect_ex((SLOW, port))
            yield port
            for caller in callers:
                caller.close()


class TestTcpCheck(Hosts):
    @pytest.fixture
    def service_check(self) -> ServiceCheck:
        return TcpCheck()

    @pytest.fixture
    def asked(self, tcp_port: int) -> HealthCheck:
        options = {"port": str(tcp_port), "timeout": "1", "retries": "0"}
        return HealthCheck(name="port", kind=CheckKind.TCP, options=options)


class TestCommandCheck(Hosts):
    @pytest.fixture
    def service_check(self) -> ServiceCheck:
        return CommandCheck()

    @pytest.fixture
    def asked(self) -> HealthCheck:
        script = f'case "$1" in {UP}) exit 0;; {SLOW}) sleep 30;; *) echo "nothing there" >&2; exit 2;; esac'
        options = {"argv": f"sh -c '{script}' check {{address}}", "timeout": "1", "retries": "0"}
        return HealthCheck(name="command", kind=CheckKind.COMMAND, options=options)
