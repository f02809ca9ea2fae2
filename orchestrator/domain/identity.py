"""The people of a site, what each role may do, and what exactly a person signs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.errors import NotPermitted


class Action(StrEnum):
    """What a command wants to do, as the permission table knows it."""

    SUBMIT = "submit"
    STAGE = "stage"
    VOTE = "vote"
    WAIVE = "waive"
    OPERATE = "operate"
    TRUST = "trust"
    EXPORT = "export"


#: Who may do what. Roles beside these (cab, ecab, service-owner, …) only name seats from which votes are given.
PERMISSIONS: dict[Action, frozenset[str]] = {
    Action.SUBMIT: frozenset({"engineer", "operator", "admin"}),
    Action.STAGE: frozenset({"engineer", "operator", "admin"}),
    Action.VOTE: frozenset({"approver"}),
    Action.WAIVE: frozenset({"approver"}),
    Action.OPERATE: frozenset({"operator", "admin"}),
    Action.TRUST: frozenset({"operator", "admin"}),
    Action.EXPORT: frozenset({"auditor", "operator", "approver", "admin"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody in ``people.yml``.

    ``keys`` are OpenSSH public keys, ``acts_for`` the people for whom this one may stand in (and whose requests this
    one therefore may not approve), ``emails`` the addresses under which content is committed.
    """

    name: str
    full_name: str = ""
    roles: frozenset[str] = frozenset()
    account: str = ""
    keys: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    acts_for: frozenset[str] = frozenset()

    def may(self, action: Action) -> bool:
        """Tell whether one of the person's roles allows the action."""
        return bool(self.roles & PERMISSIONS[action])


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who acts, and from where: ``account`` is the operating-system account (through sudo: the one before it)."""

    name: str
    account: str = ""
    address: str = ""

    @property
    def origin(self) -> str:
        """Return account and address as the audit trail names them."""
        return f"{self.account}@{self.address}" if self.address else self.account


#: The orchestrator itself, where no person gave the word.
ORCHESTRATOR = Actor(name="orchestrator", account="orchestrator")


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Everybody the site knows."""

    everyone: tuple[Person, ...] = ()

    def named(self, name: str) -> Person:
        """Return the person called so. Raises NotPermitted."""
        for person in self.everyone:
            if person.name == name:
                return person
        raise NotPermitted(f"{name!r} is nobody in people.yml; there are: {_names(self.everyone)}.")

    def with_account(self, account: str) -> Person | None:
        """Return the person who works under this operating-system account, if there is one."""
        return next((person for person in self.everyone if person.account == account), None)

    def with_key(self, key: str) -> Person | None:
        """Return the person to whom this OpenSSH public key belongs, whatever comment it carries."""
        wanted = key.split()[:2]
        return next((p for p in self.everyone if any(k.split()[:2] == wanted for k in p.keys)), None)


def require(person: Person, action: Action) -> None:
    """Raise NotPermitted unless one of the person's roles allows the action."""
    if not person.may(action):
        allowed = ", ".join(sorted(PERMISSIONS[action]))
        raise NotPermitted(
            f"{person.name} may not {action}: that takes one of the roles {allowed}, and people.yml gives "
            f"{', '.join(sorted(person.roles)) or 'none'}."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a person signs with the SSH key: one decision about one change and one digest, with reason and time.

    ``subject`` is ``request`` (digest of the request), ``vote`` (digest of the plan) or ``waiver`` (its subject's).
    """

    subject: str
    change: str
    digest: str
    decision: str
    reason: str
    signer: str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedStatement:
    """A statement with its armored SSH signature (``ssh-keygen -Y sign``) and the public key that made it."""

    statement: Statement
    signature: str
    key: str


def _names(people: Iterable[Person]) -> str:
    return ", ".join(sorted(person.name for person in people)) or "nobody"
