"""What ``look.ps1`` tells of a Windows host, and what it means."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from orchestrator.adapters.probes.stages import StageFailed
from orchestrator.domain.probe import Needs, Stage

SCRIPT = resources.files(__package__).joinpath("look.ps1").read_text(encoding="ascii")

#: Without an answer to one of these nobody knows whether the host is fit; with the stage at which it is then unfit.
_NEEDED = {
    "admin": Stage.PRIVILEGE,
    "free": Stage.DISK,
    "services": Stage.UPDATE_SERVICE,
    "updates": Stage.UPDATE_SERVICE,
    "time": Stage.CLOCK,
}
#: What Windows Update takes part in, and patching cannot do without.
_SERVICES = {"wuauserv": "Windows Update", "trustedinstaller": "the Windows Modules Installer"}
_CLIENT = "ccmexec"
#: AUOptions: installs at its time; the administrator of the host chooses.
_INSTALLS, _HOST_CHOOSES = 4, 5
_DAYS = ("day", "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service as Windows has it: its start mode (Auto, Manual, Disabled) and its state."""

    name: str
    mode: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatePolicy:
    """Where updates come from ("" = Microsoft) and when Windows installs them by itself (``AUOptions``, 0 = not set).

    ``is_reached``: its server takes connections; through a proxy nobody can tell.
    """

    server: str
    is_reached: bool
    is_off: bool
    option: int
    day: int
    hour: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowsFindings:
    """The answers. ``failed`` has the questions that the host could not answer, each with its reason."""

    is_administrator: bool
    user: str
    time: int
    uptime: int
    drive: str
    free: int
    reboot_reasons: tuple[str, ...]
    services: tuple[Service, ...]
    updates: UpdatePolicy
    failed: Mapping[str, str]

    @property
    def rivals(self) -> tuple[str, ...]:
        """Return who else installs updates on the host."""
        found = []
        if not self.updates.is_off and self.updates.option in (_INSTALLS, _HOST_CHOOSES):
            found.append(f"Windows Update's own schedule ({_when(self.updates)})")
        if any(s.name.lower() == _CLIENT and s.mode.lower() != "disabled" for s in self.services):
            found.append(f"MECM client ({_CLIENT})")
        return tuple(found)

    def misfits(self, needs: Needs, skew: int) -> Sequence[tuple[Stage, str]]:
        """Return everything that speaks against working on the host, in the order of the stages."""
        found = [
            (stage, f"the host could not tell about {question}: {self.failed[question]}")
            for question, stage in _NEEDED.items()
            if question in self.failed
        ]
        if not self.is_administrator and "admin" not in self.failed:
            found.append(
                (Stage.PRIVILEGE, f"patching takes an administrator, and {self.user or 'the account'} is none")
            )
        if self.free < needs.system_drive and "free" not in self.failed:
            least = -(-needs.system_drive >> 20)
            found.append((Stage.DISK, f"{self.drive} has {self.free >> 20} MiB free, {least} are needed"))
        found += [(Stage.UPDATE_SERVICE, text) for text in self._update_problems()]
        if abs(skew) > needs.clock_skew and "time" not in self.failed:
            direction = "ahead of" if skew > 0 else "behind"
            told = f"its clock is {abs(skew)} s {direction} ours, {needs.clock_skew} s are allowed"
            found.append((Stage.CLOCK, told))
        order = list(Stage)
        return sorted(found, key=lambda misfit: order.index(misfit[0]))

    def _update_problems(self) -> Sequence[str]:
        found = []
        if "services" not in self.failed:
            modes = {service.name.lower(): service.mode.lower() for service in self.services}
            for name, called in _SERVICES.items():
                if modes.get(name, "missing") in ("disabled", "missing"):
                    found.append(f"{called} ({name}) is {modes.get(name, 'missing')}")
        if not self.updates.is_reached:
            found.append(f"its update server {self.updates.server} takes no connection from the host")
        return found


def read(answer: str) -> WindowsFindings:
    """Read the script's answer. Raises StageFailed where it is none, or not whole."""
    line = next((line for line in map(_stripped, answer.splitlines()) if line.startswith('{"look":1')), None)
    if line is None:
        raise StageFailed(Stage.PARSE, f"the host's answer is not what was asked for: {_shown(answer)}")
    try:
        return _findings(json.loads(line))
    except json.JSONDecodeError as error:
        raise StageFailed(Stage.PARSE, f"the host's answer is cut off or damaged: {error.msg}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise StageFailed(Stage.PARSE, f"the host's answer has not the form that was asked for: {what}") from error


def _findings(told: Mapping[str, object]) -> WindowsFindings:
    failed = {str(question): str(why) for question, why in _mapping(told["failed"]).items()}

    def answer(question: str, otherwise: object) -> object:
        return otherwise if question in failed else told[question]

    services = [_mapping(one) for one in _list(answer("services", []))]
    return WindowsFindings(
        is_administrator=bool(answer("admin", False)),
        user=str(told["user"]),
        time=_number(answer("time", 0)),
        uptime=_number(answer("uptime", 0)),
        drive=str(told.get("drive", "the system drive")),
        free=_number(answer("free", 0)),
        reboot_reasons=tuple(str(one) for question in ("reboot", "client") for one in _list(answer(question, []))),
        services=tuple(
            Service(name=str(one["name"]), mode=str(one["mode"]), state=str(one["state"])) for one in services
        ),
        updates=_policy(_mapping(answer("updates", {})), is_told="updates" not in failed),
        failed=failed,
    )


def _policy(told: Mapping[str, object], *, is_told: bool) -> UpdatePolicy:
    if not is_told:
        return UpdatePolicy(server="", is_reached=True, is_off=False, option=0, day=0, hour=0)
    return UpdatePolicy(
        server=str(told["server"]),
        is_reached=bool(told["reached"]) or bool(told["proxy"]),
        is_off=bool(told["off"]),
        option=_number(told["option"]),
        day=_number(told["day"]),
        hour=_number(told["hour"]),
    )


def _when(policy: UpdatePolicy) -> str:
    if policy.option == _HOST_CHOOSES:
        return "as the host's administrator chooses"
    day = _DAYS[policy.day] if 0 <= policy.day < len(_DAYS) else "day"
    return f"every {day} at {policy.hour:02}:00"


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"an object was expected, not {type(value).__name__}")
    return value


def _list(value: object) -> Sequence[object]:
    # ConvertTo-Json tells nothing at all as null, and Windows PowerShell a list of one at times as that one.
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"a whole number was expected, not {type(value).__name__}")
    return value


def _stripped(line: str) -> str:
    return line.strip().lstrip("\ufeff")


def _shown(answer: str) -> str:
    return next((line.strip()[:200] for line in answer.splitlines() if line.strip()), "it is empty")
