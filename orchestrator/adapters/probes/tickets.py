"""Kerberos tickets for accounts that have a password, got as Ansible gets them: with kinit."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from threading import Lock

from orchestrator.adapters.probes.accounts import Memory, Refused
from orchestrator.adapters.probes.shell import first_line
from orchestrator.adapters.probes.stages import Deadline, StageFailed
from orchestrator.domain.inventory import Secret
from orchestrator.domain.probe import Stage

_CACHE = "KRB5CCNAME"
#: Seconds for which a ticket is used again; no realm gives any that last less.
_FRESH = 240.0
#: What kinit says where it is the password or the account that is wrong, and not the way to the realm.
_REFUSALS = ("password incorrect", "preauthentication failed", "revoked", "not found in kerberos", "expired")
_HANDED_ON = ("KRB5_CONFIG", "PATH")


class Tickets:
    """A collection of caches of this process alone, one for each account; it goes with the process."""

    def __init__(self, program: str = "kinit") -> None:
        self._program = program
        self._lock = Lock()
        self._memory = Memory()
        self._got: dict[bytes, float] = {}
        self._folder: Path | None = None

    def get(self, user: str, password: Secret, deadline: Deadline, *, forwardable: bool) -> None:
        """Have a ticket for the account. Raises Refused, or StageFailed where the realm could not be asked."""
        key = self._memory.key(user, password)
        with self._lock:
            if time.monotonic() - self._got.get(key, -_FRESH) < _FRESH:
                return
            self._ask([self._program, *(("-f",) if forwardable else ()), user], password, deadline)
            self._got[key] = time.monotonic()

    def _ask(self, argv: list[str], password: Secret, deadline: Deadline) -> None:
        environment = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
        try:
            done = subprocess.run(
                argv,
                input=password.reveal().encode() + b"\n",
                capture_output=True,
                env={**environment, "LC_ALL": "C", _CACHE: self._collection()},
                timeout=deadline.left,
                # Without a terminal kinit reads the password from its standard input.
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            # Its words may hold what was typed.
            raise StageFailed(Stage.AUTHENTICATE, f"the realm gave no ticket within {deadline}") from None
        except OSError as error:
            told = f"{argv[0]} cannot be run: {error.strerror} (Debian: krb5-user)"
            raise StageFailed(Stage.AUTHENTICATE, told) from error
        if done.returncode == 0:
            return
        said = first_line(done.stderr.decode(errors="replace"))
        kind = Refused if any(word in said.lower() for word in _REFUSALS) else StageFailed
        raise kind(Stage.AUTHENTICATE, f"the realm gave no ticket for {argv[-1]}: {said}")

    def _collection(self) -> str:
        """Return the collection, which this process's own logins use from now on."""
        if self._folder is None:
            in_memory = Path("/dev", "shm")
            self._folder = Path(tempfile.mkdtemp(prefix="tickets-", dir=in_memory if in_memory.is_dir() else None))
            atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
            # The library that makes logins of tickets asks the environment of the process, and nothing else.
            os.environ[_CACHE] = f"DIR:{self._folder}"
        return f"DIR:{self._folder}"
