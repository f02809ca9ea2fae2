"""Who acts: the person whose key signs, or the person whose account calls; never somebody named by a flag."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.canonical import digest, rfc3339
from orchestrator.domain.identity import Action, Actor, People, Person, SignedStatement, Statement, require
from orchestrator.errors import NotPermitted
from orchestrator.ports import Clock, Signers


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who called: operating-system account and address, and the SSH key to sign with ("" where none is needed)."""

    account: str
    address: str = ""
    key_file: str = ""


@dataclass(frozen=True, slots=True)
class Signature:
    """A person, the actor for the trail, and what was signed."""

    person: Person
    actor: Actor
    signed: SignedStatement


def permitted(people: People, caller: Caller, action: Action) -> Actor:
    """Return the actor for a command that needs no signature. Raises NotPermitted."""
    person = people.with_account(caller.account)
    if person is None:
        raise NotPermitted(
            f"the account {caller.account!r} is nobody in people.yml: it may look, and not act. "
            "Somebody who keeps people.yml has to give a person this account."
        )
    require(person, action)
    return Actor(name=person.name, account=caller.account, address=caller.address)


def signer(people: People, signers: Signers, caller: Caller, action: Action) -> Person:
    """Return the person to whom the caller's key belongs. Raises NotPermitted where it is nobody's."""
    key = signers.public_key(caller.key_file)
    person = people.with_key(key)
    if person is None:
        raise NotPermitted(
            f"the key {caller.key_file} belongs to nobody in people.yml. Sign with your own: --key FILE, "
            "or have your public key entered there."
        )
    require(person, action)
    return person


def person_key(person: Person) -> str:
    """Return the name under which a person is kept as evidence: as they were known when they acted."""
    return f"{person.name}.{digest(person)[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """What is to be signed, before somebody has put name and time to it."""

    subject: str
    change: str
    digest: str
    decision: str
    reason: str


@dataclass(frozen=True, slots=True)
class Desk:
    """Where statements are signed."""

    signers: Signers
    clock: Clock

    def sign(self, person: Person, caller: Caller, wording: Wording) -> Signature:
        """Have the person sign one decision, and check the signature at once. Raises NotPermitted."""
        statement = Statement(
            subject=wording.subject,
            change=wording.change,
            digest=wording.digest,
            decision=wording.decision,
            reason=wording.reason,
            signer=person.name,
            at=rfc3339(self.clock.now()),
        )
        signed = self.signers.sign(statement, caller.key_file)
        if not self.signers.is_valid(signed) or signed.key.split()[:2] not in [k.split()[:2] for k in person.keys]:
            raise NotPermitted(f"the signature made with {caller.key_file} is not good for {person.name}.")
        actor = Actor(name=person.name, account=caller.account, address=caller.address)
        return Signature(person=person, actor=actor, signed=signed)
