"""Signatures by the real ssh-keygen: good ones hold, all others do not, and errors say what to do."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.adapters.identity import SiteSigners
from orchestrator.domain.identity import Statement
from orchestrator.errors import InvalidInput, Unavailable

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH's client is not installed")

STATEMENT = Statement(
    subject="vote",
    change="CHG-0001",
    digest="5f" * 32,
    decision="approve",
    reason="prüfe: alles gut",
    signer="anna",
    at="2026-11-20T22:00:00Z",
)


def new_key(file: Path, passphrase: str = "", *options: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", file, *options], check=True)
    return file


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return new_key(tmp_path / "anna_key")


def signers(folder: Path, **environ: str) -> SiteSigners:
    kept = {name: value for name, value in os.environ.items() if name not in ("SSH_AUTH_SOCK", "ORCHESTRATOR_SSH_KEY")}
    return SiteSigners(folder / "people.yml", environ={**kept, "HOME": str(folder), **environ})


def enter(folder: Path, **keys: Path) -> None:
    lines = [
        f"- {{name: {name}, roles: [approver], account: {name}, keys: ['{Path(f'{file}.pub').read_text().strip()}']}}"
        for name, file in keys.items()
    ]
    (folder / "people.yml").write_text("\n".join(lines))


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[str]:
    socket = tmp_path / "agent.sock"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield str(socket)
    process.terminate()
    process.communicate(timeout=10)


def load(agent: str, key: Path) -> None:
    command = ["ssh-add", "-q", str(key)]
    subprocess.run(command, check=True, env={**os.environ, "SSH_AUTH_SOCK": agent}, stdin=subprocess.DEVNULL)


def test_a_signature_is_valid_for_its_statement_and_key(tmp_path: Path, key: Path) -> None:
    site = signers(tmp_path)
    signed = site.sign(STATEMENT, str(key))
    assert site.is_valid(signed)
    assert signed.key == site.public_key(str(key))
    assert signed.signature.startswith("-----BEGIN SSH SIGNATURE-----")


@pytest.mark.parametrize("field", ["subject", "change", "digest", "decision", "reason", "signer", "at"])
def test_a_statement_changed_in_any_field_is_not_valid(tmp_path: Path, key: Path, field: str) -> None:
    site = signers(tmp_path)
    signed = site.sign(STATEMENT, str(key))
    assert not site.is_valid(replace(signed, statement=replace(STATEMENT, **{field: "other"})))


def test_a_signature_under_another_persons_key_is_not_valid(tmp_path: Path, key: Path) -> None:
    site = signers(tmp_path)
    other = site.public_key(str(new_key(tmp_path / "other")))
    assert not site.is_valid(replace(site.sign(STATEMENT, str(key)), key=other))


def test_a_key_that_smuggles_in_a_second_line_is_not_valid(tmp_path: Path, key: Path) -> None:
    site = signers(tmp_path)
    signed = site.sign(STATEMENT, str(key))
    other = site.public_key(str(new_key(tmp_path / "other")))
    assert not site.is_valid(replace(signed, key=f"{other}\n* {signed.key}"))


@pytest.mark.parametrize("signer", ["*", "-n", "anna boris", ""])
def test_a_signer_that_is_no_name_is_not_valid(tmp_path: Path, key: Path, signer: str) -> None:
    site = signers(tmp_path)
    assert not site.is_valid(site.sign(replace(STATEMENT, signer=signer), str(key)))


def test_a_signature_made_for_another_purpose_is_not_valid(tmp_path: Path, key: Path) -> None:
    site = signers(tmp_path)
    signed = site.sign(STATEMENT, str(key))
    elsewhere = subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-n", "git", "-f", key], input=b"x", capture_output=True, check=True
    )
    assert not site.is_valid(replace(signed, signature=elsewhere.stdout.decode()))
    assert not site.is_valid(replace(signed, signature="nonsense"))


def test_a_public_key_file_signs_through_the_agent(tmp_path: Path, key: Path, agent: str) -> None:
    load(agent, key)
    key.unlink()
    site = signers(tmp_path, SSH_AUTH_SOCK=agent)
    assert site.is_valid(site.sign(STATEMENT, f"{key}.pub"))
    assert site.is_valid(site.sign(STATEMENT, Path(f"{key}.pub").read_text()))


def test_a_public_half_that_does_not_belong_to_the_key_is_named(tmp_path: Path, key: Path) -> None:
    shutil.copy(f"{new_key(tmp_path / 'other')}.pub", f"{key}.pub")
    with pytest.raises(Unavailable, match="doesn't match private"):
        signers(tmp_path).sign(STATEMENT, str(key))


def test_errors_say_what_stood_in_the_way_and_what_to_do(tmp_path: Path, key: Path) -> None:
    site = signers(tmp_path)
    with pytest.raises(Unavailable, match=r"nowhere cannot be read: No such file"):
        site.sign(STATEMENT, str(tmp_path / "nowhere"))
    key.chmod(0o644)
    with pytest.raises(Unavailable, match=rf"others may read it.*chmod 600 {key}"):
        site.sign(STATEMENT, str(key))
    key.rename(tmp_path / "elsewhere")
    with pytest.raises(Unavailable, match=r"does not hold the private half of .*ssh-add"):
        site.sign(STATEMENT, f"{key}.pub")
    with pytest.raises(Unavailable, match=r"no terminal to ask for it.*ssh-add"):
        site.sign(STATEMENT, str(new_key(tmp_path / "locked", "a passphrase")))


def test_an_old_private_key_without_its_public_half_says_how_to_write_it(tmp_path: Path) -> None:
    site = signers(tmp_path)
    old = new_key(tmp_path / "old", "", "-t", "rsa", "-b", "2048", "-m", "PEM")
    assert site.public_key(str(old)).startswith("ssh-rsa ")
    Path(f"{old}.pub").unlink()
    with pytest.raises(Unavailable, match="ssh-keygen -y -f"):
        site.public_key(str(old))
    with pytest.raises(Unavailable, match="ssh-keygen -y -f"):
        site.sign(STATEMENT, str(old))


def test_a_missing_ssh_keygen_says_what_to_install(tmp_path: Path, key: Path) -> None:
    with pytest.raises(Unavailable, match="openssh-client"):
        signers(tmp_path, PATH=str(tmp_path)).sign(STATEMENT, str(key))


def test_the_public_key_of_a_locked_file_is_known_without_its_passphrase(tmp_path: Path) -> None:
    locked = new_key(tmp_path / "locked", "a passphrase")
    expected = Path(f"{locked}.pub").read_text().rsplit(" ", 1)[0]
    Path(f"{locked}.pub").unlink()
    assert signers(tmp_path).public_key(str(locked)) == expected


def test_a_passphrase_is_asked_for_on_the_terminal(tmp_path: Path) -> None:
    locked = new_key(tmp_path / "locked", "correct horse")
    program = """\
