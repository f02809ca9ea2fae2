"""References to secrets, followed only at the moment a secret is needed."""

from __future__ import annotations

import os
import stat
import subprocess
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from orchestrator.domain.inventory import Secret
from orchestrator.errors import Unavailable
from orchestrator.settings.prompting import answer

#: Seconds that a command may take to tell a secret.
PATIENCE = 30

_LONGEST_SECRET = 64 * 1024


class ReferenceKind(StrEnum):
    """Where a secret is kept."""

    ENV = "env"
    FILE = "file"
    COMMAND = "command"
    PROMPT = "prompt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Where a secret is found: the name of a variable, a path, a command's words, or what a person is asked."""

    kind: ReferenceKind
    target: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind} {' '.join(self.target)}"


def resolve(reference: Reference) -> Secret:
    """Return the secret that a reference leads to. Raises Unavailable."""
    if reference.kind is ReferenceKind.ENV:
        return _from_environment(reference.target[0])
    if reference.kind is ReferenceKind.FILE:
        return _from_file(Path(reference.target[0]))
    if reference.kind is ReferenceKind.PROMPT:
        return answer(reference.target[0])
    return _from_command(reference.target)


def _from_environment(name: str) -> Secret:
    if not (text := os.environ.get(name, "")):
        raise Unavailable(f"the secret is kept in the environment variable {name}, which is not set here.")
    return Secret(text)


def _from_file(file: Path) -> Secret:
    try:
        with file.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise Unavailable(f"the secret is kept in {file}, which is not a file.")
            if mode & (stat.S_IROTH | stat.S_IWOTH):
                raise Unavailable(f"the secret is kept in {file}, which everybody may read or write: chmod 600 {file}")
            text = stream.read(_LONGEST_SECRET + 1).decode()
    except (OSError, ValueError) as error:
        raise Unavailable(f"the secret is kept in {file}, which cannot be read: {error}") from error
    return _secret(text, f"the file {file}")


def _from_command(words: tuple[str, ...]) -> Secret:
    told = f"the command {words[0]}"
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        # Its output may hold part of the secret, so the exception is not passed on.
        raise Unavailable(f"the secret is told by {told}, which did not answer within {PATIENCE} s.") from None
    except (OSError, ValueError) as error:
        raise Unavailable(f"the secret is told by {told}, which cannot be run: {error}") from error
    if done.returncode != 0:
        raise Unavailable(
            f"the secret is told by {told}, which ended with {done.returncode}. Run it by hand to see why."
        )
    try:
        return _secret(done.stdout.decode(), told)
    except UnicodeDecodeError:
        raise Unavailable(f"the secret is told by {told}, whose output is no UTF-8 text.") from None


def _secret(text: str, origin: str) -> Secret:
    text = text.removesuffix("\n").removesuffix("\r")
    if not text or len(text) > _LONGEST_SECRET:
        raise Unavailable(f"the secret comes from {origin}, which is empty or far too long.")
    return Secret(text)
