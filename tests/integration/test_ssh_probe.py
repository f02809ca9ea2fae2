"""The SSH probe against a real sshd on a loopback port, with throw-away keys, and against servers that misbehave."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.adapters.probes import HostKey, KnownHosts, SshProbe, fetch_host_keys
from orchestrator.domain.inventory import Connection, Host, Secret
from orchestrator.domain.probe import Needs, ProbeReport, Stage

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin:/sbin")

pytestmark = [
    pytest.mark.skipif(SSHD is None, reason="sshd is not installed (Debian: openssh-server)"),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root, to log in as root"),
]

#: What every machine has; "none" as the family leaves the machine's own package manager out of the test.
MODEST = Needs(free=(("/", 1),))


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running sshd: its port, and the folder with its keys (``host_…``) and the user's key (``user``)."""

    port: int
    folder: Path

    def connection(self, **changed: object) -> Connection:
        values: dict[str, object] = {
            "address": "127.0.0.1",
            "port": self.port,
            "user": "root",
            "key_file": str(self.folder / "user"),
        }
        return Connection(**{**values, **changed})  # type: ignore[arg-type]

    def host(self, name: str = "web1", **changed: object) -> Host:
        return Host(name=name, family="none", connection=self.connection(**changed))


def new_key(file: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", file], check=True)
    return file


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def sshd(folder: Path, *more: str, host_keys: tuple[str, ...] = ("ed25519", "ecdsa", "rsa")) -> Iterator[Server]:
    Path("/run/sshd").mkdir(exist_ok=True)
    port = free_port()
    for kind in host_keys:
        if not (folder / f"host_{kind}").exists():
            new_key(folder / f"host_{kind}", kind)
    if not (folder / "user").exists():
        shutil.copy(f"{new_key(folder / 'user')}.pub", folder / "authorized_keys")
    lines = [
        f"ListenAddress 127.0.0.1:{port}",
        *(f"HostKey {folder}/host_{kind}" for kind in host_keys),
        f"AuthorizedKeysFile {folder}/authorized_keys",
        "PidFile none",
        "StrictModes no",
        "UsePAM no",
        "PermitRootLogin yes",
        "MaxStartups 200",
        *more,
    ]
    (folder / "sshd_config").write_text("\n".join(lines) + "\n")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    try:
        wait_for(port, folder / "log")
        yield Server(port=port, folder=folder)
    finally:
        process.terminate()
        process.wait(timeout=10)


def wait_for(port: int, log: Path) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
    pytest.fail(log.read_text())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
def pins(tmp_path: Path) -> KnownHosts:
    return KnownHosts(tmp_path / "known_hosts")


@pytest.fixture
def trusted(server: Server, pins: KnownHosts) -> KnownHosts:
    pin(server, pins)
    return pins


def pin(server: Server, pins: KnownHosts) -> None:
    (offered,) = fetch_host_keys([server.host()])
    pins.replace(offered.address, offered.keys, offered.port)


def look(host: Host, pins: KnownHosts, *, timeout: float = 10, needs: Needs = MODEST) -> ProbeReport:
    (report,) = SshProbe(known_hosts=pins.path, timeout=timeout).look([host], needs)
    return report


def test_a_host_that_answers_is_fit(server: Server, trusted: KnownHosts) -> None:
    report = look(server.host(), trusted)
    assert (report.host, report.is_fit, report.detail) == ("web1", True, "")
    assert abs(report.clock_skew) <= 1
    assert report.milliseconds > 0


def test_space_that_is_missing_fails_at_disk(server: Server, trusted: KnownHosts) -> None:
    report = look(server.host(), trusted, needs=Needs(free=(("/", 1 << 60),)))
    assert report.failed_at is Stage.DISK
    assert report.detail.startswith("/ has ")


@pytest.mark.parametrize("ahead", [300, -300])
def test_a_clock_that_differs_fails_at_clock(server: Server, trusted: KnownHosts, ahead: int) -> None:
    probe = SshProbe(known_hosts=trusted.path, now=lambda: time.time() - ahead)
    (report,) = probe.look([server.host()], MODEST)
    assert report.failed_at is Stage.CLOCK
    assert abs(report.clock_skew - ahead) <= 2


def test_a_key_that_is_not_pinned_fails_and_says_what_to_type(server: Server, pins: KnownHosts) -> None:
    report = look(server.host(), pins)
    assert report.failed_at is Stage.HOST_KEY
    assert report.detail.endswith("orchestrator host trust web1")
    assert "is not pinned" in report.detail


def test_a_changed_key_fails_before_any_secret_is_offered(server: Server, trusted: KnownHosts) -> None:
    wrong = HostKey(*Path(f"{new_key(trusted.path.parent / 'wrong')}.pub").read_text().split()[:2])
    trusted.replace("127.0.0.1", [wrong], server.port)
    report = look(server.host(password=Secret("hunter2")), trusted)
    assert report.failed_at is Stage.HOST_KEY
    assert "CHANGED" in report.detail
    assert wrong.fingerprint in report.detail


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])
def test_one_pinned_key_of_any_kind_is_enough(server: Server, pins: KnownHosts, kind: str) -> None:
    (offered,) = fetch_host_keys([server.host()])
    pins.add("127.0.0.1", [key for key in offered.keys if key.kind == kind], server.port)
    assert look(server.host(), pins).is_fit


