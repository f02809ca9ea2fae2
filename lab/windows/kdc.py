"""A throw-away Kerberos realm for logins to Windows hosts, where krb5 is installed (krb5-kdc, krb5-admin-server).

What stands in its folder is all of it: nothing of the machine's own Kerberos is read or changed.
"""

import importlib.util
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.commands import run
from lab.errors import LabError

REALM = "LAB.TEST"
#: Beside these, Debian keeps the servers' commands out of an ordinary account's PATH.
_COMMANDS = ("kdb5_util", "kadmin.local", "krb5kdc", "kinit", "setpriv")
_MODULES = ("gssapi", "krb5", "kerberos")
_SYSTEM_PATH = "/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Realm:
    """A realm that runs: its configuration for clients, and the keys of the hosts' services."""

    name: str
    config: Path
    keytab: Path


def missing() -> str:
    """Return "", or what of Kerberos is not installed here."""
    commands = [name for name in _COMMANDS if not shutil.which(name, path=_path())]
    modules = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    return ", ".join([*commands, *(f"Python's {name}" for name in modules)])


@contextmanager
def running(folder: Path, address: str, hosts: Iterable[str], accounts: Mapping[str, str]) -> Iterator[Realm]:
    """Run a realm that knows the accounts and the hosts' HTTP service; it ends with the calling thread's process."""
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port(address)
    config = folder / "krb5.conf"
    config.write_text(_config(folder, address, port))
    environment = {**os.environ, "PATH": _path(), "KRB5_CONFIG": str(config), "KRB5_KDC_PROFILE": str(config)}
    realm = Realm(name=REALM, config=config, keytab=folder / "hosts.keytab")
    services = [f"{service}/{host}" for host in hosts for service in ("HTTP", "WSMAN")]
    run(["kdb5_util", "create", "-s", "-r", REALM, "-P", "master"], environment=environment)
    orders = [f"addprinc -pw {password} {name}" for name, password in accounts.items()]
    orders += [f"addprinc -randkey {service}" for service in services]
    orders += [f"ktadd -k {realm.keytab} {service}" for service in services]
    run(["kadmin.local", "-r", REALM], stdin="\n".join(orders) + "\n", environment=environment)
    command = ["setpriv", "--pdeathsig", "KILL", "krb5kdc", "-n", "-r", REALM, "-P", str(folder / "kdc.pid")]
    with (folder / "kdc.log").open("w") as log, subprocess.Popen(command, env=environment, stderr=log) as server:
        try:
            _wait_until_it_answers(server, address, port)
            yield realm
        finally:
            server.kill()


def _config(folder: Path, address: str, port: int) -> str:
    return f"""[libdefaults]
  default_realm = {REALM}
  dns_lookup_kdc = false
  dns_lookup_realm = false
  dns_canonicalize_hostname = false
  rdns = false
  udp_preference_limit = 1
[realms]
  {REALM} = {{
    kdc = {address}:{port}
    kdc_listen = {address}:{port}
    kdc_tcp_listen = {address}:{port}
    database_name = {folder}/principal
    key_stash_file = {folder}/stash
    acl_file = {folder}/acl
    max_life = 1h
  }}
[domain_realm]
  .lab.test = {REALM}
[logging]
  kdc = FILE:{folder}/kdc.trace
"""


def _wait_until_it_answers(server: subprocess.Popen[bytes], address: str, port: int) -> None:
    until = time.monotonic() + 10
    while True:
        try:
            socket.create_connection((address, port), timeout=1).close()
            return
        except OSError as silent:
            if server.poll() is not None or time.monotonic() > until:
                raise LabError(f"The Kerberos server on {address}:{port} does not answer: {silent}.") from silent
            time.sleep(0.05)


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:{_SYSTEM_PATH}"
