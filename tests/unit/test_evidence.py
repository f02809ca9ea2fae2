"""The tree over all trails is RFC 6962's, and a checkpoint says what it must."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.audit import GENESIS
from orchestrator.domain.canonical import canonical
from orchestrator.domain.evidence import (
    Finding,
    Standing,
    Verdict,
    inclusion,
    leaf,
    leaves,
    next_checkpoint,
    prove,
    read_checkpoint,
    root,
    verify_inclusion,
)
from orchestrator.errors import EvidenceRefused, SignerUnknown

NOW = datetime(2026, 11, 20, 22, 0, tzinfo=UTC)
trees = st.lists(st.binary(max_size=8), min_size=1, max_size=40)


@dataclass(frozen=True)
class Head:
    chain: str
    count: int
    head: str


HEADS = (Head("site", 9, "ab" * 32), Head("CHG-0002", 4, "cd" * 32), Head("CHG-0001", 7, "ef" * 32))


def naive_root(nodes: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if not nodes:
        return hashlib.sha256(b"").digest()
    if len(nodes) == 1:
        return hashlib.sha256(b"\x00" + nodes[0]).digest()
    k = split(len(nodes))
    return hashlib.sha256(b"\x01" + naive_root(nodes[:k]) + naive_root(nodes[k:])).digest()


def naive_path(index: int, nodes: list[bytes]) -> list[str]:
    """RFC 6962, section 2.1.1, word for word."""
    if len(nodes) == 1:
        return []
    k = split(len(nodes))
    if index < k:
        return [*naive_path(index, nodes[:k]), naive_root(nodes[k:]).hex()]
    return [*naive_path(index - k, nodes[k:]), naive_root(nodes[:k]).hex()]


def split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def test_root_of_nothing_is_the_hash_of_nothing() -> None:
    assert root([]) == hashlib.sha256(b"").hexdigest()


def test_root_is_the_one_published_for_certificate_transparency() -> None:
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    published = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    assert root([bytes.fromhex(text) for text in inputs]) == published


@given(trees)
def test_root_is_that_of_the_definition(tree: list[bytes]) -> None:
    assert root(tree) == naive_root(tree).hex()


@given(trees, st.data())
def test_path_is_that_of_the_definition_and_leads_to_the_root(tree: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(tree) - 1))
    path = inclusion(tree, index)
    assert list(path) == naive_path(index, tree)
    assert verify_inclusion(tree[index], index, len(tree), path, root(tree))


@given(trees, st.data())
def test_path_proves_no_other_leaf_and_no_other_place(tree: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(tree) - 1))
    other = data.draw(st.integers(-2, len(tree) + 1).filter(lambda at: at != index))
    path = inclusion(tree, index)
    assert not verify_inclusion(tree[index] + b"!", index, len(tree), path, root(tree))
    at_other = verify_inclusion(tree[index], other, len(tree), path, root(tree))
    assert not at_other or (0 <= other < len(tree) and tree[other] == tree[index])


@given(trees, st.data())
def test_path_that_is_shortened_lengthened_or_changed_proves_nothing(tree: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(tree) - 1))
    path, top = inclusion(tree, index), root(tree)
    assert not verify_inclusion(tree[index], index, len(tree), (*path, "00" * 32), top)
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        assert not verify_inclusion(tree[index], index, len(tree), path[:at] + path[at + 1 :], top)
        for wrong in ("00" * 32, "zz", ""):
            assert not verify_inclusion(tree[index], index, len(tree), (*path[:at], wrong, *path[at + 1 :]), top)


def test_leaf_outside_the_tree_has_no_path() -> None:
    with pytest.raises(IndexError):
        inclusion([b"a"], 1)


def test_leaves_are_sorted_by_chain_name() -> None:
    assert [each[:20] for each in leaves(HEADS)] == [
        b'{"chain":"CHG-0001",',
        b'{"chain":"CHG-0002",',
        b'{"chain":"site","cou',
    ]


def test_chain_with_two_heads_is_no_tree() -> None:
    with pytest.raises(ValueError, match="'site' has two heads"):
        leaves([*HEADS, HEADS[0]])


def test_first_checkpoint_begins_the_series() -> None:
    first = next_checkpoint(HEADS, at=NOW, previous=None)
    assert (first.seq, first.prev, first.size, first.root) == (1, GENESIS, 3, root(leaves(HEADS)))


def test_checkpoint_names_the_one_before_it() -> None:
    first = canonical(next_checkpoint(HEADS, at=NOW, previous=None))
    second = next_checkpoint(HEADS, at=NOW, previous=first)
    assert (second.seq, second.prev) == (2, hashlib.sha256(first).hexdigest())


def test_checkpoint_is_read_as_it_was_written() -> None:
    checkpoint = next_checkpoint(HEADS, at=NOW, previous=None)
    assert read_checkpoint(canonical(checkpoint)) == checkpoint


@pytest.mark.parametrize("document", [b"[]", b"{}", b"x", b'{"at": "2026-11-20T22:00:00Z"}', b"[" * 5000])
def test_what_is_no_checkpoint_is_not_read(document: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the text differs with what is wrong
        read_checkpoint(document)


def test_proof_leads_from_the_chain_to_the_checkpoint() -> None:
    checkpoint = next_checkpoint(HEADS, at=NOW, previous=None)
    proof = prove("CHG-0002", HEADS, canonical(checkpoint), b"{}")
    found = leaf(proof.chain, proof.count, proof.head)
    assert (proof.index, proof.count, proof.head) == (1, 4, "cd" * 32)
    assert verify_inclusion(found, proof.index, checkpoint.size, proof.path, checkpoint.root)


def test_nothing_is_proved_about_a_chain_that_is_not_there() -> None:
    document = canonical(next_checkpoint(HEADS, at=NOW, previous=None))
    with pytest.raises(ValueError, match="'CHG-0009' is not in the checkpoint"):
        prove("CHG-0009", HEADS, document, b"{}")


def test_nothing_is_proved_with_heads_of_another_moment() -> None:
    document = canonical(next_checkpoint(HEADS[:2], at=NOW, previous=None))
    with pytest.raises(ValueError, match="not the ones"):
        prove("site", HEADS, document, b"{}")


def test_what_is_refused_is_refused_whoever_signed_it() -> None:
    verdict = Verdict(subject="x", unknown_signer="no key", findings=(Finding(check="trail", message="cut"),))
    assert verdict.standing is Standing.REFUSED
    with pytest.raises(EvidenceRefused, match="trail: cut"):
        verdict.require()


def test_intact_evidence_without_a_pinned_signer_is_not_verified() -> None:
    with pytest.raises(SignerUnknown, match="signer unknown: no key was named"):
        Verdict(subject="x", unknown_signer="no key was named").require()
