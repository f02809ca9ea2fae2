"""One simulated Windows host: runs what is sent to it as far as it knows it, reboots, and keeps a journal."""

import copy
import json
import re
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Mapping

from lab.errors import LabError
from lab.windows import files_sent, look, scripts  # noqa: F401  (look registers its script)
from lab.windows import product_scripts as _product_scripts  # noqa: F401  (registers them)
from lab.windows.faults import Faults
from lab.windows.journal import Journal
from lab.windows.machine import Machine
from lab.windows.manifest import FileCall, ModuleCall, ScriptCall, UnknownManifest, is_bootstrap, read
from lab.windows.process import Inner, Process
from lab.windows.scripts import Answer, Taught
from lab.windows.tasks import Result, carry_out
from lab.windows.update_tasks import UpdateTask
from lab.windows.updates import Update, Updates

# ansible-core 2.21 puts the encoded script in quotes.
_ENCODED = re.compile(r"(?i)^\s*powershell(?:\.exe)?\b.*?\s-enc(?:odedcommand)?\s+'?([A-Za-z0-9+/=]+)'?\s*$", re.DOTALL)
#: The product's own bootstrap: it runs what standard input says.
_FROM_INPUT = "& ([ScriptBlock]::Create(($input | Out-String)))"
_INLINE = re.compile(r"(?i)^\s*powershell(?:\.exe)?\s+.*?-command\s+(.*)$", re.DOTALL)


