"""What goes wrong with a simulated host, set and lifted while it runs."""

import re
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from lab.errors import LabError

#: Each fault, and what it does until it is lifted or has happened `times` times.
KINDS: Mapping[str, str] = {
    "refuse-auth": "every login is refused, whatever the credentials",
    "http-status": "every request is answered by an HTTP status (--status)",
    "silent": "connections are taken and never answered, as by a host that froze",
    "slow": "every request is answered late (--seconds)",
    "expired-certificate": "HTTPS shows a certificate that expired yesterday",
    "hang": "a module or script (--match) does not begin before --seconds have passed",
    "reset-at-start": "the connection is reset and the module or script (--match) is never begun",
    "reset-mid": "the connection is reset while the module or script (--match) goes on to its end",
    "reset-while-polling": "the connection is reset while win_updates is polled or cancelled; the host goes on",
    "cut-off": "the result of a module (--match) ends in the middle",
    "no-update-server": "a search for updates reaches no server (0x8024402C)",
    "never-back": "the host does not come back from its next reboot",
}


@dataclass(slots=True, kw_only=True)
class Fault:
    """One fault. `match` is a regular expression over `MODULE OPERATION` or the script's text."""

    kind: str
    match: str = ""
    seconds: float = 3600
    status: int = 503
    times: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise LabError(f"There is no fault {self.kind!r}; there are: {', '.join(KINDS)}.")


class Faults:
    """The faults that are set on one host."""

    def __init__(self) -> None:
        self._set: list[Fault] = []
        self._lock = threading.Lock()

    def set(self, fault: Fault) -> None:
        with self._lock:
            self._set.append(fault)

    def lift(self, kind: str = "") -> None:
        """Lift the faults of a kind, or all."""
        if kind and kind not in KINDS:
            raise LabError(f"There is no fault {kind!r}; there are: {', '.join(KINDS)}.")
        with self._lock:
            self._set = [fault for fault in self._set if kind not in ("", fault.kind)]

    def has(self, kind: str) -> bool:
        with self._lock:
            return any(fault.kind == kind for fault in self._set)

    def strike(self, kind: str, text: str = "") -> Fault | None:
        """Return the fault that strikes here, and count that it did."""
        with self._lock:
            for fault in self._set:
                if fault.kind == kind and re.search(fault.match, text, re.IGNORECASE):
                    if fault.times is not None:
                        fault.times -= 1
                        if fault.times <= 0:
                            self._set.remove(fault)
                    return fault
        return None

    def told(self) -> list[dict[str, object]]:
        with self._lock:
            return [asdict(fault) for fault in self._set]
