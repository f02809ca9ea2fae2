"""WS-Management requests carried out: shells made, commands begun, fed, asked and ended."""

import base64
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from lab.windows.journal import Journal
from lab.windows.protocol import envelope
from lab.windows.protocol.envelope import NAMES, Request, WsmanFault
from lab.windows.protocol.psrp import RunspacePool
from lab.windows.protocol.shells import Command, Work


@dataclass(slots=True, kw_only=True)
class Shell:
    """A command shell, or a pool of PowerShell runspaces."""

    id: str
    pool: RunspacePool | None = None
    commands: dict[str, Command] = field(default_factory=dict)


class Wsman:
    """The service of one host, from one boot to the next: a reboot forgets the shells."""

    def __init__(self, machine: str, journal: Journal, run_command: Work, run_script: Work) -> None:
        self._machine = machine
        self._journal = journal
        self._run_command = run_command
        self._run_script = run_script
        self._shells: dict[str, Shell] = {}
        self._lock = threading.Lock()
        self._deeds: dict[str, Callable[[Request, Shell], str]] = {
            "Delete": self._delete,
            "Command": self._command,
            "Send": self._send,
            "Receive": self._receive,
            "Signal": self._signal,
        }

    def answer(self, raw: bytes, user: str) -> str:
        """Carry out one request; WsmanFault and Reset say how it is answered otherwise."""
        request = envelope.read(raw)
        if request is None:
            return envelope.identity()
        if request.verb == "Create":
            return self._create(request, user)
        if request.verb not in self._deeds:
            self._journal.add("unknown-action", action=request.action)
            raise WsmanFault("unsupported", request.action)
        with self._lock:
            shell = self._shells.get(request.shell_id)
        if shell is None:
            raise WsmanFault("no-shell", request.shell_id)
        return self._deeds[request.verb](request, shell)

    def end(self) -> None:
        """End every shell and what runs in it: the host goes down."""
        with self._lock:
            shells, self._shells = list(self._shells.values()), {}
        for shell in shells:
            _end(shell)

    def _create(self, request: Request, user: str) -> str:
        asked = request.body.find("rsp:Shell", NAMES)
        opening = request.body.findtext("rsp:Shell/ps:creationXml", "", NAMES)
        shell_id = (asked.get("ShellId") if asked is not None else None) or str(uuid.uuid4()).upper()
        pool = RunspacePool(self._run_script, base64.b64decode(opening)) if opening else None
        with self._lock:
            self._shells[shell_id] = Shell(id=shell_id, pool=pool)
        self._journal.add("shell", user=user, kind="powershell" if pool else "command")
        return envelope.created(request, self._machine, shell_id, user)

    def _delete(self, request: Request, shell: Shell) -> str:
        with self._lock:
            self._shells.pop(shell.id, None)
        _end(shell)
        return request.answer("")

    def _command(self, request: Request, shell: Shell) -> str:
        line = request.body.find("rsp:CommandLine", NAMES)
        if line is None:
            raise WsmanFault("unsupported", "a command without a command line")
        arguments = " ".join(one.text or "" for one in line.findall("rsp:Arguments", NAMES))
        if shell.pool:
            command_id = line.get("CommandId") or str(uuid.uuid4()).upper()
            shell.pool.create(uuid.UUID(command_id), base64.b64decode(arguments))
        else:
            text = f"{line.findtext('rsp:Command', '', NAMES)} {arguments}".strip()
            command = Command(text, self._run_command)
            shell.commands[command.id] = command
            command_id = command.id
        return request.answer(f"<rsp:CommandResponse><rsp:CommandId>{command_id}</rsp:CommandId></rsp:CommandResponse>")

    def _send(self, request: Request, shell: Shell) -> str:
        for stream in request.body.findall("rsp:Send/rsp:Stream", NAMES):
            data = base64.b64decode(stream.text or "")
            command_id = stream.get("CommandId", "")
            if shell.pool:
                shell.pool.feed(data, uuid.UUID(command_id) if command_id else None)
            else:
                _one(shell, command_id).feed(data, ended=stream.get("End", "").lower() == "true")
        return request.answer("<rsp:SendResponse/>")

    def _receive(self, request: Request, shell: Shell) -> str:
        wanted = request.body.find("rsp:Receive/rsp:DesiredStream", NAMES)
        command_id = wanted.get("CommandId", "") if wanted is not None else ""
        if shell.pool:
            data, ended = shell.pool.receive(uuid.UUID(command_id) if command_id else None, request.seconds)
            return envelope.received(request, command_id, {"stdout": data}, 0 if ended else None)
        streams, exit_code = _one(shell, command_id).receive(request.seconds)
        return envelope.received(request, command_id, streams, exit_code)

    def _signal(self, request: Request, shell: Shell) -> str:
        signal = request.body.find("rsp:Signal", NAMES)
        command_id = signal.get("CommandId", "") if signal is not None else ""
        if shell.pool and command_id:
            shell.pool.signal(uuid.UUID(command_id))
        elif command := shell.commands.pop(command_id, None):
            command.kill()
        return request.answer("<rsp:SignalResponse/>")


def _one(shell: Shell, command_id: str) -> Command:
    if command_id not in shell.commands:
        raise WsmanFault("no-shell", command_id)
    return shell.commands[command_id]


def _end(shell: Shell) -> None:
    for command in shell.commands.values():
        command.kill()
    if shell.pool:
        shell.pool.kill()
