"""A witness of its own: asks the service of each host, and says when the answer changes."""

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping

from demo.terminal import Terminal, clock

_EVERY, _TIMEOUT = 0.5, 2.0
_PORT = 8080


class Observer:
    """Asks every host's page from a thread of its own, as a user would, for as long as the `with` block lasts."""

    def __init__(self, terminal: Terminal, addresses: Mapping[str, str]) -> None:
        self._terminal = terminal
        self._addresses = addresses
        self._seen: dict[str, str] = {}
        self._broken_since: dict[str, float] = {}
        self._broken: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Observer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def answers(self) -> dict[str, str]:
        """Ask every host now."""
        return {host: ask(address) for host, address in self._addresses.items()}

    def seconds_broken(self, host: str) -> float:
        """Return for how long the host has answered with an error, in all."""
        return self._broken.get(host, 0.0)

    def _watch(self) -> None:
        while not self._stop.wait(_EVERY):
            for host, answer in self.answers().items():
                self._note(host, answer)

    def _note(self, host: str, answer: str) -> None:
        if answer == self._seen.get(host):
            return
        now = time.monotonic()
        if host in self._broken_since:
            self._broken[host] = self.seconds_broken(host) + now - self._broken_since.pop(host)
        if answer.startswith("500"):
            self._broken_since[host] = now
        if host in self._seen:
            self._terminal.line(f"{clock(self._terminal.elapsed):>8}  ~ http://{host}:{_PORT}/health  {answer}")
        self._seen[host] = answer


def ask(address: str) -> str:
    """Return the status and the first line of a host's page."""
    try:
        with _opener.open(f"http://{address}:{_PORT}/health", timeout=_TIMEOUT) as page:
            return f"{page.status} {_first_line(page.read())}"
    except urllib.error.HTTPError as error:
        return f"{error.code} {_first_line(error.read())}"
    except OSError:
        return "no answer"


def _first_line(body: bytes) -> str:
    return body.decode(errors="replace").partition("\n")[0]


# The hosts are on this machine: a proxy for the outside world has no business here.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
