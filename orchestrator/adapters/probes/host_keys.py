"""The host keys that hosts offer now, for a person to compare and pin."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from orchestrator.adapters.probes.known_hosts import HostKey
from orchestrator.adapters.probes.session import NoCommonAlgorithm, host_key, session
from orchestrator.adapters.probes.stages import Deadline, StageFailed
from orchestrator.domain.inventory import Connection, Host
from orchestrator.domain.probe import Stage

#: A host has one key of each of these at most, and shows one in each handshake.
_KINDS = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("ssh-rsa",),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedKeys:
    """What a host offers at the address of its connection; ``problem`` says why there is nothing, or not all."""

    host: str
    address: str
    port: int
    keys: tuple[HostKey, ...] = ()
    problem: str = ""


def fetch_host_keys(hosts: Sequence[Host], *, pool: int = 50, timeout: float = 15.0) -> Sequence[OfferedKeys]:
    """Ask all hosts at once for their keys of every kind; each key is proven, none is believed to be the right one."""
    if not hosts:
        return []
    with ThreadPoolExecutor(min(pool, len(hosts)), thread_name_prefix="host-keys") as executor:
        return list(executor.map(lambda host: _offered(host, Deadline(timeout)), hosts))


def _offered(host: Host, deadline: Deadline) -> OfferedKeys:
    connection = host.connection
    keys: list[HostKey] = []
    problem = ""
    try:
        if connection.kind != "ssh":
            raise StageFailed(Stage.CONNECT, f"the inventory says {connection.kind}, which has no SSH host key")
        for kinds in _KINDS:
            keys += _keys_of(connection, deadline, kinds)
        problem = "" if keys else "it offers no key of a kind that is known here"
    except StageFailed as failed:
        problem = failed.detail
    return OfferedKeys(
        host=host.name, address=connection.address, port=connection.port, keys=tuple(keys), problem=problem
    )


def _keys_of(connection: Connection, deadline: Deadline, kinds: Sequence[str]) -> list[HostKey]:
    try:
        with session(connection, deadline, kinds, only=True) as transport:
            return [host_key(transport)]
    except NoCommonAlgorithm:
        return []
