"""Signed checkpoints leave the house, to every place that was named."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.adapters.evidence.bundle import Notary
from orchestrator.adapters.evidence.keys import PUBLIC, make
from orchestrator.adapters.evidence.outside import AppendedFile, Syslog
from orchestrator.adapters.evidence.trust import read_pins
from orchestrator.domain.canonical import canonical
from orchestrator.domain.evidence import checkpoint_line, next_checkpoint
from orchestrator.errors import Unavailable

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)


def test_published_checkpoints_are_what_an_auditor_reads(tmp_path: Path) -> None:
    notary = Notary(key=make(tmp_path, at=NOW), outside=[AppendedFile(tmp_path / "checkpoints.jsonl")])
    first = canonical(next_checkpoint([], at=NOW, previous=None))
    second = canonical(next_checkpoint([], at=NOW, previous=first))
    for document in (first, second):
        notary.publish(checkpoint_line(document, notary.sign(document)))
    pins = read_pins([tmp_path / PUBLIC], checkpoints=tmp_path / "checkpoints.jsonl")
    assert pins.checkpoints == {1: first, 2: second}


def test_syslog_gets_the_line(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "log"))
        Syslog(str(tmp_path / "log")).send(b"{}")
        assert receiver.recv(1000) == b"<85>patch-orchestrator: {}"


def test_one_place_that_fails_does_not_keep_the_line_from_the_others(tmp_path: Path) -> None:
    good, bad = AppendedFile(tmp_path / "good"), AppendedFile(tmp_path / "nowhere" / "bad")
    with pytest.raises(Unavailable, match="nowhere"):
        Notary(key=make(tmp_path, at=NOW), outside=[bad, Syslog(str(tmp_path / "log")), good]).publish(b"{}")
    assert (tmp_path / "good").read_bytes() == b"{}\n"
