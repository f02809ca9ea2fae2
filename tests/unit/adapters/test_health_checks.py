"""Service checks: what their options mean, and what is said of services that are not well."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from orchestrator.adapters.health import CommandCheck, HttpCheck, TcpCheck, service_checks
from orchestrator.adapters.health.asking import Answer, Asking, ask_all
from orchestrator.adapters.health.options import Patience
from orchestrator.domain.health import CheckKind, HealthCheck, HealthReport
from orchestrator.domain.inventory import Connection, Host
from orchestrator.errors import InvalidInput
from orchestrator.ports import ServiceCheck
from tests.processes import lives
from tests.waiting import until

ONCE = {"retries": "0", "timeout": "2"}


def host(name: str = "web1", address: str = "127.0.0.1") -> Host:
    return Host(name=name, connection=Connection(address=address))


def ask(check: ServiceCheck, kind: CheckKind, options: Mapping[str, str], asked: Host | None = None) -> HealthReport:
    (report,) = check.check([asked or host()], HealthCheck(name="check", kind=kind, options={**ONCE, **options}))
    return report


def http(url: str, **options: str) -> HealthReport:
    return ask(HttpCheck(), CheckKind.HTTP, {"url": url, **options})


def command(argv: str, **options: str) -> HealthReport:
    return ask(CommandCheck(), CheckKind.COMMAND, {"argv": argv, **options})


@dataclass
class Site:
    """A web site under test: ``paths`` says for each path the status and the location or text of the answer."""

    paths: dict[str, tuple[int, str]]
    port: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)

    def url(self, path: str, name: str = "127.0.0.1") -> str:
        return f"http://{name}:{self.port}{path}"


@contextmanager
def serving(paths: dict[str, tuple[int, str]], trust: ssl.SSLContext | None = None) -> Iterator[Site]:
    site = Site(paths)

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append((self.path, self.headers["Host"]))
            status, text = site.paths.get(self.path.split("?")[0], (404, ""))
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", text)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that does not trust the certificate hangs up, as it should

    with Server(("127.0.0.1", 0), Page) as server:
        if trust is not None:
            server.socket = trust.wrap_socket(server.socket, server_side=True)
        site.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield site
        server.shutdown()
        thread.join()


def test_every_kind_that_asks_the_service_has_a_check() -> None:
    assert set(service_checks()) == {CheckKind.HTTP, CheckKind.TCP, CheckKind.COMMAND}


def test_host_and_address_stand_in_for_each_host() -> None:
    with serving({"/web1": (200, "")}) as site:
        assert http(f"http://{{address}}:{site.port}/{{host}}").passed
    assert site.asked == [("/web1", f"127.0.0.1:{site.port}")]


def test_an_ipv6_address_is_put_in_brackets() -> None:
    options = {"url": "http://{address}:1/"}
    report = ask(HttpCheck(), CheckKind.HTTP, options, host(address="::1"))
    assert report.detail.startswith("http://[::1]:1/: ")


@pytest.mark.parametrize(
    ("path", "options", "passed", "told"),
    [
        ("/ok", {}, True, "answered 200"),
        ("/ok", {"contains": "wel"}, True, "answered 200"),
        ("/ok", {"contains": "bad"}, False, "answered 200, but without 'bad'"),
        ("/broken", {}, False, "answered 503, not 200"),
        ("/broken", {"status": "200, 503"}, True, "answered 503"),
        ("/broken", {"status": "503", "contains": "sorry"}, True, "answered 503"),
        ("/nothing", {}, False, "answered 404, not 200"),
        ("/ok?token=secret", {"status": "201"}, False, "/ok answered 200, not 201"),
    ],
)
def test_status_and_text_decide(path: str, options: dict[str, str], passed: bool, told: str) -> None:
    with serving({"/ok": (200, "all well"), "/broken": (503, "sorry")}) as site:
        report = http(site.url(path), **options)
    assert report.passed is passed
    assert told in report.detail
    assert "secret" not in report.detail


@pytest.mark.parametrize(
    ("options", "passed"),
    [
        ({}, False),
        ({"redirects": "never"}, False),
        ({"redirects": "anywhere"}, True),
        ({"status": "302"}, True),
    ],
)
def test_redirects_to_elsewhere_are_followed_only_when_asked(options: dict[str, str], passed: bool) -> None:
    with serving({"/": (302, ""), "/login": (200, "")}) as site:
        site.paths["/"] = (302, site.url("/login", "localhost"))
        report = http(site.url("/"), **options)
    assert report.passed is passed
    assert ("/login" in [path for path, _ in site.asked]) is (options.get("redirects") == "anywhere")


@pytest.mark.parametrize(("redirects", "passed"), [("same-host", True), ("never", False)])
def test_redirects_on_the_same_host_are_followed(redirects: str, passed: bool) -> None:
    with serving({"/": (302, "/login"), "/login": (200, "")}) as site:
        assert http(site.url("/"), redirects=redirects).passed is passed


def test_a_redirect_to_a_file_is_never_followed() -> None:
    with serving({"/": (302, "file:///etc/passwd"), "/ftp": (302, "ftp://127.0.0.1/x")}) as site:
        assert not http(site.url("/"), redirects="anywhere", contains="root").passed
        assert http(site.url("/ftp"), redirects="anywhere").detail.endswith("answered 302, not 200")


def test_proxies_of_the_environment_are_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with serving({"/": (200, "")}) as site:
        assert http(site.url("/")).passed


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=lab"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{folder}/key", "-out", f"{folder}/cert"]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    return folder


def test_a_certificate_has_to_hold_unless_told_otherwise(certificate: Path) -> None:
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trust.load_cert_chain(certificate / "cert", certificate / "key")
    with serving({"/": (200, "")}, trust) as site:
        url = site.url("/").replace("http:", "https:")
        assert "its certificate does not hold: self-signed" in http(url).detail
        assert http(url, ca_file=str(certificate / "cert")).passed
        assert http(url, verify="no").passed
        wrong_name = http(url.replace("127.0.0.1", "localhost"), ca_file=str(certificate / "cert"))
        assert "its certificate does not hold" in wrong_name.detail


@pytest.mark.parametrize("reply", [b"", b"SSH-2.0-nothing\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"])
def test_what_is_no_web_server_is_told(reply: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        report = http(f"http://127.0.0.1:{listening.getsockname()[1]}/", contains="abcde")
        thread.join()
    assert not report.passed
    assert report.detail


def test_a_service_that_drips_is_given_up_on() -> None:
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while not over.wait(0.2):
                    connection.sendall(b"X")

        thread = threading.Thread(target=drip)
        thread.start()
        began = time.monotonic()
        report = http(f"http://127.0.0.1:{listening.getsockname()[1]}/", timeout="1")
        took = time.monotonic() - began
        over.set()
        thread.join()
    assert (report.passed, report.detail) == (False, "no answer within 1 s")
    assert took < 3


def test_a_closed_port_says_refused() -> None:
    report = ask(TcpCheck(), CheckKind.TCP, {"port": "1"})
    assert (report.passed, report.detail) == (False, "port 1: connection refused")


def test_a_command_gets_its_words_without_a_shell() -> None:
    report = ask(
        CommandCheck(), CheckKind.COMMAND, {"argv": "printf %s/ {host} {address} '$HOME; ls'"}, host("web 1 *", "::1")
    )
    assert report.detail == "printf ended with 0: web 1 */::1/$HOME; ls/"


def test_a_command_may_be_given_as_a_list() -> None:
    assert command('["sh", "-c", "echo a word; exit 3"]', rc="0,3").detail == "sh ended with 3: a word"


def test_a_command_that_fails_or_is_not_there_is_told() -> None:
    assert command("sh -c 'echo why >&2; exit 1'").detail == "sh ended with 1: why"
    assert command("/no/such/command").detail == "/no/such/command cannot be run: No such file or directory"


def test_a_command_that_hangs_ends_with_all_that_it_started(tmp_path: Path) -> None:
    report = command(f"sh -c 'sleep 30 & echo $! > {tmp_path}/pid; wait'", timeout="1")
    assert report.detail == "sh did not end within 1 s and was killed"
    until(lambda: not lives(int((tmp_path / "pid").read_text())))


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        (CheckKind.HTTP, {}, "url is missing"),
        (CheckKind.HTTP, {"url": "file:///etc/passwd"}, "url is 'file:///etc/passwd'"),
        (CheckKind.HTTP, {"url": "http://user:pw@x/"}, "without user and password"),
        (CheckKind.HTTP, {"url": "http://x/", "stauts": "200"}, "stauts is unknown; status was meant?"),
        (CheckKind.HTTP, {"url": "http://x/", "ca_file": "/no/such"}, "ca_file /no/such holds no certificates"),
        (CheckKind.HTTP, {"url": "http://x/", "verify": "perhaps"}, "yes or no"),
        (CheckKind.HTTP, {"url": "http://x/", "timeout": "0"}, "timeout is '0'"),
        (CheckKind.TCP, {}, "port is missing"),
        (CheckKind.TCP, {"port": "70000"}, "a port from 1 to 65535"),
        (CheckKind.TCP, {"port": "80", "retries": "-1", "delay": "nan"}, "retries is '-1'"),
        (CheckKind.COMMAND, {"argv": "check 'half"}, "argv is"),
        (CheckKind.COMMAND, {"argv": "true", "rc": "good"}, "exit codes"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_asked(
    kind: CheckKind, options: dict[str, str], told: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        service_checks()[kind].check([host()], HealthCheck(name="mine", kind=kind, options=options))
    assert told in str(refused.value)
    assert "'mine'" in str(refused.value)


def patiently(answers: list[bool], patience: Patience) -> tuple[HealthReport, list[float]]:
    slept: list[float] = []
    remaining = iter(answers)
    (report,) = ask_all(
        [host()],
        HealthCheck(name="x", kind=CheckKind.TCP),
        lambda _: Answer(passed=next(remaining), detail="so it is"),
        patience,
        Asking(sleep=slept.append),
    )
    return report, slept


def test_a_service_that_comes_up_late_passes() -> None:
    report, slept = patiently([False, False, True], Patience(retries=3, delay=2.0))
    assert (report.passed, report.detail, slept) == (True, "so it is", [2.0, 2.0])


def test_a_service_that_stays_down_is_asked_so_often_and_no_more() -> None:
    report, slept = patiently([False] * 9, Patience(retries=2, delay=2.0))
    assert (report.passed, report.detail, slept) == (False, "so it is (3 tries)", [2.0, 2.0])


def test_the_usual_patience_ends_within_fifteen_seconds() -> None:
    usual = Patience()
    assert usual.retries * usual.delay + usual.timeout < 15


def test_a_service_that_hangs_gets_no_more_time_than_one_that_refuses() -> None:
    asked: list[float] = []

    def hang(_: Host) -> Answer:
        asked.append(time.monotonic())
        time.sleep(1)
        return Answer(passed=False, detail="late")

    ask_all([host()], HealthCheck(name="x", kind=CheckKind.TCP), hang, Patience(retries=9, delay=0.1), Asking())
    assert len(asked) <= 2


def test_what_a_check_raises_is_a_fact_about_the_service() -> None:
    def fail(_: Host) -> Answer:
        raise LookupError("odd")

    (report,) = ask_all([host()], HealthCheck(name="x", kind=CheckKind.TCP), fail, Patience(retries=0), Asking())
    assert (report.passed, report.detail) == (False, "LookupError: odd")
