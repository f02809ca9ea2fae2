"""people.yml: what it says, and what is said about its mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.adapters.identity import read_people
from orchestrator.domain.identity import Person
from orchestrator.errors import InvalidInput, Unavailable

ANNA_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBwMEm/zd1KBUAKL32SAPBRSfiq2CdCQvfyfOpCzfOGQ anna@desk"

GOOD = f"""\
people:
  - name: anna
    full_name: Anna Berg
    roles: [engineer, approver]
    account: anna
    keys:
      - {ANNA_KEY}
    emails: [anna@example.org]
    acts_for: [boris]
  - name: boris
    roles: [admin]
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "people.yml"
    file.write_text(text)
    return file


def mistakes_in(folder: Path, text: str) -> list[tuple[int, int, str]]:
    with pytest.raises(InvalidInput) as caught:
        read_people(write(folder, text))
    return [(mistake.line, mistake.column, mistake.message) for mistake in caught.value.mistakes]


def test_every_field_reaches_the_person(tmp_path: Path) -> None:
    people = read_people(write(tmp_path, GOOD))
    assert people.named("anna") == Person(
        name="anna",
        full_name="Anna Berg",
        roles=frozenset({"engineer", "approver"}),
        account="anna",
        keys=(ANNA_KEY,),
        emails=("anna@example.org",),
        acts_for=frozenset({"boris"}),
    )
    assert people.with_key(ANNA_KEY.rsplit(" ", 1)[0] + " another comment") == people.named("anna")


def test_a_bare_list_is_read_as_well(tmp_path: Path) -> None:
    assert read_people(write(tmp_path, "- {name: anna, roles: [auditor]}\n")).named("anna").roles == {"auditor"}


def test_every_mistake_is_told_at_once_with_its_place(tmp_path: Path) -> None:
    found = mistakes_in(
        tmp_path,
        """\
people:
  - name: anna
    role: [engineer]
    keys: [nonsense]
  - name: anna
    roles: [admin]
    acts_for: [nobody-here]
""",
    )
    assert [(line, column) for line, column, _ in found] == [(2, 5), (3, 5), (4, 12), (5, 11), (7, 16)]
    told = "\n".join(message for _, _, message in found)
    for expected in (
        "anna has no roles",
        "unknown field 'role'; roles was meant?",
        "not an OpenSSH public key",
        "name anna stands in line 2 already",
        "acts_for names 'nobody-here'",
    ):
        assert expected in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the file names nobody"),
        ("people: []", "a list of people"),
        ("people: anna", "a list of people"),
        ("- anna", "a person is a mapping"),
        ("- {roles: [admin]}", "this person has no name"),
        ("- {name: anna, roles: []}", "anna has no roles"),
        ("- {name: 'anna, *', roles: [admin]}", "a name is made of"),
        ("- {name: no, roles: [admin]}", "name should be text"),
        ("- {name: anna, roles: admin}", "roles is a list"),
        ("- {name: anna, roles: [admin], account: 1001}", "account should be text"),
        ("- {name: anna, name: boris, roles: [admin]}", "name stands here a second time"),
        (
            "- {name: a, roles: [x], account: w}\n- {name: b, roles: [x], account: w}",
            "account w stands in line 1 already",
        ),
        (f"- {{name: a, roles: [x], keys: ['{ANNA_KEY}', '{ANNA_KEY} again']}}", "stands in line 1 already"),
        ("- {name: a, roles: [x], keys: ['ssh-ed25519 AAAA']}", "damaged"),
        (f"- {{name: a, roles: [x], keys: ['{ANNA_KEY.replace('ssh-ed25519', 'ssh-rsa')}']}}", "of another kind"),
        ("- {name: a, roles: [x], keys: ['-----BEGIN OPENSSH PRIVATE KEY-----']}", "private key: take it out"),
        ("people: [", "expected"),
    ],
)
def test_a_mistake_is_told_in_words(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=r"people\.yml") as caught:
        read_people(write(tmp_path, text))
    assert told in str(caught.value)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be read: No such file or directory"):
        read_people(tmp_path / "people.yml")
