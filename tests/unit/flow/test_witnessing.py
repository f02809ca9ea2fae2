"""The audit chains are signed every hour, by whoever looks first."""

from __future__ import annotations

import hashlib
import json
import logging
from datetime import timedelta

import pytest

from orchestrator.domain.canonical import canonical
from orchestrator.errors import Unavailable
from orchestrator.flow import evidencing
from orchestrator.flow.witnessing import EVERY, PAUSE, Witness
from orchestrator.ports import Notary
from tests.fakes.outside import FakeNotary
from tests.fakes.site import FakeSite

MINUTE = timedelta(minutes=1)


@pytest.fixture
def notary() -> FakeNotary:
    return FakeNotary()


def looks(witness: Witness, site: FakeSite, minutes: int) -> list[int]:
    """Look every minute; return the minutes in which something was signed."""
    signed = []
    for minute in range(minutes):
        if witness.look():
            signed.append(minute)
        site.clock.at += MINUTE
    return signed


def test_chains_are_signed_at_once_and_every_hour(site: FakeSite, notary: FakeNotary) -> None:
    assert looks(Witness(site.ledger, lambda: notary), site, 150) == [0, 60, 120]
    assert [json.loads(line)["checkpoint"]["seq"] for line in notary.published] == [1, 2, 3]


def test_checkpoint_that_somebody_else_made_counts(site: FakeSite, notary: FakeNotary) -> None:
    witness, other = (Witness(site.ledger, lambda: notary) for _ in range(2))
    assert witness.look()
    assert not other.look()
    site.clock.at += 30 * MINUTE
    evidencing.sign_heads(site.ledger, notary)
    assert looks(witness, site, 90) == [60]


def test_two_that_sign_at_the_same_moment_make_one_after_the_other(site: FakeSite, notary: FakeNotary) -> None:
    class Slow(FakeNotary):
        def sign(self, document: bytes) -> bytes:
            """Sign, while somebody else is quicker."""
            if not notary.published:
                evidencing.sign_heads(site.ledger, notary)
            return super().sign(document)

    slow = Slow()
    assert Witness(site.ledger, lambda: slow).look()
    (first,), (second,) = ([json.loads(line)["checkpoint"] for line in one.published] for one in (notary, slow))
    assert (first["seq"], second["seq"]) == (1, 2)
    assert second["prev"] == hashlib.sha256(canonical(first)).hexdigest()


def test_what_stands_in_the_way_is_said_once_an_hour(site: FakeSite, caplog: pytest.LogCaptureFixture) -> None:
    def without_key() -> Notary:
        raise Unavailable("there is no signing key here")

    with caplog.at_level(logging.WARNING, logger="orchestrator"):
        assert looks(Witness(site.ledger, without_key), site, 120) == []
    assert [record.message.rpartition(": ")[2] for record in caplog.records] == ["there is no signing key here"] * 2
    assert site.store.last_checkpoint() is None


def test_nobody_asks_the_database_at_every_look(site: FakeSite, notary: FakeNotary) -> None:
    witness = Witness(site.ledger, lambda: notary)
    assert witness.look()
    site.clock.at += EVERY - PAUSE / 2
    assert not witness.look()
    site.clock.at += PAUSE / 2
    assert not witness.look(), "it looks again a minute after the last time"
    site.clock.at += PAUSE / 2
    assert witness.look()
