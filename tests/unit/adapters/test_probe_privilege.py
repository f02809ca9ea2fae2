"""Becoming root: with a sudo that behaves as the real one does, played by a script of our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.adapters.probes.shell import Answer, LocalShell, run_as_root
from orchestrator.adapters.probes.stages import Deadline, StageFailed
from orchestrator.domain.inventory import Connection, Secret
from orchestrator.domain.probe import Stage

SCRIPT = b"echo the script ran; cat\n"

#: Asks for a password (unless the file "nopasswd" is there), three times at most, and counts every wrong attempt.
SUDO = """\
#!/bin/sh
here=${0%/*}
if [ "$1" = -n ]; then
    [ -e "$here/nopasswd" ] || { echo 'sudo: a password is required' >&2; exit 1; }
    shift; exec "$@"
fi
[ "$1 $2 $3" = "-S -p " ] || exit 9
shift 3
if [ ! -e "$here/nopasswd" ]; then
    for attempt in 1 2 3; do
        read -r password || { echo 'sudo: no password was provided' >&2; exit 1; }
        [ "$password" = 'cor"rect $horse' ] && break
        echo wrong >> "$here/wrong"
        echo 'Sorry, try again.' >&2
        [ "$attempt" = 3 ] && exit 1
    done
fi
exec "$@"
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in (("sudo", SUDO), ("id", "#!/bin/sh\necho 1000\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path


def run(connection: Connection, script: bytes = SCRIPT) -> Answer:
    return run_as_root(LocalShell(), script, connection, Deadline(10))


def with_password(password: str) -> Connection:
    return Connection(address="", become=True, become_password=Secret(password))


def test_without_become_the_script_runs_as_the_account() -> None:
    assert run(Connection(address="")).out == "the script ran\n"


def test_sudo_without_a_password_runs_the_script(tools: Path) -> None:
    (tools / "nopasswd").touch()
    assert run(Connection(address="", become=True)).out == "the script ran\n"


def test_sudo_that_wants_a_password_says_so(tools: Path) -> None:
    answer = run(Connection(address="", become=True))
    assert (answer.code, answer.out, answer.err) == (1, "", "sudo: a password is required\n")


def test_root_needs_no_sudo(tools: Path) -> None:
    (tools / "id").write_text("#!/bin/sh\necho 0\n")
    (tools / "sudo").write_text("#!/bin/sh\nexit 9\n")
    assert run(Connection(address="", become=True)).out == "the script ran\n"


def test_the_password_goes_to_sudo_and_the_script_to_the_shell(tools: Path) -> None:
    answer = run(with_password('cor"rect $horse'))
    assert (answer.out, answer.err) == ("the script ran\n", "")


def test_a_password_that_sudo_does_not_ask_for_never_reaches_the_shell(tools: Path) -> None:
    (tools / "nopasswd").touch()
    answer = run(with_password('cor"rect $horse'))
    assert (answer.out, answer.err) == ("the script ran\n", "")


def test_a_wrong_password_is_offered_once(tools: Path) -> None:
    with pytest.raises(StageFailed, match="did not accept the become password") as failed:
        run(with_password("guess"))
    assert failed.value.stage is Stage.PRIVILEGE
    assert (tools / "wrong").read_text() == "wrong\n"


@pytest.mark.parametrize(
    ("connection", "told"),
    [
        (Connection(address="", become=True, become_method="su"), "with sudo or doas, not with su"),
        (Connection(address="", become=True, become_method="doas", become_password=Secret("x")), "nopass"),
    ],
)
def test_other_ways_are_told(connection: Connection, told: str) -> None:
    with pytest.raises(StageFailed, match=told):
        run(connection)


def test_what_was_said_before_the_deadline_is_kept() -> None:
    answer = run_as_root(LocalShell(), b"echo early; sleep 60\n", Connection(address=""), Deadline(0.5))
    assert (answer.code, answer.out) == (None, "early\n")
