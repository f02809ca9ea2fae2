"""Who may do what."""

from __future__ import annotations

import pytest

from orchestrator.domain.identity import PERMISSIONS, Action, Actor, People, Person, require
from orchestrator.errors import NotPermitted

ROLES = sorted({role for roles in PERMISSIONS.values() for role in roles} | {"viewer", "cab"})


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("action", list(Action))
def test_role_may_do_what_the_table_says_and_nothing_else(role: str, action: Action) -> None:
    person = Person(name="ben", roles=frozenset({role}))
    if role in PERMISSIONS[action]:
        require(person, action)
    else:
        with pytest.raises(NotPermitted, match=f"ben may not {action}"):
            require(person, action)


def test_neither_admin_nor_operator_votes_by_office() -> None:
    assert PERMISSIONS[Action.VOTE] == PERMISSIONS[Action.WAIVE] == {"approver"}


def test_people_are_found_by_name_account_and_key_whatever_its_comment() -> None:
    ben = Person(name="ben", account="b.e.n", keys=("ssh-ed25519 AAAA ben@laptop",))
    people = People(everyone=(Person(name="anna", account="anna"), ben))
    assert people.named("ben") is people.with_account("b.e.n") is people.with_key("ssh-ed25519 AAAA other") is ben
    assert people.with_key("ssh-ed25519 BBBB ben@laptop") is None
    assert people.with_account("nobody") is None
    with pytest.raises(NotPermitted, match="anna, ben"):
        people.named("cleo")


def test_origin_names_account_and_address() -> None:
    assert Actor(name="ben", account="ben", address="10.0.0.9").origin == "ben@10.0.0.9"
    assert Actor(name="ben", account="ben").origin == "ben"
