"""How rpm writes and orders versions: epoch:version-release, epoch 0 left out."""

import re

_SEGMENT = re.compile(r"~|\^|\d+|[A-Za-z]+")


def version_text(epoch, version, release):
    """Write a version as the contract does; `epoch` may be "", "0" or "(none)" for none."""
    prefix = "" if epoch in ("", "0", "(none)") else epoch + ":"
    return "%s%s-%s" % (prefix, version, release) if release else prefix + version


def split_version(text):
    """Return (epoch, version, release) of "epoch:version-release"; the epoch is "0" where there is none."""
    epoch, colon, rest = text.partition(":")
    if not colon:
        epoch, rest = "0", text
    version, _, release = rest.partition("-")
    return epoch or "0", version, release


def compare_versions(left, right):
    """Compare two "epoch:version-release" as rpm does: -1, 0 or 1. A missing release equals every release."""
    left_epoch, left_version, left_release = split_version(left)
    right_epoch, right_version, right_release = split_version(right)
    if int(left_epoch) != int(right_epoch):
        return 1 if int(left_epoch) > int(right_epoch) else -1
    found = compare_parts(left_version, right_version)
    if found or not (left_release and right_release):
        return found
    return compare_parts(left_release, right_release)


def compare_parts(left, right):
    """Compare two versions or two releases segment by segment (rpm's documented rpmvercmp).

    Digits compare as numbers and beat letters; `~` sorts before everything, even before the end; `^` sorts after the
    end but before any further segment.
    """
    lefts, rights = _SEGMENT.findall(left), _SEGMENT.findall(right)
    for one, other in zip(lefts, rights):
        found = _compare_segments(one, other)
        if found:
            return found
    if len(lefts) == len(rights):
        return 0
    longer, sign = (lefts, 1) if len(lefts) > len(rights) else (rights, -1)
    return -sign if longer[min(len(lefts), len(rights))] == "~" else sign


def sort_key(text):
    """Return a key that sorts versions ascending."""
    return _Ordered(text)


def split_nevra(text):
    """Return (name, version, arch) of "name-epoch:version-release.arch"."""
    rest, _, arch = text.rpartition(".")
    rest, _, release = rest.rpartition("-")
    name, _, version = rest.rpartition("-")
    epoch, colon, bare = version.partition(":")
    return name, version_text(epoch, bare, release) if colon else version_text("", version, release), arch


class _Ordered:
    def __init__(self, text):
        self.text = text

    def __lt__(self, other):
        return compare_versions(self.text, other.text) < 0


def _compare_segments(one, other):
    for sign, first, second in ((1, one, other), (-1, other, one)):
        if first == "~" and second != "~":
            return -sign
    if one == other:
        return 0
    for sign, first, second in ((1, one, other), (-1, other, one)):
        if first == "^":
            return -sign
        # Numbers are newer than letters: 1.0.1 > 1.0.a.
        if first.isdigit() and not second.isdigit() and second != "^":
            return sign
    if one.isdigit():
        return _sign(int(one), int(other))
    return _sign(one, other)


def _sign(one, other):
    return (one > other) - (one < other)