def test_the_connections_own_known_hosts_file_counts(server: Server, trusted: KnownHosts, tmp_path: Path) -> None:
    empty = KnownHosts(tmp_path / "empty")
    assert look(server.host(known_hosts=str(trusted.path)), empty).is_fit
    assert look(server.host(known_hosts=str(empty.path)), trusted).failed_at is Stage.HOST_KEY
    assert look(server.host(known_hosts=str(tmp_path)), trusted).failed_at is Stage.HOST_KEY


def test_a_key_that_is_not_let_in_is_named(server: Server, trusted: KnownHosts, tmp_path: Path) -> None:
    other = new_key(tmp_path / "other")
    report = look(server.host(key_file=str(other), password=Secret("hunter2")), trusted)
    assert report.failed_at is Stage.AUTHENTICATE
    assert report.detail == f"root was not let in; offered was {other}, the password"


@pytest.mark.parametrize(
    ("prepare", "told"), [("missing", "cannot be read: No such file"), ("locked", "ssh-add"), ("nonsense", "ssh-add")]
)
def test_a_key_file_that_is_of_no_use_says_why(
    server: Server, trusted: KnownHosts, tmp_path: Path, prepare: str, told: str
) -> None:
    file = tmp_path / "key"
    if prepare == "locked":
        new_key(file, passphrase="a passphrase")
    elif prepare == "nonsense":
        file.write_text("nonsense")
    report = look(server.host(key_file=str(file)), trusted)
    assert report.failed_at is Stage.AUTHENTICATE
    assert told in report.detail


def test_the_agents_key_opens_for_a_locked_file(
    server: Server, trusted: KnownHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(tmp_path / "agent")], stdout=subprocess.PIPE)
    try:
        assert agent.stdout is not None
        agent.stdout.readline()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        subprocess.run(["ssh-add", "-q", server.folder / "user"], check=True)
        assert look(server.host(key_file=f"{server.folder}/user.pub"), trusted).is_fit
        assert look(server.host(key_file=""), trusted).is_fit
    finally:
        agent.terminate()
        agent.communicate(timeout=10)


def test_the_keys_offered_are_those_of_the_host(server: Server) -> None:
    (offered,) = fetch_host_keys([server.host()])
    assert offered.problem == ""
    shown = [
        subprocess.run(["ssh-keygen", "-lf", file], capture_output=True, text=True, check=True).stdout.split()[1]
        for file in sorted(server.folder.glob("host_*.pub"))
    ]
    assert sorted(key.fingerprint for key in offered.keys) == sorted(shown)


def test_a_host_without_an_answer_offers_no_keys() -> None:
    nobody = Host(name="web9", connection=Connection(address="127.0.0.1", port=free_port()))
    windows = Host(name="win1", connection=Connection(kind="winrm", address="127.0.0.1"))
    refused, other = fetch_host_keys([nobody, windows])
    assert (refused.keys, other.keys) == ((), ())
    assert "connection refused" in refused.problem
    assert "winrm" in other.problem


def test_openssh_accepts_the_pinned_file(server: Server, trusted: KnownHosts) -> None:
    options = ["BatchMode=yes", "StrictHostKeyChecking=yes", f"UserKnownHostsFile={trusted.path}"]
    command = ["ssh", "-F", "none", "-n", "-p", str(server.port), "-i", str(server.folder / "user")]
    command += [part for option in options for part in ("-o", option)]
    subprocess.run([*command, "root@127.0.0.1", "true"], check=True, timeout=20)


def test_a_host_that_stops_in_the_middle_says_at_which_question(tmp_path: Path, pins: KnownHosts) -> None:
    (tmp_path / "df").write_text("#!/bin/sh\nexec sleep 20\n")
    (tmp_path / "df").chmod(0o755)
    with sshd(tmp_path, f"SetEnv PATH={tmp_path}:/usr/bin:/bin", host_keys=("ed25519",)) as stuck:
        pin(stuck, pins)
        report = look(stuck.host(), pins, timeout=3)
    assert report.failed_at is Stage.DISK
    assert report.detail == "the host did not answer about free space within 3 s"
    assert report.milliseconds < 5000


@pytest.mark.parametrize(
    ("forced", "told"),
    [("echo 'This account is not available.'; exit 1", "This account is not available."), ("sleep 20", "within 3 s")],
)
def test_a_login_without_a_shell_fails_at_privilege(tmp_path: Path, pins: KnownHosts, forced: str, told: str) -> None:
    with sshd(tmp_path, f"ForceCommand {forced}", host_keys=("ed25519",)) as odd:
        pin(odd, pins)
        report = look(odd.host(), pins, timeout=3)
    assert report.failed_at is Stage.PRIVILEGE
    assert told in report.detail


