"""Read `patch_job`, the one argument that every phase is given, and name all of its mistakes at once."""

import fnmatch
import re
import typing

from ansible.module_utils.patch_host.errors import PatchError
from ansible.module_utils.patch_host.journal import Token
from ansible.module_utils.patch_host.model import Item

_CHANGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_REBOOTS = ("never", "if-required", "always")


class Job(typing.NamedTuple):
    """What one phase was asked to do on this host; see docs/playbook-interface.md."""

    change: str
    token: Token
    items: typing.List[Item]
    exclude: typing.List[str]
    reboot: str
    restart_services: bool
    timeout: int
    services_ignored: typing.List[str]
    paths: typing.List[str]
    keep_point: bool = False
    reboot_timeout: int = 600

    def excludes(self, name):
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.exclude)


def parse_job(raw):
    """Return the `Job`, or raise `PatchError` with every mistake."""
    mistakes = []
    change = str(raw.get("change") or "")
    if not _CHANGE.match(change):
        mistakes.append("change: %r is no name of a change (letters, digits, dot, dash, underscore)" % change)
    reboot = raw.get("reboot", "if-required")
    if reboot not in _REBOOTS:
        mistakes.append("reboot: %r is none of %s" % (reboot, ", ".join(_REBOOTS)))
    job = Job(
        change=change,
        token=_token(raw.get("token") or {}, mistakes),
        items=[_item(number, item, mistakes) for number, item in enumerate(raw.get("items") or [])],
        exclude=[str(pattern) for pattern in raw.get("exclude") or []],
        reboot=reboot,
        restart_services=bool(raw.get("restart_services", True)),
        timeout=_number(raw.get("timeout") or 1800, "timeout", mistakes),
        services_ignored=[str(pattern) for pattern in raw.get("services_ignored") or []],
        paths=[str(path) for path in raw.get("paths") or ["/", "/boot", "/var"]],
        keep_point=bool(raw.get("keep_point", False)),
        reboot_timeout=_number(raw.get("reboot_timeout") or 600, "reboot_timeout", mistakes),
    )
    if mistakes:
        raise PatchError("patch_job cannot be carried out. Correct these: " + "; ".join(mistakes))
    return job


def item_of(raw):
    """Return the `Item` of one dictionary of a report; raise `PatchError` where it is none."""
    mistakes = []
    item = _item(0, raw, mistakes)
    if mistakes:
        raise PatchError("A report holds an item that cannot be: " + "; ".join(mistakes))
    return item


def _token(raw, mistakes):
    return Token(
        installation=str(raw.get("installation") or ""),
        counter=_number(raw.get("counter") or 0, "token.counter", mistakes),
        seen=_number(raw.get("seen") or 0, "token.seen", mistakes),
    )


def _item(number, raw, mistakes):
    where = "items[%d]" % number
    if not isinstance(raw, dict):
        mistakes.append("%s: no dictionary" % where)
        raw = {}
    name, arch, version = (str(raw.get(key) or "") for key in ("name", "arch", "version"))
    for key, value in (("name", name), ("arch", arch), ("version", version)):
        if not value or re.search(r"[\s/]", value) or value.startswith("-"):
            mistakes.append("%s.%s: %r cannot be" % (where, key, value))
    filename = str(raw.get("filename") or "")
    if "/" in filename or filename.startswith("."):
        mistakes.append("%s.filename: %r is no bare file name" % (where, filename))
    sha256 = str(raw.get("sha256") or "")
    if sha256 and not _SHA256.match(sha256):
        mistakes.append("%s.sha256: %r is no sha256 in hexadecimal" % (where, sha256))
    return Item(
        name=name,
        arch=arch,
        version=version,
        from_version=str(raw.get("from_version") or ""),
        sha256=sha256,
        filename=filename,
        size=_number(raw.get("size") or 0, where + ".size", mistakes),
    )


def _number(value, where, mistakes):
    try:
        return int(value)
    except (TypeError, ValueError):
        mistakes.append("%s: %r is no number" % (where, value))
        return 0
