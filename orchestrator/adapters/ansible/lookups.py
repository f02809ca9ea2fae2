"""Passwords that the inventory keeps elsewhere: Ansible's own lookups of a file and of an environment variable.

Ansible follows them in each run, and so does the rollback kit without us; a direct probe and the masking follow them
here. Only these two, and only as the whole value: what else Jinja can do, only a running play could work out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from orchestrator.domain.inventory import KeptSecret, Secret
from orchestrator.errors import InvalidInput, Unavailable

_LARGEST = 64 * 1024
_LOOKUP = re.compile(
    r"""{{\s*lookup\(\s*(?P<q>["'])(?:ansible\.builtin\.)?(?P<kind>env|file)(?P=q)\s*,"""
    r"""\s*(?P<p>["'])(?P<target>[^"'{}]+)(?P=p)\s*\)\s*}}"""
)


class LookupKind(StrEnum):
    """Ansible's lookup plugins that are followed here."""

    ENV = "env"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Lookup:
    """Where a password is kept: the name of a variable, or a path on the controller."""

    kind: LookupKind
    target: str


#: Where the value of an environment variable comes from. Raises Unavailable.
Variables = Callable[[str], Secret]


def lookup_in(text: str) -> Lookup | None:
    """Return the lookup that is the whole text. Raises InvalidInput for a path that Ansible would search for."""
    found = _LOOKUP.fullmatch(text.strip())
    if found is None:
        return None
    lookup = Lookup(LookupKind(found["kind"]), found["target"])
    if lookup.kind is LookupKind.FILE and not Path(lookup.target).expanduser().is_absolute():
        raise InvalidInput(f"it looks up the file {lookup.target}: give its whole path, outside of the site")
    return lookup


def kept(lookup: Lookup, variables: Variables) -> Secret:
    """Return the password, followed to where it is kept only when it is needed, each time."""
    return KeptSecret(lambda: followed(lookup, variables))


def from_environment(name: str) -> Secret:
    """Return the value of a variable of this process. Raises Unavailable."""
    if not (text := os.environ.get(name, "")):
        raise Unavailable(f"the password is kept in the environment variable {name}, which is not set here.")
    return Secret(text)


def followed(lookup: Lookup, variables: Variables) -> str:
    """Return the password as Ansible would read it. Raises Unavailable."""
    if lookup.kind is LookupKind.ENV:
        return variables(lookup.target).reveal()
    try:
        with Path(lookup.target).expanduser().open(encoding="utf-8") as stream:
            text = stream.read(_LARGEST).rstrip()
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise Unavailable(f"the password is kept in {lookup.target}, which cannot be read: {reason}") from error
    if not text:
        raise Unavailable(f"the password is kept in {lookup.target}, which is empty.")
    return text
