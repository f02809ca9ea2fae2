"""Scripts and commands that the host knows by their text. No PowerShell runs here: what is not known fails."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.windows.host import WindowsHost

#: The exit code and words of shutdown.exe where a reboot is on its way already.
SHUTDOWN_ON_ITS_WAY = (1190, "A system shutdown has already been scheduled.(1190)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a script leaves: its streams and exit code; `output` and `result` are what win_powershell returns."""

    stdout: str = ""
    stderr: str = ""
    rc: int = 0
    output: Sequence[object] | None = None
    result: Mapping[str, object] | None = None
    changed: bool = True
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """A script that a scenario taught the host: `match` is a regular expression over the script's text."""

    match: str
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A script that the host knows: the match of its pattern, and the parameters that win_powershell was given."""

    found: re.Match[str]
    parameters: Mapping[str, object]
    check: bool

    def __getitem__(self, group: int | str) -> str:
        return self.found[group] or ""


Known = Callable[["WindowsHost", Asked], Answer]
_KNOWN: list[tuple[re.Pattern[str], Known]] = []


def knows(pattern: str) -> Callable[[Known], Known]:
    """Let every host know the scripts that match a pattern; the function answers them."""

    def register(function: Known) -> Known:
        _KNOWN.append((re.compile(pattern, re.IGNORECASE | re.DOTALL), function))
        return function

    return register


def answer(
    host: WindowsHost, body: str, parameters: Mapping[str, object] | None = None, *, check: bool = False
) -> Answer | None:
    """Find the answer to a script: what the scenario taught comes before what every host knows."""
    for taught in host.taught:
        if re.search(taught.match, body, re.IGNORECASE | re.DOTALL):
            return taught.answer
    for pattern, function in _KNOWN:
        if found := pattern.search(body):
            return function(host, Asked(found=found, parameters=parameters or {}, check=check))
    return None


def unknown(host: str, kind: str, body: str) -> Answer:
    """Fail loudly: the lab does not guess what a script would have done."""
    words = f"lab: the simulated host {host} does not know this {kind} script; teach it in the scenario (scripts:)"
    return Answer(stderr=f"{words}:\r\n{body[:400]}\r\n", rc=1)


def bare(text: str) -> str:
    """Take off what Ansible and pywinrm put around a script."""
    text = re.sub(r"(?i)^\s*\$ProgressPreference\s*=\s*['\"]?SilentlyContinue['\"]?;?\s*", "", text)
    text = re.sub(r"(?i)^Set-StrictMode -Version Latest\s*", "", text.strip())
    text = re.sub(r"(?i)^\[Console\]::InputEncoding\s*=[^;\n]*[;\n]\s*", "", text)
    return re.sub(r"(?is);?\s*If \(-not \$\?\) \{ If \(Get-Variable LASTEXITCODE.*$", "", text).strip()


# The private scripts of ansible.windows.win_reboot; tests/contract holds them against the installed collection. -------


@knows(
    r"^\(Get-CimInstance -ClassName Win32_OperatingSystem -Property LastBootUpTime\)\.LastBootUpTime\.ToFileTime\(\)$"
)
def boot_time(host: WindowsHost, _: Asked) -> Answer:
    return Answer(stdout=f"{_filetime(host)}\r\n")


@knows(r"shutdown(?:\.exe)? /r /t (\d+) /c .*ConvertTo-Json -Compress -InputObject @\{")
def reboot_told_as_json(host: WindowsHost, asked: Asked) -> Answer:
    rc, words = (0, "") if host.shut_down(float(asked[1])) else SHUTDOWN_ON_ITS_WAY
    return Answer(stdout=json.dumps({"stdout": "", "stderr": words, "rc": rc}) + "\r\n")


@knows(r"^Get-Item -LiteralPath 'HKLM:\\SOFTWARE\\[^']*\\AutoLogonChecked' -ErrorAction Stop; '([^']+)'$")
def logon_screen(host: WindowsHost, asked: Asked) -> Answer:
    if not host.is_settled:
        return Answer(stderr="Get-Item : Cannot find path 'AutoLogonChecked' because it does not exist.", rc=1)
    return Answer(stdout=f"{asked[1]}\r\n")


@knows(r"Component Based Servicing\\Interface'.*Name = 'ServicingInProgress'.*exit \$val")
def servicing(host: WindowsHost, _: Asked) -> Answer:
    """Tell whether servicing still goes on after the boot (ansible.windows 3.8)."""
    return Answer(rc=0 if host.is_settled else 2)


# What a person types. -----------------------------------------------------------------------------------------


@knows(r"^(?:\S*\\)?shutdown(?:\.exe)? /r /t (\d+)(?: /c .*)?$")
def reboot(host: WindowsHost, asked: Asked) -> Answer:
    if host.shut_down(float(asked[1])):
        return Answer()
    return Answer(stderr=SHUTDOWN_ON_ITS_WAY[1], rc=SHUTDOWN_ON_ITS_WAY[0])


@knows(r"^(?:\S*\\)?shutdown(?:\.exe)? /a$")
def abort(host: WindowsHost, _: Asked) -> Answer:
    if host.abort_shutdown():
        return Answer()
    words = "Unable to abort the system shutdown because no shutdown was in progress.(1116)"
    return Answer(stderr=words, rc=1116)


@knows(r"^hostname$")
def hostname(host: WindowsHost, _: Asked) -> Answer:
    return Answer(stdout=f"{host.name}\r\n")


@knows(r"^whoami$")
def whoami(host: WindowsHost, _: Asked) -> Answer:
    return Answer(stdout=f"{host.name}\\administrator\r\n")


@knows(r"^ver$")
def version(host: WindowsHost, _: Asked) -> Answer:
    return Answer(stdout=f"\r\nMicrosoft Windows [Version 10.0.{full_build(host)}]\r\n")


@knows(r"^(?:echo|Write-Output|Write-Host)\s+['\"]?([^'\"|;&$`]*)['\"]?$")
def echo(_: WindowsHost, asked: Asked) -> Answer:
    return Answer(stdout=f"{asked[1]}\r\n", output=[asked[1]])


@knows(r"^exit (\d+)$")
def leave(_: WindowsHost, asked: Asked) -> Answer:
    return Answer(rc=int(asked[1]))


@knows(r"^Start-Sleep (?:-Seconds )?(\d+)$")
def sleep(_: WindowsHost, asked: Asked) -> Answer:
    return Answer(seconds=float(asked[1]))


@knows(r"^\(Get-HotFix\)\.HotFixID$")
def hotfixes(host: WindowsHost, _: Asked) -> Answer:
    installed = [update.kb for update in host.updates.installed()]
    return Answer(stdout="".join(f"{kb}\r\n" for kb in installed), output=installed, changed=False)


@knows(r"^Remove-Item '([^']*)' -Force(?: -Recurse)?(?:;|$)")
def remove(host: WindowsHost, asked: Asked) -> Answer:
    host.machine.files.remove(asked[1])
    return Answer()


def full_build(host: WindowsHost) -> str:
    """Return the build that runs, with its revision, such as 20348.2227."""
    return f"{host.machine.build}.{host.updates.build(host.machine.revision)}"


def _filetime(host: WindowsHost) -> int:
    """Return the boot time in 100 ns since 1601, as ToFileTime() does."""
    return int((host.machine.boot_time.timestamp() + 11644473600) * 10_000_000)
