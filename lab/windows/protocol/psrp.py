"""PowerShell remoting: a pool of runspaces and its pipelines (MS-PSRP), on psrpcore's server side."""

import threading
import time
import uuid
from typing import Any

import psrpcore

from lab.windows.process import ProcessKilled
from lab.windows.protocol.envelope import WsmanFault
from lab.windows.protocol.shells import CHUNK, Reset, Work, carry_out


class RunspacePool:
    """One client's pool: takes messages, gives messages, and runs each pipeline in a thread."""

    def __init__(self, work: Work, opening: bytes) -> None:
        self._work = work
        self._pool = psrpcore.ServerRunspacePool()
        self.changed = threading.Condition(threading.RLock())
        self._outgoing: list[tuple[uuid.UUID | None, bytes]] = []
        self._pipelines: dict[uuid.UUID, Pipeline] = {}
        self.killed = False
        self.feed(opening, None)

    def feed(self, data: bytes, pipeline_id: uuid.UUID | None) -> None:
        """Take a message of the client."""
        with self.changed:
            self._pool.receive_data(psrpcore.PSRPPayload(data, psrpcore.StreamType.default, pipeline_id))
            while (event := self._pool.next_event()) is not None:
                self._note(event)
            self.flush()

    def create(self, pipeline_id: uuid.UUID, data: bytes) -> None:
        """Make a pipeline; one that takes no input begins at once."""
        with self.changed:
            psrpcore.ServerPipeline(self._pool, pipeline_id)
            self.feed(data, pipeline_id)
            made = self._pipelines.get(pipeline_id)
            if made and not made.takes_input:
                made.start()

    def receive(self, pipeline_id: uuid.UUID | None, seconds: float) -> tuple[bytes, bool]:
        """Wait for the next message of a pipeline, or of the pool; tells whether it is the last."""
        with self.changed:
            pipeline = self._pipelines.get(pipeline_id) if pipeline_id else None

            def has_news() -> bool:
                return self.killed or bool(self._waiting(pipeline_id)) or bool(pipeline and pipeline.is_cut)

            if not self.changed.wait_for(has_news, timeout=seconds):
                raise WsmanFault("timed-out")
            if self.killed or (pipeline and pipeline.is_cut):
                raise Reset
            data = self._outgoing.pop(self._waiting(pipeline_id)[0])[1]
            return data, bool(pipeline and pipeline.is_finished and not self._waiting(pipeline_id))

    def kill(self) -> None:
        with self.changed:
            self.killed = True
            self.changed.notify_all()

    def signal(self, pipeline_id: uuid.UUID) -> None:
        """End a pipeline that the client gave up."""
        pipeline = self._pipelines.get(pipeline_id)
        if pipeline:
            pipeline.kill()

    def flush(self) -> None:
        while (message := self._pool.data_to_send(CHUNK)) is not None:
            self._outgoing.append((message.pipeline_id, message.data))
        self.changed.notify_all()

    def _note(self, event: psrpcore.PSRPEvent[Any, Any]) -> None:
        if event.pipeline_id is None:
            return
        if isinstance(event, psrpcore.CreatePipelineEvent):
            pipeline = self._pool.pipeline_table[event.pipeline_id]
            self._pipelines[event.pipeline_id] = Pipeline(self, pipeline, event.pipeline, self._work)
        elif isinstance(event, psrpcore.PipelineInputEvent):
            self._pipelines[event.pipeline_id].lines.append(str(event.data))
        elif isinstance(event, psrpcore.EndOfPipelineInputEvent):
            self._pipelines[event.pipeline_id].start()

    def _waiting(self, pipeline_id: uuid.UUID | None) -> list[int]:
        return [index for index, (whose, _) in enumerate(self._outgoing) if whose == pipeline_id]


class Pipeline:
    """One script of a pool. Its output goes to the client line by line when it has ended."""

    def __init__(self, pool: RunspacePool, pipeline: object, meta: object, work: Work) -> None:
        self._pool = pool
        self._pipeline: psrpcore.ServerPipeline = pipeline  # type: ignore[assignment]
        self._meta: psrpcore.PowerShell = meta  # type: ignore[assignment]
        self._work = work
        self._stdout = ""
        self._stderr = ""
        self._killed = threading.Event()
        self._is_started = False
        self.lines: list[str] = []
        self.is_finished = False
        self.is_cut = False

    @property
    def takes_input(self) -> bool:
        return not self._meta.no_input

    def start(self) -> None:
        if not self._is_started:
            self._is_started = True
            self._pipeline.start()
            threading.Thread(target=self._run, name="pipeline", daemon=True).start()

    def kill(self) -> None:
        self._killed.set()

    # What the script sees -------------------------------------------------------------------------------------

    def read_stdin(self) -> str:
        return "\n".join(self.lines)

    def out(self, text: str) -> None:
        self._stdout += text

    def err(self, text: str) -> None:
        self._stderr += text

    def wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._killed.wait(min(0.2, max(0.0, until - time.monotonic()))) or self._pool.killed:
                raise ProcessKilled

    def cut(self) -> None:
        with self._pool.changed:
            self.is_cut = True
            self._pool.changed.notify_all()

    def _run(self) -> None:
        exit_code = carry_out(self._work, _script(self._meta), self)
        with self._pool.changed:
            for line in self._stdout.splitlines():
                self._pipeline.write_output(line)
            if self._stderr:
                error = psrpcore.types.NETException(Message=self._stderr)
                self._pipeline.write_error(error, fully_qualified_error_id="lab")
            if exit_code:
                self._pipeline.host_call(psrpcore.types.HostMethodIdentifier.SetShouldExit, [exit_code])
            self._pipeline.complete()
            self.is_finished = True
            self._pool.flush()


def _script(pipeline: psrpcore.PowerShell) -> str:
    """Return the text that is to be run, without the commands that only carry it or shape its output."""
    texts = []
    for command in pipeline.commands:
        if command.command_text == "Invoke-Expression":
            texts += [str(value) for _, value in command.parameters]
        elif command.command_text not in ("Out-String", "Out-Default"):
            texts.append(command.command_text)
    return "\n".join(texts)
