"""Under which operating-system account, and from which address, a command is called.

What can be trusted, strongest first:

1. ``/proc/self/loginuid`` is set once by PAM at login and kept through sudo, doas and su. Without root's privileges
   nobody can change it once it is set, so where it is set it is the account.
2. ``SUDO_USER`` and ``DOAS_USER`` are environment variables, which anybody can set for a process of their own. They
   count only where the process runs as root, since then only root could have lied. Otherwise they are ignored.
3. The real user id.

Root can forge all three: the account attributes a command to somebody, it does not prove anything. What must hold
against root (requests, votes, waivers) is signed with the person's own key instead. The address comes from
``SSH_CONNECTION`` of this process or, since sudo drops it, of one of those that called it: told, never relied upon.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

#: The kernel's way to say that nobody logged in (a service, a container's first process).
_NOT_SET = 2**32 - 1
_ANCESTORS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An operating-system account, and the address from which it came ("" where that is not known)."""

    account: str
    address: str = ""


def calling_account(
    environ: Mapping[str, str] = os.environ,
    *,
    proc: Path = Path("/proc"),
    uid: int | None = None,
    effective_uid: int | None = None,
) -> Caller:
    """Return who called: through sudo, doas or su the account before it."""
    real = os.getuid() if uid is None else uid
    effective = os.geteuid() if effective_uid is None else effective_uid
    before = (environ.get("SUDO_USER") or environ.get("DOAS_USER") or "") if effective == 0 else ""
    account = _login_account(proc) or (before if _is_account(before) else "") or _name_of(real) or str(real)
    return Caller(account=account, address=_address(environ, proc))


def _login_account(proc: Path) -> str:
    try:
        number = int((proc / "self" / "loginuid").read_text())
    except (OSError, ValueError):
        return ""
    return "" if number == _NOT_SET else _name_of(number)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _is_account(name: str) -> bool:
    try:
        return bool(name) and bool(pwd.getpwnam(name))
    except KeyError:
        return False


def _address(environ: Mapping[str, str], proc: Path) -> str:
    if "SSH_CONNECTION" in environ:
        return _first_word(environ["SSH_CONNECTION"])
    process = "self"
    for _ in range(_ANCESTORS):
        process = _parent(proc / process)
        if process in ("", "0", "1"):
            return ""
        if found := _connection_of(proc / process):
            return _first_word(found)
    return ""


def _parent(folder: Path) -> str:
    try:
        # The command's name stands in parentheses and may hold anything; state and parent follow the last one.
        return (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
    except (OSError, IndexError):
        return ""


def _connection_of(folder: Path) -> str:
    try:
        variables = (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    prefix = b"SSH_CONNECTION="
    return next((v[len(prefix) :].decode(errors="replace") for v in variables if v.startswith(prefix)), "")


def _first_word(text: str) -> str:
    return next(iter(text.split()), "")
