"""Where signed checkpoints go, so that whoever owns the controller cannot rewrite the past unseen."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.domain.backup import SignedCheckpoint
from orchestrator.domain.canonical import canonical
from orchestrator.domain.evidence import read_checkpoint
from orchestrator.errors import Unavailable

#: authpriv.notice (RFC 5424, section 6.2.1)
_PRIORITY = 10 * 8 + 5


class Outside(Protocol):
    """A place that is not ours to change afterwards."""

    def send(self, line: bytes) -> None:
        """Send one signed checkpoint, a line without its newline. Raises Unavailable."""


@dataclass(frozen=True, slots=True)
class AppendedFile:
    """A file to which lines are only added: on a share that keeps what was written, or collected from here."""

    path: Path

    def send(self, line: bytes) -> None:
        """Add the line, and see it on disk."""
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                # One write for the whole line: two processes that append at once do not mix theirs.
                os.write(descriptor, line + b"\n")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise Unavailable(f"the checkpoint could not be added to {self.path}: {error.strerror}.") from error

    def newest(self) -> SignedCheckpoint | None:
        """Return the newest checkpoint in the file, if there is one; lines of something else are passed over."""
        newest = None
        with suppress(OSError):
            for line in self.path.read_bytes().splitlines():
                with suppress(ValueError, KeyError, TypeError):
                    said = json.loads(line)
                    found = SignedCheckpoint(
                        seq=read_checkpoint(canonical(said["checkpoint"])).seq,
                        document=canonical(said["checkpoint"]),
                        signature=canonical(said["signature"]),
                    )
                    newest = found if newest is None or found.seq > newest.seq else newest
        return newest


@dataclass(frozen=True, slots=True)
class Syslog:
    """A syslog receiver: a local socket such as ``/dev/log``, or host and port (UDP)."""

    address: str | tuple[str, int] = "/dev/log"

    def send(self, line: bytes) -> None:
        """Send the line as one message, ``patch-orchestrator: {…}``."""
        local = isinstance(self.address, str)
        try:
            with socket.socket(socket.AF_UNIX if local else socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.connect(self.address)
                sender.send(b"<%d>patch-orchestrator: " % _PRIORITY + line)
        except OSError as error:
            raise Unavailable(f"the checkpoint could not be sent to syslog at {self.address}: {error}.") from error
