"""Packages are kept by what is in them, and a file that is not what its name says counts as missing."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from orchestrator.adapters.ansible.packages import PackageStore
from orchestrator.errors import InvalidInput, Refused


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


A, B = sha256(b"a package"), sha256(b"another")


@pytest.fixture
def store(tmp_path: Path) -> PackageStore:
    return PackageStore(state=tmp_path / "state")


def fetched(tmp_path: Path, content: bytes, name: str = "openssl_3.0.20_amd64.deb") -> Path:
    file = tmp_path / name
    file.write_bytes(content)
    return file


def test_adopted_package_is_kept_under_its_digest(store: PackageStore, tmp_path: Path) -> None:
    file = fetched(tmp_path, b"a package", A)
    assert store.adopt(file) == A
    assert (store.folder / A).read_bytes() == b"a package"
    assert not file.exists()
    assert store.missing([A, B]) == [B]


def test_adopting_again_is_harmless(store: PackageStore, tmp_path: Path) -> None:
    store.adopt(fetched(tmp_path, b"a package"))
    again = fetched(tmp_path, b"a package")
    assert store.adopt(again) == A
    assert not again.exists()
    assert store.missing([A]) == []


def test_package_that_is_not_what_its_name_says_is_refused(store: PackageStore, tmp_path: Path) -> None:
    file = fetched(tmp_path, b"something else", A)
    with pytest.raises(Refused, match="not the package that was announced"):
        store.adopt(file)
    assert file.exists()
    assert store.missing([A]) == [A]


def test_package_that_is_not_what_was_announced_is_refused(store: PackageStore, tmp_path: Path) -> None:
    with pytest.raises(Refused):
        store.adopt(fetched(tmp_path, b"something else"), A)


def test_package_that_was_damaged_later_is_missing_and_can_be_adopted_again(
    store: PackageStore, tmp_path: Path
) -> None:
    store.adopt(fetched(tmp_path, b"a package"))
    assert store.missing([A]) == []
    (store.folder / A).chmod(0o644)
    (store.folder / A).write_bytes(b"b package")
    assert store.missing([A]) == [A]
    store.adopt(fetched(tmp_path, b"a package"))
    assert store.missing([A]) == []


def test_package_is_read_once_as_long_as_it_looks_the_same(
    store: PackageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.adopt(fetched(tmp_path, b"a package"))
    assert store.missing([A]) == []
    monkeypatch.setattr(
        "orchestrator.adapters.ansible.packages._digest", lambda file: pytest.fail(f"read {file} again")
    )
    assert PackageStore(state=store.state).missing([A]) == []


def test_what_is_not_a_digest_is_no_path(store: PackageStore) -> None:
    with pytest.raises(InvalidInput, match="no sha256"):
        store.missing(["../../etc/passwd"])


def test_nothing_is_kept_at_first(store: PackageStore) -> None:
    assert store.missing([A]) == [A]
    assert store.unreferenced([]) == []


def test_what_nothing_refers_to_can_be_removed(store: PackageStore, tmp_path: Path) -> None:
    store.adopt(fetched(tmp_path, b"a package"))
    store.adopt(fetched(tmp_path, b"another"))
    assert store.unreferenced([A]) == [B]
    assert store.remove([B, "../state"]) == len(b"another")
    assert store.missing([A, B]) == [B]
