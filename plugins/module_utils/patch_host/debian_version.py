"""Compare Debian versions as deb-version(7) says: epoch, upstream, revision; "~" sorts before everything."""

import re

_PART = re.compile(r"(\D*)(\d*)")


def compare(left, right):
    """Return < 0, 0 or > 0."""
    one, other = _split(left), _split(right)
    if one[0] != other[0]:
        return one[0] - other[0]
    return _compare_text(one[1], other[1]) or _compare_text(one[2], other[2])


def _split(version):
    epoch, found, rest = version.partition(":")
    if not found:
        epoch, rest = "0", version
    upstream, found, revision = rest.rpartition("-")
    if not found:
        upstream, revision = rest, ""
    return int(epoch or 0), upstream, revision


def _compare_text(left, right):
    while left or right:
        one, other = _PART.match(left), _PART.match(right)
        order = _compare_letters(one.group(1), other.group(1)) or int(one.group(2) or 0) - int(other.group(2) or 0)
        if order:
            return order
        left, right = left[one.end() :], right[other.end() :]
    return 0


def _compare_letters(left, right):
    for position in range(max(len(left), len(right))):
        order = _weight(left, position) - _weight(right, position)
        if order:
            return order
    return 0


def _weight(text, position):
    if position >= len(text):
        return 0
    letter = text[position]
    if letter == "~":
        return -1
    return ord(letter) if letter.isalpha() else ord(letter) + 256
