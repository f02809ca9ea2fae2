"""Who calls: what the kernel says counts, what the environment says counts only for root."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from orchestrator.adapters.identity import calling_account

#: Two accounts that every Linux has, besides root.
ANNA, BORIS = pwd.getpwnam("daemon"), pwd.getpwnam("bin")
UNSET = 2**32 - 1


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "self").mkdir()
    return tmp_path


def logged_in(proc: Path, uid: int) -> None:
    (proc / "self" / "loginuid").write_text(str(uid))


def test_a_plain_call_is_attributed_to_the_user(proc: Path) -> None:
    logged_in(proc, UNSET)
    assert calling_account({}, proc=proc, uid=ANNA.pw_uid, effective_uid=ANNA.pw_uid).account == ANNA.pw_name


def test_through_sudo_the_account_before_it_counts(proc: Path) -> None:
    assert calling_account({"SUDO_USER": ANNA.pw_name}, proc=proc, uid=0, effective_uid=0).account == ANNA.pw_name
    assert calling_account({"DOAS_USER": ANNA.pw_name}, proc=proc, uid=0, effective_uid=0).account == ANNA.pw_name


def test_who_is_not_root_cannot_claim_to_be_another(proc: Path) -> None:
    claimed = {"SUDO_USER": ANNA.pw_name, "DOAS_USER": ANNA.pw_name, "USER": ANNA.pw_name, "LOGNAME": ANNA.pw_name}
    called = calling_account(claimed, proc=proc, uid=BORIS.pw_uid, effective_uid=BORIS.pw_uid)
    assert called.account == BORIS.pw_name


def test_the_login_counts_more_than_the_environment_and_survives_su(proc: Path) -> None:
    logged_in(proc, ANNA.pw_uid)
    assert calling_account({"SUDO_USER": BORIS.pw_name}, proc=proc, uid=0, effective_uid=0).account == ANNA.pw_name
    assert calling_account({}, proc=proc, uid=BORIS.pw_uid, effective_uid=BORIS.pw_uid).account == ANNA.pw_name


def test_an_account_that_does_not_exist_is_not_believed(proc: Path) -> None:
    assert calling_account({"SUDO_USER": "no such account"}, proc=proc, uid=0, effective_uid=0).account == "root"


def test_an_unknown_user_id_is_given_as_a_number(proc: Path) -> None:
    assert calling_account({}, proc=proc, uid=4242424, effective_uid=4242424).account == "4242424"


def test_the_address_is_that_of_the_ssh_connection(proc: Path) -> None:
    assert calling_account({"SSH_CONNECTION": "192.0.2.7 5022 192.0.2.1 22"}, proc=proc).address == "192.0.2.7"
    assert calling_account({}, proc=proc).address == ""


def test_the_address_that_sudo_dropped_is_found_with_its_callers(proc: Path) -> None:
    (proc / "self" / "stat").write_text("30 (orchestrator) S 20 30 20")
    for pid, parent, environ in ((20, 10, b"A=1\0"), (10, 1, b"HOME=/\0SSH_CONNECTION=192.0.2.7 5 192.0.2.1 22\0")):
        (proc / str(pid)).mkdir()
        (proc / str(pid) / "stat").write_text(f"{pid} (a ) name) S {parent} 1 1")
        (proc / str(pid) / "environ").write_bytes(environ)
    assert calling_account({}, proc=proc).address == "192.0.2.7"


def test_this_very_process_has_an_account() -> None:
    assert calling_account({}).account in {entry.pw_name for entry in pwd.getpwall()} | {str(os.getuid())}
