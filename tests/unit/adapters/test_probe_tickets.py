"""Kerberos tickets are asked for once for each account; a program of the test's own stands for kinit."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.adapters.probes.accounts import Refused
from orchestrator.adapters.probes.stages import Deadline, StageFailed
from orchestrator.adapters.probes.tickets import Tickets
from orchestrator.domain.inventory import Secret
from orchestrator.domain.probe import Stage

USER = "patch@EXAMPLE.ORG"


@pytest.fixture
def kinit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a kinit that takes one password and notes how it was called."""
    monkeypatch.setenv("KRB5CCNAME", "FILE:/as/it/was")
    program = tmp_path / "kinit"
    program.write_text(
        "#!/bin/sh\nread -r password\n"
        f'echo "$* $KRB5CCNAME" >>{tmp_path}/called\n'
        'case "$password" in\n'
        "good) exit 0 ;;\n"
        "slow) exec sleep 5 ;;\n"
        'lost) echo "kinit: Cannot contact any KDC for realm" >&2; exit 1 ;;\n'
        '*) echo "kinit: Password incorrect while getting initial credentials" >&2; exit 1 ;;\n'
        "esac\n"
    )
    program.chmod(0o755)
    return program


def get(tickets: Tickets, password: str, *, seconds: float = 3.0, forwardable: bool = False) -> None:
    tickets.get(USER, Secret(password), Deadline(seconds), forwardable=forwardable)


def test_ticket_is_asked_for_once_and_lies_in_a_collection_of_our_own(kinit: Path) -> None:
    tickets = Tickets(str(kinit))
    get(tickets, "good", forwardable=True)
    get(tickets, "good")
    (called,) = (kinit.parent / "called").read_text().splitlines()
    assert called.startswith(f"-f {USER} DIR:")
    assert "/as/it/was" not in called


def test_wrong_password_is_a_refusal_and_is_not_told(kinit: Path) -> None:
    with pytest.raises(Refused) as refused:
        get(Tickets(str(kinit)), "wrong horse")
    assert "Password incorrect" in refused.value.detail
    assert "wrong horse" not in refused.value.detail


@pytest.mark.parametrize(("password", "told"), [("lost", "Cannot contact any KDC"), ("slow", "within 0.5 s")])
def test_realm_that_cannot_be_asked_is_no_refusal(kinit: Path, password: str, told: str) -> None:
    with pytest.raises(StageFailed, match=told) as failed:
        get(Tickets(str(kinit)), password, seconds=0.5)
    assert (type(failed.value), failed.value.stage) == (StageFailed, Stage.AUTHENTICATE)


def test_missing_kinit_is_told_with_its_package(kinit: Path) -> None:
    with pytest.raises(StageFailed, match="krb5-user"):
        get(Tickets(str(kinit.with_name("none"))), "good")
