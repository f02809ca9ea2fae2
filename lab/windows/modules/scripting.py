"""win_shell, win_command, win_powershell: the host knows a script by its text or not at all."""

import re
import time
from typing import Any

from lab.windows.arguments import ModuleFailed
from lab.windows.host import WindowsHost
from lab.windows.scripts import Answer
from lab.windows.tasks import Result, Task, simulates

_SUPPORTS_CHECK = re.compile(r"\[CmdletBinding\([^)]*SupportsShouldProcess(?!\s*=\s*\$false)", re.IGNORECASE)


@simulates("win_shell", "free_form cmd", private="_raw_params")
def win_shell(host: WindowsHost, task: Task) -> Result:
    return _told(host, task, _line(task, "free_form", "cmd"), "powershell")


@simulates("win_command", "cmd _raw_params")
def win_command(host: WindowsHost, task: Task) -> Result:
    return _told(host, task, _line(task, "cmd"), "cmd")


@simulates("win_powershell", "script path parameters error_action remote_src depth")
def win_powershell(host: WindowsHost, task: Task) -> Result:
    """Answer what the script is known to leave; what changed is the script's word, as in the real module."""
    script = task.get("script")
    if task.get("path"):
        content = host.machine.files.read(str(task["path"]))
        if content is None:
            raise ModuleFailed(f"The path '{task['path']}' does not exist")
        script = content.decode("utf-8-sig")
    if not script:
        raise ModuleFailed("one of the following is required: path, script")
    if task.check and not _SUPPORTS_CHECK.search(str(script)):
        return {"changed": True, "msg": "skipped, running in check mode", **_streams(Answer())}
    answer = host.ask(str(script), "powershell", task.process, task.get("parameters"), check=task.check)
    if answer.rc:
        words = answer.stderr.strip() or f"the script ended with {answer.rc}"
        raise ModuleFailed(words, **_streams(answer), error=[{"error_details": None, "output": words}])
    return {"changed": answer.changed, **_streams(answer), "error": []}


def _streams(answer: Answer) -> dict[str, Any]:
    output = list(answer.output) if answer.output is not None else answer.stdout.splitlines()
    return {
        "result": dict(answer.result or {}),
        "output": output,
        "host_out": "",
        "host_err": "",
        "warning": [],
        "verbose": [],
        "debug": [],
        "information": [],
    }


def _line(task: Task, *names: str) -> str:
    line = next((task.get(name) for name in ("_raw_params", *names) if task.get(name)), None)
    if not line:
        raise ModuleFailed("missing required arguments: _raw_params")
    return str(line)


def _told(host: WindowsHost, task: Task, line: str, kind: str) -> Result:
    if task.check:
        return {"skipped": True, "changed": False, "msg": "remote module does not support check mode"}
    began = time.time()
    answer = host.ask(line, kind, task.process)
    ended = time.time()
    result: Result = {
        "changed": True,
        "cmd": line,
        "rc": answer.rc,
        "stdout": answer.stdout,
        "stderr": answer.stderr,
        "stdout_lines": answer.stdout.splitlines(),
        "stderr_lines": answer.stderr.splitlines(),
        "start": _clock(began),
        "end": _clock(ended),
        "delta": f"0:00:{ended - began:09.6f}",
    }
    if answer.rc:
        raise ModuleFailed("non-zero return code", **result)
    return result


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))
