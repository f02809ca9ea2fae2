"""The inside of a simulated host: services, packages, registry, files, event log, disk, clock."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field

from lab.errors import LabError

START_MODES = ("auto", "delayed", "manual", "disabled")


@dataclass(slots=True, kw_only=True)
class Service:
    """One service. `fails_to_start` is for good, `fails_after_boot` only until somebody starts it."""

    name: str
    display_name: str = ""
    state: str = "started"
    start_mode: str = "auto"
    username: str = "LocalSystem"
    path: str = ""
    dependencies: tuple[str, ...] = ()
    fails_to_start: bool = False
    fails_after_boot: bool = False

    def __post_init__(self) -> None:
        self.display_name = self.display_name or self.name
        self.path = self.path or rf"C:\Windows\System32\svchost.exe -k {self.name}"
        if self.start_mode not in START_MODES or self.state not in ("started", "stopped", "paused"):
            raise LabError(f"The service {self.name} cannot be {self.state} and {self.start_mode}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One entry of the event log."""

    at: dt.datetime
    log: str
    level: str
    source: str
    id: int
    message: str


@dataclass(slots=True, kw_only=True)
class RegistryKey:
    """One key; its values by name, each with its type."""

    path: str
    values: dict[str, tuple[str, object]] = field(default_factory=dict)


class Registry:
    """Keys by path; Windows does not tell capitals from small letters."""

    def __init__(self) -> None:
        self._keys: dict[str, RegistryKey] = {}

    def find(self, path: str) -> RegistryKey | None:
        return self._keys.get(_folded(path))

    def make(self, path: str) -> RegistryKey:
        return self._keys.setdefault(_folded(path), RegistryKey(path=path.rstrip("\\")))

    def remove(self, path: str) -> bool:
        below = [key for key in self._keys if key == _folded(path) or key.startswith(_folded(path) + "\\")]
        for key in below:
            del self._keys[key]
        return bool(below)

    def keys_below(self, path: str) -> list[str]:
        depth = _folded(path) + "\\"
        names = {
            key.path[len(depth) :].split("\\")[0] for folded, key in self._keys.items() if folded.startswith(depth)
        }
        return sorted(names)


class Files:
    """Files by path; folders are where files are, or where they were made."""

    def __init__(self) -> None:
        self._content: dict[str, bytes] = {}
        self._names: dict[str, str] = {}
        self._folders: set[str] = {"c:", r"c:\windows", r"c:\programdata", r"c:\temp"}

    def read(self, path: str) -> bytes | None:
        return self._content.get(_path(path))

    def write(self, path: str, content: bytes) -> None:
        self._content[_path(path)] = content
        self._names[_path(path)] = path.replace("/", "\\")
        self.make_folder(path.replace("/", "\\").rpartition("\\")[0])

    def make_folder(self, path: str) -> bool:
        """Make the folder and those above it; tells whether it was missing."""
        was_missing = not self.is_folder(path)
        parts = _path(path).split("\\")
        self._folders |= {"\\".join(parts[:count]) for count in range(1, len(parts) + 1)}
        return was_missing

    def is_folder(self, path: str) -> bool:
        return _path(path) in self._folders

    def remove(self, path: str) -> bool:
        """Remove a file, or a folder with everything below it; tells whether there was anything."""
        folded = _path(path)
        below = [one for one in (*self._content, *self._folders) if one == folded or one.startswith(folded + "\\")]
        for one in below:
            self._content.pop(one, None)
            self._folders.discard(one)
        return bool(below)

    def names(self) -> list[str]:
        return sorted(self._names[path] for path in self._content)


@dataclass(slots=True, kw_only=True)
class Machine:
    """One host's hardware, Windows and what is installed on it. Times are aware and in UTC."""

    name: str
    caption: str = "Microsoft Windows Server 2022 Standard"
    build: int = 20348
    revision: int = 2113
    domain: str = ""
    disk_free_gb: float = 41.5
    disk_total_gb: float = 127.0
    clock_ahead_seconds: float = 0.0
    services: dict[str, Service] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    registry: Registry = field(default_factory=Registry)
    files: Files = field(default_factory=Files)
    event_log: list[LogEntry] = field(default_factory=list)
    boot_time: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC) - dt.timedelta(days=12, hours=3))

    def now(self) -> dt.datetime:
        """Tell the time by the host's own clock."""
        return dt.datetime.now(dt.UTC) + dt.timedelta(seconds=self.clock_ahead_seconds)

    def add_services(self, services: Iterable[Service]) -> None:
        self.services |= {service.name.lower(): service for service in services}

    def service(self, name: str) -> Service | None:
        """Find a service by its name or its display name."""
        return self.services.get(name.lower()) or next(
            (one for one in self.services.values() if one.display_name.lower() == name.lower()), None
        )

    def errors_since_boot(self) -> list[LogEntry]:
        return [one for one in self.event_log if one.level in ("Error", "Critical") and one.at >= self.boot_time]

    def log(self, level: str, source: str, event_id: int, message: str, log: str = "System") -> None:
        self.event_log.append(
            LogEntry(at=self.now(), log=log, level=level, source=source, id=event_id, message=message)
        )

    def boot(self) -> None:
        """Start what starts by itself, and note it in the event log."""
        self.boot_time = self.now()
        self.log("Information", "EventLog", 6005, "The Event log service was started.")
        for service in self.services.values():
            if service.start_mode in ("auto", "delayed"):
                failed = service.fails_after_boot or service.fails_to_start
                service.state = "stopped" if failed else "started"
                if failed:
                    words = f"The {service.display_name} service failed to start due to an error."
                    self.log("Error", "Service Control Manager", 7000, words)
            else:
                service.state = "stopped"


def usual_services() -> list[Service]:
    """List the services that every host has, unless its scenario says otherwise."""
    return [
        Service(name="WinRM", display_name="Windows Remote Management (WS-Management)"),
        Service(name="W3SVC", display_name="World Wide Web Publishing Service"),
        Service(name="Spooler", display_name="Print Spooler"),
        Service(name="wuauserv", display_name="Windows Update", state="stopped", start_mode="manual"),
        Service(
            name="TrustedInstaller", display_name="Windows Modules Installer", state="stopped", start_mode="manual"
        ),
    ]


def _path(path: str) -> str:
    return path.replace("/", "\\").rstrip("\\").lower()


def _folded(path: str) -> str:
    return path.rstrip("\\").lower()
