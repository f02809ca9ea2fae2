"""Pinned host keys: what OpenSSH understands is understood, and writing is careful."""

from __future__ import annotations

import shutil
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.adapters.probes import HostKey, KnownHosts
from orchestrator.errors import Refused, Unavailable

KEY = HostKey("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIBwMEm/zd1KBUAKL32SAPBRSfiq2CdCQvfyfOpCzfOGQ")
OTHER = HostKey("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAINRxwNe4jgurrbEqkFKl6HrT+xLrRsZqa4DomL0zZuwJ")
RSA = HostKey("ssh-rsa", "AAAAB3NzaC1yc2EAAAADAQABAAAAQQDhZGsTYfPEuTAsVlVjy1W6mAyFqLxSK4sESun/8odE")


@pytest.fixture
def known(tmp_path: Path) -> KnownHosts:
    return KnownHosts(tmp_path / "pins" / "known_hosts")


def test_no_file_means_that_nothing_is_pinned(known: KnownHosts) -> None:
    assert list(known.pinned()) == []
    assert list(known.keys_of("web1")) == []


def test_added_keys_are_found_under_address_and_port_only(known: KnownHosts) -> None:
    known.add("Web1.example.org", [KEY, RSA])
    known.add("192.0.2.1", [OTHER], port=2222)
    assert list(known.keys_of("web1.EXAMPLE.org")) == [KEY, RSA]
    assert list(known.keys_of("192.0.2.1", 2222)) == [OTHER]
    assert list(known.keys_of("192.0.2.1")) == []
    assert "[192.0.2.1]:2222 ssh-ed25519 " in known.path.read_text()


def test_adding_again_changes_nothing(known: KnownHosts) -> None:
    known.add("web1", [KEY])
    before = known.path.read_text()
    known.add("web1", [KEY])
    assert known.path.read_text() == before


def test_adding_another_key_of_the_same_kind_is_refused(known: KnownHosts) -> None:
    known.add("web1", [KEY])
    with pytest.raises(Refused, match="somebody else may be answering"):
        known.add("web1", [OTHER])
    assert list(known.keys_of("web1")) == [KEY]


def test_replacing_leaves_the_new_keys_only(known: KnownHosts) -> None:
    known.add("web1", [KEY, RSA])
    known.add("web2", [KEY])
    known.replace("web1", [OTHER])
    assert list(known.keys_of("web1")) == [OTHER]
    assert list(known.keys_of("web2")) == [KEY]


def test_removing_tells_whether_there_was_something(known: KnownHosts) -> None:
    known.add("web1", [KEY])
    assert known.remove("web1")
    assert not known.remove("web1")
    assert list(known.keys_of("web1")) == []


def test_what_other_people_wrote_stays(known: KnownHosts) -> None:
    known.path.parent.mkdir()
    known.path.write_text(f"# ours\nweb1,web2 {KEY.kind} {KEY.base64} a comment\n\n*.lab {RSA.kind} {RSA.base64}\n")
    known.remove("web1")
    assert known.path.read_text() == (
        f"# ours\nweb2 {KEY.kind} {KEY.base64} a comment\n\n*.lab {RSA.kind} {RSA.base64}\n"
    )


def test_patterns_and_exceptions_count(known: KnownHosts) -> None:
    known.path.parent.mkdir()
    known.path.write_text(f"*.example.org,!db?.example.org,[*.example.org]:2222 {KEY.kind} {KEY.base64}\n")
    assert list(known.keys_of("web.example.org")) == [KEY]
    assert list(known.keys_of("web.example.org", 2222)) == [KEY]
    assert list(known.keys_of("db1.example.org")) == []
    assert list(known.keys_of("e.example.com")) == []


def test_a_revoked_key_is_good_for_nobody(known: KnownHosts) -> None:
    known.add("web1", [KEY, RSA])
    with known.path.open("a") as file:
        file.write(f"@revoked * {KEY.kind} {KEY.base64}\n")
    assert list(known.keys_of("web1")) == [RSA]


def test_a_certificate_authority_and_damaged_lines_are_no_pins(known: KnownHosts) -> None:
    known.path.parent.mkdir()
    known.path.write_text(f"@cert-authority * {KEY.kind} {KEY.base64}\nweb1 ssh-ed25519 AAA!\nweb1\n|1|x web1 y\n")
    assert list(known.keys_of("web1")) == []


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH's client is not installed")
def test_openssh_finds_what_was_pinned_and_we_find_what_it_hashed(known: KnownHosts) -> None:
    known.add("web1", [KEY], port=2222)
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-F", "[web1]:2222", "-f", known.path], capture_output=True, text=True, check=True
    )
    assert KEY.fingerprint in shown.stdout
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", known.path], check=True, capture_output=True)
    assert "web1" not in known.path.read_text()
    assert list(known.keys_of("web1", 2222)) == [KEY]
    assert known.remove("web1", 2222)


def test_only_the_owner_may_read_the_file(known: KnownHosts) -> None:
    known.add("web1", [KEY])
    known.path.chmod(0o644)
    known.add("web2", [KEY])
    assert stat.S_IMODE(known.path.stat().st_mode) == 0o600
    assert [entry.name for entry in known.path.parent.iterdir()] == ["known_hosts"]


def test_many_writers_at_once_lose_nothing(known: KnownHosts) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: KnownHosts(known.path).add(f"web{number}", [KEY]), range(40)))
    assert len(known.pinned()) == 40


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "known_hosts").mkdir()
    with pytest.raises(Unavailable, match="cannot be read"):
        KnownHosts(tmp_path / "known_hosts").pinned()