class WindowsHost:
    """What the protocol reaches: commands and scripts in, output and an exit code out."""

    def __init__(
        self,
        machine: Machine,
        updates: Updates,
        *,
        journal: Journal | None = None,
        taught: tuple[Taught, ...] = (),
        reboot_seconds: float = 1.0,
        settle_seconds: float = 0.5,
    ) -> None:
        self.machine = machine
        self.updates = updates
        self.journal = journal or Journal()
        self.faults = Faults()
        self.taught = taught
        self.jobs: dict[str, Result] = {}
        self.update_tasks: dict[str, UpdateTask] = {}
        self.started_updates: list[UpdateTask] = []
        self.lock = threading.RLock()
        self.is_down = False
        self.on_down: Callable[[], None] = lambda: None
        self.on_up: Callable[[], None] = lambda: None
        self._reboot_seconds = reboot_seconds
        self._settle_seconds = settle_seconds
        self._shutdown: threading.Timer | None = None
        self._settled_at = 0.0
        self._snapshots: dict[str, tuple[Machine, list[Update]]] = {}

    @property
    def name(self) -> str:
        return self.machine.name

    # What is sent to the host ---------------------------------------------------------------------------------

    def run_command(self, line: str, process: Process) -> int:
        """Run a command line, as a command shell is given it."""
        if encoded := _ENCODED.match(line):
            return self.run_script(b64decode(encoded.group(1)).decode("utf-16-le"), process)
        if inline := _INLINE.match(line):
            return self.run_script(inline.group(1), process)
        return self._run_text(line, process, "cmd")

    def run_script(self, script: str, process: Process) -> int:
        """Run PowerShell: Ansible's bootstrap with what its standard input names, or a script that is known."""
        if _ENCODED.match(script):
            return self.run_command(script, process)
        if script.strip() == _FROM_INPUT:
            return self._run_text(process.read_stdin(), process, "powershell")
        if not is_bootstrap(script):
            return self._run_text(script, process, "powershell")
        try:
            call = read(process.read_stdin())
        except UnknownManifest as unknown:
            self.journal.add("unknown-manifest", why=str(unknown))
            process.err(f"lab: this ansible-core speaks differently than the lab knows: {unknown}")
            return 1
        if isinstance(call, ModuleCall):
            return self._run_module(call, process)
        if isinstance(call, ScriptCall):
            return self._run_text(call.text, process, "powershell")
        return self._move_file(call, process)

    def ask(
        self,
        text: str,
        kind: str,
        process: Process,
        parameters: Mapping[str, object] | None = None,
        *,
        check: bool = False,
    ) -> Answer:
        """Answer a script or command; one that nobody taught the lab fails and says so."""
        body = scripts.bare(text)
        self.journal.add("script", kind=kind, text=body[:2000])
        self._suffer(body, process)
        answer = scripts.answer(self, body, parameters, check=check)
        if answer is None:
            self.journal.add("unknown-script", kind=kind, text=body[:2000])
            return scripts.unknown(self.name, kind, body)
        if answer.seconds:
            process.wait(answer.seconds)
        return answer

    def task(self, call: ModuleCall, process: Process) -> Result:
        """Run a module in the foreground and return its result."""
        return carry_out(self, call, process)

    # Reboots --------------------------------------------------------------------------------------------------

    def shut_down(self, seconds: float) -> bool:
        """Reboot after some seconds; False where a reboot is already on its way."""
        with self.lock:
            if self._shutdown is not None:
                return False
            self.journal.add("reboot-asked", seconds=seconds)
            self._shutdown = threading.Timer(seconds, self._reboot)
            self._shutdown.daemon = True
            self._shutdown.start()
            return True

    def abort_shutdown(self) -> bool:
        with self.lock:
            waiting, self._shutdown = self._shutdown, None
            if waiting is None:
                return False
            waiting.cancel()
            self.journal.add("reboot-aborted")
            return True

    def power_on(self) -> None:
        """Boot a host that did not come back."""
        self._boot()

    @property
    def snapshots(self) -> list[str]:
        return sorted(self._snapshots)

    def keep(self, label: str) -> None:
        """Keep the state of the machine under a label, as a hypervisor does; the journal is not part of it."""
        with self.lock, self.updates.lock:
            self._snapshots[label] = (copy.deepcopy(self.machine), copy.deepcopy(self.updates.catalogue))
        self.journal.add("snapshot", label=label)

    def put_back(self, label: str) -> None:
        """Kill the machine, put its state back and boot it."""
        if label not in self._snapshots:
            raise LabError(f"{self.name} has no snapshot {label}; it has: {', '.join(self.snapshots) or 'none'}.")
        machine, catalogue = self._snapshots[label]
        self.abort_shutdown()
        self._go_down()
        with self.lock:
            self.machine, self.updates = copy.deepcopy(machine), Updates(copy.deepcopy(catalogue))
        self.journal.add("restored", label=label)
        self._boot()

    def drop(self, label: str) -> None:
        self._snapshots.pop(label, None)

    @property
    def is_settled(self) -> bool:
        """Tell whether the boot has come as far as the logon screen."""
        return not self.is_down and time.monotonic() >= self._settled_at

    def _reboot(self) -> None:
        self.machine.log("Information", "User32", 1074, "The process shutdown.exe has initiated the restart.")
        self._go_down()
        self.journal.add("down")
        if self.faults.strike("never-back"):
            self.journal.add("never-back")
            with self.lock:
                self._shutdown = None
            return
        time.sleep(self._reboot_seconds)
        self._boot()

    def _go_down(self) -> None:
        """End everything that runs; whoever is connected sees the connection break."""
        self.is_down = True
        self.on_down()
        with self.lock:
            tasks = list(self.started_updates)
            self.update_tasks.clear()
            self.started_updates.clear()
            self.jobs.clear()
        for task in tasks:
            task.kill()

    def _boot(self) -> None:
        with self.lock:
            if not self.is_down:
                return
            self.machine.boot()
            for update in self.updates.boot():
                self.journal.add("update-undone-by-boot", kb=update.kb)
                words = f"Installation Failure: Windows failed to install {update.title} with error 0x800F0922."
                self.machine.log("Error", "WindowsUpdateClient", 20, words)
            self._shutdown = None
            self._settled_at = time.monotonic() + self._settle_seconds
            self.is_down = False
        self.journal.add("up")
        self.on_up()

    # Inside ---------------------------------------------------------------------------------------------------

    def _run_text(self, text: str, process: Process, kind: str) -> int:
        answer = self.ask(text, kind, process)
        process.out(answer.stdout)
        process.err(answer.stderr)
        return answer.rc

    def _run_module(self, call: ModuleCall, process: Process) -> int:
        arguments = copy.deepcopy(dict(call.arguments))
        self.journal.add(
            "module", name=call.name, arguments=arguments, check=call.check, become=call.become_user, job=bool(call.job)
        )
        short = call.name.rpartition(".")[2]
        operation = str(call.arguments.get("_operation") or "")
        self._suffer(f"{short} {operation}".strip(), process)
        if operation in ("poll", "cancel") and self.faults.strike("reset-while-polling", short):
            process.cut()
            process.wait(3600)
        result = self._begin_job(call) if call.job else self.task(call, process)
        told = json.dumps(result, default=str)
        if self.faults.strike("cut-off", short):
            told = told[: len(told) // 2]
        process.out(f"{told}\r\n")
        return 1 if result.get("failed") else 0

    def _begin_job(self, call: ModuleCall) -> Result:
        assert call.job is not None
        job_id, path = f"{call.job.id}.4711", rf"{call.job.folder}\{call.job.id}.4711"
        begun: Result = {"started": True, "finished": False, "results_file": path, "ansible_job_id": job_id}
        self.jobs[job_id] = begun

        def go_on() -> None:
            done = self.task(call, Inner())
            if job_id in self.jobs:
                self.jobs[job_id] = {**done, **begun, "finished": True}

        threading.Thread(target=go_on, name=job_id, daemon=True).start()
        return {**begun, "_ansible_suppress_tmpdir_delete": True, "ansible_async_watchdog_pid": 4712}

    def _move_file(self, call: FileCall, process: Process) -> int:
        done = files_sent.carry_out(self.machine.files, call)
        if call.data:
            self.journal.add("file-sent", path=call.parameters["Path"], bytes=len(call.data))
        process.out(done.stdout)
        process.err(done.stderr)
        return done.rc

    def _suffer(self, text: str, process: Process) -> None:
        """Let the faults that strike modules and scripts strike."""
        if hang := self.faults.strike("hang", text):
            self.journal.add("hang", text=text[:200], seconds=hang.seconds)
            process.wait(hang.seconds)
        if self.faults.strike("reset-at-start", text):
            process.cut()
            process.wait(3600)
        if self.faults.strike("reset-mid", text):
            process.cut()
