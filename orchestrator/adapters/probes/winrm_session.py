"""A login over WinRM with pywinrm, and one script in a shell of its own; each failure names its stage."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import requests
from winrm.exceptions import (
    AuthenticationError,
    WinRMError,
    WinRMOperationTimeoutError,
    WinRMTransportError,
    WSManFaultError,
)
from winrm.protocol import Protocol
from winrm.transport import HAVE_CREDSSP, HAVE_KERBEROS

from orchestrator.adapters.probes.accounts import Refused
from orchestrator.adapters.probes.shell import Answer, first_line
from orchestrator.adapters.probes.stages import Deadline, StageFailed
from orchestrator.domain.inventory import Connection, WinRm
from orchestrator.domain.probe import Stage

_T = TypeVar("_T")
_OUTPUT_LIMIT = 256 * 1024
_UTF8 = 65001
#: Reads the script from standard input, as Ansible's own bootstrap does: a command line has room for 8191 letters.
_BOOTSTRAP = "& ([ScriptBlock]::Create(($input | Out-String)))"
_OPTIONS = ("-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Unrestricted", "-EncodedCommand")
#: Of the answer of a host that has let somebody in who may do nothing: ERROR_ACCESS_DENIED.
_ACCESS_DENIED = 5


class WinRmSession:
    """One connection of its own: pywinrm's objects must not be shared between threads."""

    def __init__(self, connection: Connection, winrm: WinRm, way: str, deadline: Deadline) -> None:
        self._way, self._deadline = way, deadline
        self._user = connection.user or "the account"
        self._protocol = _protocol(connection, winrm, way, deadline)
        self._shell = ""

    def log_in(self) -> StageFailed | None:
        """Log in and open a shell; return why a host that has let us in gives none.

        Raises Refused where it did not take the secret, StageFailed where it left that open.
        """
        try:
            self._shell = self._ask(lambda: self._protocol.open_shell(codepage=_UTF8))
        except WSManFaultError as fault:
            if fault.wsman_fault_code == _ACCESS_DENIED:
                told = f"{self._user} was let in and may open no shell: it has to be an administrator of the host"
                return StageFailed(Stage.PRIVILEGE, told)
            return StageFailed(Stage.RUN, f"the host let us in and opens no shell: {first_line(str(fault.reason))}")
        except Exception as error:
            if _is_refusal(error):
                told = f"{self._user} was not let in; offered was {_what(self._way)}"
                raise Refused(Stage.AUTHENTICATE, told) from error
            raise StageFailed(Stage.AUTHENTICATE, f"logging in by {self._way}: {self._why(error)}") from error
        return None

    def run(self, script: str) -> Answer:
        """Run a script of Windows PowerShell; what it said until the deadline is kept. Raises StageFailed."""
        out, err, code = bytearray(), bytearray(), None
        encoded = base64.b64encode(_BOOTSTRAP.encode("utf-16-le")).decode()
        try:
            command = self._ask(
                lambda: self._protocol.run_command(
                    self._shell, "powershell", (*_OPTIONS, encoded), console_mode_stdin=False
                )
            )
            self._ask(lambda: self._protocol.send_command_input(self._shell, command, script.encode("ascii"), end=True))
            while code is None and len(out) < _OUTPUT_LIMIT:
                with suppress(WinRMOperationTimeoutError):
                    said, complained, ended, is_done = self._ask(
                        lambda: self._protocol.get_command_output_raw(self._shell, command)
                    )
                    out += said
                    err += complained
                    code = ended if is_done else None
        except Exception as error:
            raise StageFailed(Stage.RUN, f"the script's run: {self._why(error)}") from error
        return Answer(code=code, out=out.decode(errors="replace"), err=err.decode(errors="replace"))

    def close(self) -> None:
        """Give the host its shell back, where there is time for that; it ends it by itself later."""
        if self._shell and not self._deadline.is_over:
            with suppress(Exception):
                self._ask(lambda: self._protocol.close_shell(self._shell, close_session=False))
        with suppress(Exception):
            self._protocol.transport.close_session()

    def _ask(self, question: Callable[[], _T]) -> _T:
        """Ask the host one thing, within the time that is left."""
        if self._deadline.is_over:
            raise TimeoutError
        # Of a whole second at least, and pywinrm hands it on as it is.
        self._protocol.transport.read_timeout_sec = self._deadline.left  # type: ignore[assignment]
        return question()

    def _why(self, error: Exception) -> str:
        if self._deadline.is_over or isinstance(error, TimeoutError | requests.Timeout):
            return f"no answer within {self._deadline}"
        if isinstance(error, WinRMTransportError):
            return f"the host answered HTTP {error.code}"
        if isinstance(error, requests.exceptions.SSLError):
            return "the TLS connection failed"
        if isinstance(error, requests.ConnectionError):
            return "the host broke the connection off"
        return f"{type(error).__name__}: {first_line(str(error))}"


def installed(ways: Sequence[str], user: str) -> str:
    """Return the first of some ways to log in that can be gone here, by pywinrm's name. Raises StageFailed."""
    # Like psrp: Kerberos where it is installed and the account is one of a domain, NTLM otherwise.
    negotiated = "kerberos" if HAVE_KERBEROS and "@" in user else "ntlm"
    missing = {name for name, is_there in (("kerberos", HAVE_KERBEROS), ("credssp", HAVE_CREDSSP)) if not is_there}
    known = [negotiated if way == "negotiate" else way for way in ways]
    found = next((way for way in known if way not in missing), "")
    if not found:
        extra = "kerberos" if "kerberos" in known else "windows"
        told = f"{' and '.join(known)} is not installed on the controller: pip install 'patch-orchestrator[{extra}]'"
        raise StageFailed(Stage.AUTHENTICATE, told)
    return found


def _protocol(connection: Connection, winrm: WinRm, way: str, deadline: Deadline) -> Protocol:
    # A whole number of seconds, and less than we ourselves wait.
    operation = max(1, int(deadline.left))
    try:
        return Protocol(
            f"{winrm.scheme}://{_in_url(connection.address)}:{connection.port}{winrm.path}",
            transport=way,  # type: ignore[arg-type]
            username=connection.user,
            password=connection.password.reveal(),
            service=winrm.service,
            ca_trust_path=winrm.trust or None,  # type: ignore[arg-type]
            cert_pem=winrm.certificate or None,
            cert_key_pem=winrm.certificate_key or None,
            server_cert_validation="validate" if winrm.is_validated else "ignore",
            kerberos_delegation=winrm.delegates,
            kerberos_hostname_override=winrm.principal_host or None,
            message_encryption=winrm.encryption,  # type: ignore[arg-type]
            send_cbt=winrm.is_bound,
            read_timeout_sec=operation + 1,
            operation_timeout_sec=operation,
            proxy=winrm.proxy or None,
        )
    except WinRMError as error:
        raise StageFailed(
            Stage.AUTHENTICATE, f"logging in by {way} cannot be tried: {first_line(str(error))}"
        ) from error


def _in_url(address: str) -> str:
    try:
        return f"[{ipaddress.IPv6Address(address)}]"
    except ValueError:
        return address


def _is_refusal(error: Exception) -> bool:
    """Tell whether the secret was shown and not taken; what CredSSP makes of it depends on how far it came."""
    return isinstance(error, AuthenticationError) or type(error).__module__.startswith("requests_credssp")


def _what(way: str) -> str:
    return "a certificate" if way == "certificate" else f"the password, by {way}"
