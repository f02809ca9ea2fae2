"""The lab's own packages: what is in them and how they behave, the same bytes for the same description."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from lab.errors import LabError

Behaviour = Literal[
    "good",
    "postinst-fails",
    "breaks-service",
    "refuses-to-start",
    "needs-reboot",
    "new-dependency",
    "conffile",
    "library",
    "slow",
    "big",
]
BEHAVIOURS: tuple[str, ...] = get_args(Behaviour)
SERVICE = "labapp"
SERVICE_PORT = 8080
# Any shared object will do: what counts is that a running process keeps the deleted one mapped.
_SOME_LIBRARY = "libutil.so.1"
_ASSETS = Path(__file__).with_name("assets")


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One version of one package. Severity, advisory and security tell how its repository classifies it."""

    name: str
    version: str
    behaviour: Behaviour = "good"
    security: bool = False
    severity: str = ""
    advisory: str = ""
    seconds: int = 20
    megabytes: int = 100

    @property
    def key(self) -> tuple[str, str]:
        return self.name, self.version

    @property
    def is_service(self) -> bool:
        return self.name == SERVICE

    @property
    def conffiles(self) -> tuple[str, ...]:
        return (f"/etc/{self.name}.conf",) if self.is_service else ()

    @property
    def requires(self) -> tuple[str, ...]:
        return (f"{self.name}-extra",) if self.behaviour == "new-dependency" else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file of a package."""

    content: bytes
    mode: int = 0o644


def check(package: Package) -> None:
    """Refuse a description that no package can follow."""
    if package.behaviour not in BEHAVIOURS:
        raise LabError(f"There is no behaviour {package.behaviour}; there are: {', '.join(BEHAVIOURS)}.")
    if package.behaviour in ("breaks-service", "refuses-to-start", "conffile") and not package.is_service:
        raise LabError(f"Only {SERVICE} is a service and can behave as {package.behaviour}, not {package.name}.")


def files(package: Package) -> dict[str, File]:
    """List the package's files by their absolute path."""
    found = {f"/usr/share/{package.name}/version": _text(f"{package.version}\n")}
    if package.is_service:
        found |= _service_files(package)
    if package.behaviour == "library":
        found[f"/usr/lib/labapp/{package.name}.so"] = File(content=_library(package))
    if package.behaviour == "big":
        payload = random.Random(f"{package.name} {package.version}").randbytes(package.megabytes << 20)
        found[f"/usr/share/{package.name}/payload"] = File(content=payload)
    return found


def before_install(package: Package, family: str) -> str:
    """Return the shell lines that run before the files are put in place."""
    # A failing %post is only a warning to rpm; what stops its transaction is a failing %pre.
    return _FAIL if package.behaviour == "postinst-fails" and family == "rpm" else ""


def after_install(package: Package, family: str) -> str:
    """Return the shell lines that run once the files are in place."""
    lines = ""
    if package.behaviour == "postinst-fails" and family == "apt":
        lines += _FAIL
    if package.behaviour == "slow":
        lines += f"sleep {package.seconds}\n"
    if package.behaviour == "needs-reboot":
        lines += _REBOOT.format(name=package.name)
    return lines + (_RESTART if package.is_service else "")


def before_removal(package: Package) -> str:
    return _STOP if package.is_service else ""


_FAIL = 'echo "the package cannot migrate its data" >&2\nexit 1\n'
_REBOOT = """\
touch /run/reboot-required /run/reboot-needed
echo {name} >>/run/reboot-required.pkgs
"""
_RESTART = """\
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl --quiet enable labapp.service
  systemctl restart labapp.service || true
fi
"""
_STOP = """\
if [ -d /run/systemd/system ]; then
  systemctl --quiet disable --now labapp.service || true
fi
"""


def _service_files(package: Package) -> dict[str, File]:
    program = (_ASSETS / "labapp.py").read_text()
    program = program.replace("@VERSION@", package.version).replace("@BEHAVIOUR@", package.behaviour)
    settings = "# Settings of labapp.\nport=8080\nlegacy=no\n"
    if package.behaviour == "conffile":
        settings += f"# New in {package.version}:\nworkers=4\n"
    return {
        "/usr/lib/labapp/labapp.py": File(content=program.encode(), mode=0o755),
        "/usr/lib/systemd/system/labapp.service": _text((_ASSETS / "labapp.service").read_text()),
        "/etc/labapp.conf": _text(settings),
    }


def _library(package: Package) -> bytes:
    for folder in sorted(Path("/usr/lib").glob("*-linux-gnu*")):
        if (folder / _SOME_LIBRARY).exists():
            # The loader looks at the headers alone: the version behind the end makes each build a different file.
            return (folder / _SOME_LIBRARY).read_bytes() + package.version.encode()
    raise LabError(f"The behaviour library needs {_SOME_LIBRARY} on this machine, which has none.")


def _text(text: str) -> File:
    return File(content=text.encode())
