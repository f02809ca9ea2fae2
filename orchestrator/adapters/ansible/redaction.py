"""Keep secrets out of everything that is written, in each spelling that Ansible and its modules give them."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar
from urllib.parse import quote

MASK = "***"
SHORTEST = 4
"""Shorter texts are not masked: they would be found in every other word."""

_SHORTEST_LINE = 8
_SHORTEST_NUMBER = 6
_MANY = 200
_T = TypeVar("_T")


class Redactor:
    """Replaces every secret it was given, whole texts and values alike."""

    def __init__(self, secrets: Iterable[str]) -> None:
        texts = {text for secret in secrets for text in _with_lines(secret) if len(text) >= SHORTEST}
        # The longest first: one secret may begin with another.
        self._spellings = sorted({form for text in texts for form in _spellings(text)}, key=len, reverse=True)
        self._beginnings = frozenset(form[:SHORTEST] for form in self._spellings)
        self._numbers = {int(t) for t in texts if t.isascii() and t.isdigit() and len(t) >= _SHORTEST_NUMBER}

    def text(self, text: str) -> str:
        """Return the text with each secret masked."""
        if self._may_hold(text):
            for form in self._spellings:
                if form in text:
                    text = text.replace(form, MASK)
        return text

    def wrapped(self, text: str) -> str:
        """Return the text masked, also where Ansible broke a secret over lines to fit its screen."""
        masked = self.text(text)
        if not self._spellings or "\n" not in masked:
            return masked
        for joint in ("", " "):
            joined = re.sub(r"[ \t]*\r?\n[ \t]*", joint, masked)
            if (found := self.text(joined)) != joined:
                masked = found
        return masked

    def value(self, value: _T) -> _T:
        """Return a JSON value with each secret masked in its texts, its keys and its numbers."""
        masked: _T = self._masked(value)  # type: ignore[assignment]
        return masked

    def line(self, value: Mapping[str, object], *, kept: Mapping[str, object] | None = None) -> bytes:
        """Return an object as one line of JSON, masked; ``kept`` are entries put in front that are never masked.

        The line is searched first, since most have nothing to mask and taking a value apart costs far more.
        """
        text = encode({**kept, **value} if kept else value)
        if self._may_hold(text):
            text = encode({**(kept or {}), **self.value(dict(value))})
        return text.encode() + b"\n"

    def _may_hold(self, text: str) -> bool:
        """Tell whether a secret may be in the text; no searched text that holds one is missed."""
        if len(self._spellings) < _MANY:
            return any(form in text for form in self._spellings)
        # Looking for hundreds of texts one by one takes longer than looking at each place once.
        return not self._beginnings.isdisjoint([text[i : i + SHORTEST] for i in range(len(text))])

    def _masked(self, value: object) -> object:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(key)): self._masked(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._masked(item) for item in value]
        return MASK if type(value) is int and value in self._numbers else value


encode = json.JSONEncoder(separators=(",", ":"), default=str).encode


def _with_lines(secret: str) -> Iterator[str]:
    """Give the secret, and the lines of a key or certificate: results list output line by line too."""
    yield secret
    text = secret.strip()
    yield text
    if "\n" in text:
        yield from (line for line in text.splitlines() if len(line) >= _SHORTEST_LINE and not line.startswith("-----"))


def _spellings(text: str) -> Iterator[str]:
    escaped = json.dumps(text)[1:-1]
    yield text
    yield escaped
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield json.dumps(escaped)[1:-1]
    yield repr(text)[1:-1]
    yield shlex.quote(text).strip("'")
    yield quote(text)
    yield quote(text, safe="")
    yield from _base64_forms(text.encode())


def _base64_forms(raw: bytes) -> Iterator[str]:
    """Give what every Base64 text has in common that holds these bytes at any place (Basic authentication does)."""
    for offset, first in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(b"\0" * offset + raw).decode()
        common = encoded[first : (offset + len(raw)) * 8 // 6]
        if len(common) >= _SHORTEST_LINE:
            yield common
            yield common.translate(str.maketrans("+/", "-_"))