import os, sys
from pathlib import Path
from orchestrator.adapters.identity import SiteSigners
from orchestrator.domain.identity import Statement
os.open(os.ttyname(0), os.O_RDWR)  # the first terminal that a session leader opens becomes its own
site = SiteSigners(Path("people.yml"))
statement = Statement(subject="vote", change="", digest="", decision="", reason="", signer="anna", at="")
print("valid" if site.is_valid(site.sign(statement, sys.argv[1])) else "not valid")
"""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(locked)],
        stdin=theirs,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if name not in ("DISPLAY", "SSH_AUTH_SOCK")},
    )
    os.close(theirs)
    assert b"passphrase" in os.read(ours, 200)
    os.write(ours, b"correct horse\n")
    said, _ = process.communicate(timeout=30)
    os.close(ours)
    assert said == b"valid\n"


def test_the_default_key_is_the_one_named_in_the_environment(tmp_path: Path) -> None:
    assert signers(tmp_path, ORCHESTRATOR_SSH_KEY="/keys/mine").default_key() == "/keys/mine"


def test_the_default_key_is_the_file_that_people_yml_knows(tmp_path: Path) -> None:
    new_key(tmp_path / ".ssh" / "id_ed25519")
    known = new_key(tmp_path / ".ssh" / "id_ecdsa")
    enter(tmp_path, anna=known)
    assert signers(tmp_path).default_key() == str(known)


def test_the_default_key_may_be_one_that_only_the_agent_holds(tmp_path: Path, key: Path, agent: str) -> None:
    enter(tmp_path, anna=key)
    load(agent, key)
    key.unlink()
    site = signers(tmp_path, SSH_AUTH_SOCK=agent)
    assert site.is_valid(site.sign(STATEMENT, site.default_key()))


def test_a_lone_pub_file_is_the_default_only_while_the_agent_holds_its_other_half(tmp_path: Path, agent: str) -> None:
    known = new_key(tmp_path / ".ssh" / "id_ed25519")
    enter(tmp_path, anna=known)
    load(agent, known)
    known.unlink()
    assert signers(tmp_path, SSH_AUTH_SOCK=agent).default_key() == f"{known}.pub"
    with pytest.raises(Unavailable, match=r"needs an SSH key that .*people.yml knows"):
        signers(tmp_path).default_key()


def test_keys_of_several_people_at_hand_are_not_guessed_among(tmp_path: Path) -> None:
    enter(
        tmp_path,
        anna=new_key(tmp_path / ".ssh" / "id_ed25519"),
        boris=new_key(tmp_path / ".ssh" / "id_ecdsa"),
    )
    with pytest.raises(InvalidInput, match="anna, boris"):
        signers(tmp_path).default_key()
