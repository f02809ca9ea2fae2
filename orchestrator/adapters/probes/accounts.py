"""One host tries an account's password before any other does, so that a wrong password locks no account out.

A directory counts each refusal, whichever host asked: fifty hosts at once would be fifty refusals.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition, Lock

from orchestrator.adapters.probes.stages import Deadline, StageFailed
from orchestrator.domain.inventory import Secret
from orchestrator.domain.probe import Stage

#: Seconds for which a refused password is not tried again: directories forget refusals after ten minutes or more.
MEMORY = 600.0
#: How many hosts may leave it open whether they took the password, before no further one is tried.
_LEADERS = 2
#: Which part of the time that a host has it may keep the others waiting.
_SHARE = 1 / 3


class Refused(StageFailed):
    """The host was shown the password and did not take it."""


class AlreadyIn(Exception):
    """The account was taken by another host, and nothing more was to be found out."""


@dataclass(slots=True)
class _Account:
    """What is known of an account with one password, in one look."""

    changed: Condition = field(default_factory=Condition)
    is_taken: bool = False
    closed: str = ""
    leader: str = ""
    leads_until: float = 0.0
    unclear: list[str] = field(default_factory=list)


class Accounts:
    """The accounts of one look at many hosts. ``is_knock``: one host for each account is enough."""

    def __init__(self, memory: Memory, *, is_knock: bool = False) -> None:
        self._memory, self._is_knock = memory, is_knock
        self._known: dict[bytes, _Account] = {}
        self._lock = Lock()

    @contextmanager
    def trying(
        self, user: str, password: Secret, host: str, deadline: Deadline, *, stage: Stage = Stage.AUTHENTICATE
    ) -> Iterator[None]:
        """Show a password within the block, once it is this host's turn.

        The block raises ``Refused`` where the host does not take it. Raises StageFailed where it must not be shown.
        """
        key = self._memory.key(user, password)
        account = self._account(key)
        if why := self._memory.told_of(key, host) or self._wait(account, key, host, deadline):
            raise StageFailed(stage, f"not tried: {why}")
        try:
            yield
        except Refused:
            # Where another host took the same password, it is this one host that is odd.
            self._memory.remember(key, host, for_all=not account.is_taken)
            _end(account, host, closed="" if account.is_taken else f"{host} was refused for the same account")
            raise
        except BaseException:
            _end(account, host)
            raise
        _end(account, host, is_taken=True)

    def _account(self, key: bytes) -> _Account:
        with self._lock:
            return self._known.setdefault(key, _Account())

    def _wait(self, account: _Account, key: bytes, host: str, deadline: Deadline) -> str:
        """Wait for this host's turn; return why it never comes. Raises AlreadyIn where that is all to be known."""
        with account.changed:
            while not account.is_taken and not account.closed:
                if account.leader and time.monotonic() >= account.leads_until:
                    _leave_open(account)
                elif not account.leader:
                    # Asked only now: another look, beside this one, may have been refused meanwhile.
                    if why := self._memory.told(key):
                        account.closed = why
                        continue
                    account.leader = host
                    account.leads_until = time.monotonic() + deadline.seconds * _SHARE
                    return ""
                elif deadline.is_over:
                    return f"{account.leader}, which tried the same account first, did not answer within {deadline}"
                else:
                    account.changed.wait(min(deadline.left, account.leads_until - time.monotonic()))
            if self._is_knock and not account.closed:
                raise AlreadyIn
            return account.closed


class Memory:
    """Which passwords were refused lately, as long as this process lives; the passwords themselves are not kept."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._salt = secrets.token_bytes(32)
        self._refused: dict[bytes, tuple[float, str]] = {}
        self._odd: dict[tuple[bytes, str], float] = {}

    def key(self, user: str, password: Secret) -> bytes:
        """Return what stands for an account with this password; another password is another try."""
        return hmac.digest(self._salt, f"{user.lower()}\0{password.reveal()}".encode(), "sha256")

    def remember(self, key: bytes, host: str, *, for_all: bool) -> None:
        """Note that a host refused, and whether that speaks against the password on every host."""
        if for_all:
            self._refused[key] = (self._clock(), host)
        else:
            self._odd[key, host] = self._clock()

    def told(self, key: bytes) -> str:
        """Return why a password is not to be tried on any host, "" where it may be."""
        at, host = self._refused.get(key, (0.0, ""))
        return self._lately(at, host) if host else ""

    def told_of(self, key: bytes, host: str) -> str:
        """Return why a password is not to be tried on this host, "" where it may be."""
        at = self._odd.get((key, host))
        return self._lately(at, host) if at is not None else ""

    def _lately(self, at: float, host: str) -> str:
        ago = self._clock() - at
        if ago >= MEMORY:
            return ""
        return (
            f"{host} was refused for the same account {ago:.0f} s ago, and a password that was refused is not shown "
            f"again for {MEMORY / 60:.0f} minutes: correct it, or wait"
        )


def _end(account: _Account, host: str, *, is_taken: bool = False, closed: str = "") -> None:
    with account.changed:
        account.is_taken |= is_taken
        account.closed = account.closed or closed
        if account.leader == host and not (account.is_taken or account.closed):
            _leave_open(account)
        account.changed.notify_all()


def _leave_open(account: _Account) -> None:
    """Let the next one lead; after a few that left it open nobody tries any more."""
    account.unclear.append(account.leader)
    account.leader = ""
    if len(account.unclear) >= _LEADERS:
        account.closed = f"{' and '.join(account.unclear)} left it open whether they took the same account"
