"""A server of an HAProxy backend, as the runtime API tells of it and changes it (HAProxy's management guide, 9.3)."""

import csv
import socket
import time
import typing

#: Seconds that one answer may take, and between two looks.
PATIENCE = 10
PAUSE = 0.5

#: Bits of srv_admin_state: taken out by somebody (maintenance), or drained, on the runtime API.
_MAINTENANCE = 0x01
_DRAINED = 0x08
_RUNNING = 2

Ask = typing.Callable[[str], str]


class BalancerError(Exception):
    """What was asked, what stood in the way, and what to do next, in one sentence or two."""


class Server(typing.NamedTuple):
    """One server: whether its check passes (or it has none), its administrative state, and what it has to do."""

    name: str
    is_running: bool
    admin: int
    sessions: int
    status: str

    @property
    def is_drained(self):
        return bool(self.admin & _DRAINED)

    @property
    def serves(self):
        return self.is_running and self.admin == 0


class Balancer:
    """A backend of one HAProxy, asked through `ask`."""

    def __init__(self, ask: Ask, backend: str, clock=time.monotonic, sleep=time.sleep):
        self._ask, self._backend, self._clock, self._sleep = ask, backend, clock, sleep

    def servers(self) -> typing.Dict[str, Server]:
        states = [line.split() for line in self._ask("show servers state " + self._backend).splitlines()]
        header = next((words[1:] for words in states if words[:1] == ["#"]), None)
        if header is None:
            told = " ".join(" ".join(words) for words in states)
            raise BalancerError("The backend %r was asked for, and HAProxy says: %s" % (self._backend, told))
        rows = [dict(zip(header, words)) for words in states if len(words) >= len(header) and words[0] != "#"]
        figures = self._figures()
        found = {}
        for row in rows:
            name = row["srv_name"]
            sessions, status = figures.get(name, (0, ""))
            running = int(row["srv_op_state"]) == _RUNNING
            found[name] = Server(name, running, int(row["srv_admin_state"]), sessions, status)
        return found

    def server(self, name: str) -> Server:
        servers = self.servers()
        if name not in servers:
            there = ", ".join(sorted(servers)) or "none"
            raise BalancerError("The backend %r has no server %r; it has: %s" % (self._backend, name, there))
        return servers[name]

    def drain(self, name: str, others: int) -> bool:
        """Let no new sessions come to the server; return whether that is new. Refused where too few others serve."""
        server = self.server(name)
        if server.admin & _MAINTENANCE:
            raise BalancerError(
                "Server %s of %s is in maintenance: somebody has taken it out by hand, and it would come back into "
                "service after the work. Put it back first, or leave it out of the change." % (name, self._backend)
            )
        if not server.is_drained and not server.is_running:
            raise BalancerError(
                "Server %s of %s is %s before anything was done to it: it could not be told whether it is well "
                "afterwards. Repair it first." % (name, self._backend, server.status)
            )
        serving = sorted(one.name for one in self.servers().values() if one.serves and one.name != name)
        if len(serving) < others:
            raise BalancerError(
                "Server %s of %s cannot leave: %d other servers have to serve, and %d do (%s)."
                % (name, self._backend, others, len(serving), ", ".join(serving) or "none")
            )
        return False if server.is_drained else self._set(name, "drain")

    def wait_until_idle(self, name: str, limit: float):
        """Wait until no session is left on the drained server."""
        self._wait(
            name,
            limit,
            lambda server: server.is_drained and not server.sessions,
            lambda server: (
                "it still has %d sessions. Raise the limit, or end them" % server.sessions
                if server.is_drained
                else "somebody has put it back into service"
            ),
        )

    def ready(self, name: str) -> bool:
        """Let the server have sessions again; return whether that is new."""
        server = self.server(name)
        if server.admin & _MAINTENANCE:
            raise BalancerError(
                "Server %s of %s was put into maintenance meanwhile, and is left so. Whoever did that puts it back."
                % (name, self._backend)
            )
        return self._set(name, "ready") if server.is_drained else False

    def wait_until_up(self, name: str, limit: float):
        """Wait until the server serves: its check passes, or it has none."""
        self._wait(
            name,
            limit,
            lambda server: server.serves,
            lambda server: "it is %s. Look at what its check asks for" % (server.status or "not there"),
        )

    def _wait(self, name, limit, is_so, why_not):
        until = self._clock() + limit
        while not is_so(self.server(name)):
            if self._clock() >= until:
                why = why_not(self.server(name))
                raise BalancerError("Server %s of %s: %d s have passed, and %s." % (name, self._backend, limit, why))
            self._sleep(PAUSE)

    def _set(self, name, state):
        told = self._ask("set server %s/%s state %s" % (self._backend, name, state)).strip()
        if told:
            raise BalancerError("Server %s of %s was to be %s, but: %s" % (name, self._backend, state, told))
        return True

    def _figures(self):
        lines = self._ask("show stat").lstrip("# ").splitlines()
        rows = [row for row in csv.DictReader(lines) if row.get("pxname") == self._backend]
        return {row["svname"]: (int(row["scur"] or 0), row["status"]) for row in rows}


def asking(path: str) -> Ask:
    """Return what asks HAProxy on its stats socket: one connection for each command, as it closes after the answer."""

    def ask(command: str) -> str:
        if any(mark in command for mark in "\n;"):
            raise BalancerError("%r is no single command of HAProxy's" % command)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(PATIENCE)
                connection.connect(path)
                connection.sendall(command.encode() + b"\n")
                parts = []
                while True:
                    part = connection.recv(65536)
                    if not part:
                        return b"".join(parts).decode(errors="replace")
                    parts.append(part)
        except OSError as error:
            raise BalancerError(
                "HAProxy was to be asked on %s, but: %s. It needs `stats socket %s level admin` in its configuration."
                % (path, error, path)
            )

    return ask
