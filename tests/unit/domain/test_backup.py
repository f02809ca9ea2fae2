"""What a backup says of itself, and what must not go back with it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from orchestrator.domain.backup import (
    ChangeMark,
    Manifest,
    WentBack,
    counters_after,
    read_manifest,
    went_back,
)
from orchestrator.domain.canonical import canonical
from tests.fakes.strategies import any_of


def mark(change: str, version: int) -> ChangeMark:
    return ChangeMark(change=change, state="running", version=version)


@given(manifest=any_of(Manifest))
def test_manifest_comes_back_as_it_was_written(manifest: Manifest) -> None:
    raw = canonical(manifest).replace(canonical(manifest.format), b'"patch-orchestrator-backup/1"', 1)
    known = json.loads(canonical(manifest)) | {"format": "patch-orchestrator-backup/1"}
    assert json.loads(canonical(read_manifest(canonical(known)))) == known
    assert raw


@pytest.mark.parametrize("raw", [b"[]", b"{}", b"1", b"", b'{"format":"other"}'])
def test_what_is_no_manifest_is_said(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"manifest|format|Expecting"):
        read_manifest(raw)


def test_change_that_stands_earlier_or_is_gone_went_back() -> None:
    before = [mark("A", 3), mark("B", 3), mark("C", 3)]
    after = [mark("A", 3), mark("B", 2), mark("D", 1)]
    assert went_back(before, after) == (
        WentBack(change="B", was=before[1], now=after[1]),
        WentBack(change="C", was=before[2], now=None),
    )


def test_counters_go_on_above_everything_that_was_seen() -> None:
    seen = [{"token": 17, "change": 4}, {"token": 19}, {"change": 2041, "other": 3}]
    assert counters_after(seen) == {"token": 1_000_019, "change": 3000, "other": 3}
    assert counters_after([]) == {"token": 1_000_000, "change": 1000}
