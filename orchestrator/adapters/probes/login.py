"""Logging in to a host the way ssh does: key file or agent and usual files first, then the password."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import paramiko
from paramiko.pkey import PublicBlob

from orchestrator.adapters.probes.accounts import Refused
from orchestrator.adapters.probes.stages import Deadline, StageFailed
from orchestrator.domain.inventory import Connection, Secret
from orchestrator.domain.probe import Stage

#: OpenSSH allows six attempts by default (MaxAuthTries): some are left for the key files and the password.
_AGENT_KEYS_TRIED = 3
_DEFAULT_FILES = ("id_ed25519", "id_ecdsa", "id_rsa")


#: A block for a user within which the password may be shown.
Trying = Callable[[str], AbstractContextManager[None]]


def log_in(transport: paramiko.Transport, connection: Connection, deadline: Deadline, trying: Trying) -> None:
    """Authenticate: with keys, then with the password within ``trying``.

    Raises StageFailed, telling what was offered (never a secret), and Refused where the password was not taken.
    """
    user = connection.user or getpass.getuser()
    transport.auth_timeout = deadline.left
    offered = []
    with _agent_keys() as agent_keys:
        for label, key in _keys(connection, agent_keys):
            offered.append(label)
            if key is not None and _is_let_in(transport, partial(transport.auth_publickey, user, key)):
                return
            if not transport.is_active():
                break
    if deadline.is_over:
        raise StageFailed(Stage.AUTHENTICATE, f"logging in did not end within {deadline}")
    if connection.password and transport.is_active():
        with trying(user):
            _show_password(transport, user, connection.password, deadline, offered)
        return
    what = ", ".join(offered) or "nothing, since there is no key file, no key in the ssh-agent and no password"
    raise StageFailed(Stage.AUTHENTICATE, f"{user} was not let in; offered was {what}")


def _show_password(
    transport: paramiko.Transport, user: str, password: Secret, deadline: Deadline, offered: Sequence[str]
) -> None:
    """Log in with the password. Raises Refused, or StageFailed where the host was not shown it or said nothing."""
    try:
        transport.auth_password(user, password.reveal())
    except paramiko.BadAuthenticationType as error:
        there = ", ".join(error.allowed_types) or "nothing"
        told = f"{user} was not let in; the host takes no password, only {there}"
        raise StageFailed(Stage.AUTHENTICATE, told) from error
    except paramiko.AuthenticationException as error:
        what = ", ".join([*offered, "the password"])
        told = f"{user} was not let in; offered was {what}"
        kind = StageFailed if deadline.is_over or not transport.is_active() else Refused
        raise kind(Stage.AUTHENTICATE, told) from error
    except Exception as error:  # paramiko hands on whatever its thread caught
        raise StageFailed(Stage.AUTHENTICATE, f"{user}: the host broke off when it was shown the password") from error
    if not transport.is_authenticated():
        raise StageFailed(Stage.AUTHENTICATE, f"{user} was let in half way: the host asks for more than a password")


@contextmanager
def _agent_keys() -> Iterator[tuple[paramiko.AgentKey, ...]]:
    """Yield the keys that the ssh-agent holds; they sign only as long as it is connected."""
    try:
        agent = paramiko.Agent()
    except (paramiko.SSHException, OSError):
        yield ()
        return
    try:
        yield agent.get_keys()
    finally:
        agent.close()


def _keys(
    connection: Connection, agent_keys: tuple[paramiko.AgentKey, ...]
) -> Iterator[tuple[str, paramiko.PKey | None]]:
    if connection.key_file:
        yield _key_of(Path(connection.key_file).expanduser(), agent_keys)
        return
    for key in agent_keys[:_AGENT_KEYS_TRIED]:
        yield f"the agent's key {key.fingerprint}", key
    for name in _DEFAULT_FILES:
        file = Path("~/.ssh").expanduser() / name
        if file.exists():
            yield _key_of(file, ())


def _key_of(file: Path, agent_keys: tuple[paramiko.AgentKey, ...]) -> tuple[str, paramiko.PKey | None]:
    """Return the key in the file, or the agent's where the file is locked or holds the public half."""
    if held := _held_by_agent(file, agent_keys):
        return f"the agent's key for {file}", held
    try:
        return str(file), paramiko.PKey.from_path(file)
    except OSError as error:
        return f"{file} (which cannot be read: {error.strerror})", None
    except Exception:  # the key formats raise whatever they like
        return f"{file} (no usable private key; one with a passphrase has to be in the agent: ssh-add {file})", None


def _held_by_agent(file: Path, agent_keys: tuple[paramiko.AgentKey, ...]) -> paramiko.AgentKey | None:
    public = file if file.suffix == ".pub" else file.with_name(f"{file.name}.pub")
    try:
        blob = PublicBlob.from_file(str(public)).key_blob if agent_keys else b""
    except Exception:  # a damaged public file only means that the agent is not asked
        return None
    return next((key for key in agent_keys if key.asbytes() == blob), None)


def _is_let_in(transport: paramiko.Transport, attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except Exception:  # paramiko hands on whatever its thread caught; the next attempt may pass
        return False
    return transport.is_authenticated()