def test_a_host_with_one_kind_of_key_offers_that(tmp_path: Path) -> None:
    with sshd(tmp_path, host_keys=("rsa",)) as old:
        (offered,) = fetch_host_keys([old.host()])
    assert [key.kind for key in offered.keys] == ["ssh-rsa"]


@contextmanager
def misbehaving(greeting: bytes | None) -> Iterator[int]:
    """Serve a port that greets and is silent then, or (None) hangs up at once."""
    listening = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            if greeting is None:
                connection.close()
            else:
                connection.sendall(greeting)
                held.append(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield int(listening.getsockname()[1])
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(timeout=10)
        for connection in held:
            connection.close()


@pytest.mark.parametrize(
    ("greeting", "told"),
    [
        (b"", "did not finish the SSH handshake within 1 s"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "did not finish the SSH handshake within 1 s"),
        (b"220 mail.example.org ESMTP\r\n" * 500, "answers, but not as SSH should"),
        (None, "answers, but not as SSH should"),
    ],
)
def test_a_port_that_is_no_ssh_server_fails_at_connect(pins: KnownHosts, greeting: bytes | None, told: str) -> None:
    with misbehaving(greeting) as port:
        host = Host(name="web1", connection=Connection(address="127.0.0.1", port=port))
        report = look(host, pins, timeout=1)
    assert report.failed_at is Stage.CONNECT
    assert told in report.detail
    assert report.milliseconds < 2500


@pytest.mark.parametrize(
    ("address", "told"),
    [("127.0.0.1", "connection refused"), ("no-such-host.invalid", "does not resolve"), ("x" * 70, "x port")],
)
def test_a_host_that_is_not_there_fails_at_connect(pins: KnownHosts, address: str, told: str) -> None:
    report = look(Host(name="web1", connection=Connection(address=address, port=free_port())), pins, timeout=5)
    assert report.failed_at is Stage.CONNECT
    assert told in report.detail


def test_a_host_of_another_kind_is_told_and_not_tried(pins: KnownHosts) -> None:
    report = look(Host(name="win1", connection=Connection(kind="winrm", address="127.0.0.1")), pins)
    assert report.failed_at is Stage.CONNECT
    assert report.detail == "this probe speaks ssh and local, and the inventory says winrm"


def test_this_machine_is_looked_at_without_ssh(pins: KnownHosts) -> None:
    report = look(Host(name="here", family="none", connection=Connection(kind="local", address="")), pins)
    assert report.is_fit


def test_silent_hosts_do_not_hold_up_the_others_and_the_order_is_kept(
    server: Server, trusted: KnownHosts, tmp_path: Path
) -> None:
    with misbehaving(b"") as port:
        silent = [Host(name=f"s{n}", connection=Connection(address="127.0.0.1", port=port)) for n in range(4)]
        hosts = [*silent, *(server.host(f"h{n}") for n in range(6))]
        began = time.monotonic()
        reports = SshProbe(known_hosts=trusted.path, timeout=6, pool=10).look(hosts, MODEST)
        took = time.monotonic() - began
    assert [report.host for report in reports] == [host.name for host in hosts]
    assert [report.failed_at for report in reports] == [Stage.CONNECT] * 4 + [None] * 6
    assert took < 9


def test_no_hosts_are_no_reports(pins: KnownHosts) -> None:
    assert list(SshProbe(known_hosts=pins.path).look([], MODEST)) == []


def test_nothing_of_a_failure_is_printed(
    server: Server, trusted: KnownHosts, capfd: pytest.CaptureFixture[str]
) -> None:
    with misbehaving(None) as port:
        look(Host(name="web1", connection=Connection(address="127.0.0.1", port=port)), trusted, timeout=2)
    look(server.host(password=Secret("hunter2"), key_file="/nowhere", user=getpass.getuser()), trusted)
    assert capfd.readouterr() == ("", "")


def test_wrong_password_is_shown_to_one_of_many_hosts(tmp_path: Path, pins: KnownHosts) -> None:
    with sshd(tmp_path, "PasswordAuthentication yes", "PubkeyAuthentication no", "LogLevel VERBOSE") as asking:
        pin(asking, pins)
        hosts = [
            Host(
                name=f"web{number}", family="none", connection=asking.connection(key_file="", password=Secret("wrong"))
            )
            for number in range(8)
        ]
        probe = SshProbe(known_hosts=pins.path)
        found = [*probe.look(hosts, MODEST), *probe.knock(hosts)]
        failed = (tmp_path / "log").read_text().count("Failed password for root")
    assert {report.failed_at for report in found} == {Stage.AUTHENTICATE}
    (refused,) = (report for report in found if report.is_refused)
    assert all(refused.host in report.detail for report in found if not report.is_refused)
    assert failed == 1


def test_knocking_asks_no_host_that_needs_no_password(pins: KnownHosts) -> None:
    lost = Host(name="web1", connection=Connection(address="127.0.0.1", port=free_port()))
    (report,) = SshProbe(known_hosts=pins.path).knock([lost])
    assert report.is_fit
