"""Carry a phase of a Windows host: all that is decided is decided here, on the controller."""

import json
import re
import traceback
from pathlib import Path

import ansible.module_utils
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

# What the modules share is found by Ansible for hosts; for itself the controller has to be told once.
_SHARED = str(Path(__file__).resolve().parents[1] / "module_utils")
if _SHARED not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_SHARED)

from ansible.module_utils.patch_host.errors import PatchError
from ansible.module_utils.patch_host.job import parse_job
from ansible.module_utils.patch_windows import patching, phases
from ansible.module_utils.patch_windows.host import Host, Lost

display = Display()
#: Seconds for which a host that was told to reboot is not asked: win_reboot waits longer after each answer that is none
#: (1, 2, 4, 8 s, …), and would have come to long waits before the host is even down.
_GOING_DOWN = 4
_PHASES = {
    "scanned": phases.scan,
    "downloaded": phases.download,
    "protected": phases.protect,
    "patched": patching.patch,
    "looked": phases.verify,
    "restored": patching.restore,
    "released": phases.release,
}


class ActionModule(ActionBase):
    """`patch_windows: {job: …, state: …, scripts: FOLDER, settle: SECONDS}`; one task is one phase.

    A phase with several reports gives them as `results`, as the results of a loop are given. A host of which nobody
    knows what became of the phase ends as unreachable, never as failed: the orchestrator then asks it again.
    """

    TRANSFERS_FILES = False
    _supports_check_mode = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        given = self._task.args
        try:
            job = parse_job(given["job"])
            host = Host(job, _Hands(self, Path(given["scripts"]), task_vars), settle=int(given.get("settle", 90)))
        except PatchError as error:
            return dict(result, failed=True, msg=error.message)
        try:
            if given["state"] == "adopted":
                reports = phases.adopt(host, str(given["job"].get("reason") or ""))
            else:
                reports = _PHASES[given["state"]](host)
        except PatchError as error:
            reports = [*getattr(error, "reports", []), *([error.report] if error.report else [])]
            return _told(result, host, reports, failed=True, msg=error.message)
        except Lost as lost:
            reports = getattr(lost, "reports", [])
            return _told(result, host, reports, unreachable=True, msg="The connection to the host was lost: %s" % lost)
        except Exception as error:
            words = "The phase broke off (%s: %s). Nobody knows how far it came." % (type(error).__name__, error)
            return _told(result, host, [], unreachable=True, msg=words, exception=traceback.format_exc())
        except BaseException as error:
            # The task's own time limit interrupts whatever goes on; that says nothing of the host.
            if type(error).__name__ != "TaskTimeoutError":
                raise
            words = "The phase did not end in its time. What was begun on the host may go on."
            return _told(result, host, [], unreachable=True, msg=words)
        return _told(result, host, reports)


class _Hands:
    """Runs scripts, modules and other actions on the host of a task; see `patch_windows.host`."""

    def __init__(self, action, scripts, task_vars):
        self._action = action
        self._scripts = scripts
        self._vars = task_vars

    def script(self, name, parameters):
        text = (self._scripts / name).read_text(encoding="utf-8")
        arguments = {"script": text, "parameters": parameters, "error_action": "stop"}
        result = self.module("ansible.windows.win_powershell", arguments)
        if result.get("failed"):
            if not result.get("error"):
                # Only what the script itself says has surely happened on the host.
                raise Lost(_words(result))
            raise PatchError("The script %s failed on the host: %s" % (name, _error(result["error"][0])))
        try:
            return json.loads(result["result"]["json"])
        except (KeyError, TypeError, ValueError):
            raise Lost("the script %s gave no answer that could be read" % name)

    def module(self, name, arguments):
        # Ansible calls several broken connections failures of its own (ansible.windows#190).
        return self._careful(
            lambda: self._action._execute_module(module_name=name, module_args=dict(arguments), task_vars=self._vars)
        )

    def updates(self, arguments):
        return self._other("ansible.windows.win_updates", arguments)

    def reboot(self, seconds, message):
        delay = min(_GOING_DOWN, seconds)
        arguments = {"reboot_timeout": max(1, seconds - delay), "post_reboot_delay": delay, "msg": message}
        return self._other("ansible.windows.win_reboot", arguments)

    def _other(self, name, arguments):
        """Run another action on the same host over the same connection."""
        action, task = self._action, self._action._task.copy()
        task.args = dict(arguments)
        other = action._shared_loader_obj.action_loader.get(
            name,
            task=task,
            connection=action._connection,
            play_context=action._play_context,
            loader=action._loader,
            templar=action._templar,
            shared_loader_obj=action._shared_loader_obj,
        )
        result = self._careful(lambda: other.run(task_vars=self._vars))
        if result.get("failed"):
            self._connect_anew()  # these two keep to themselves what broke
        return result

    def _careful(self, act):
        try:
            result = act()
        except Exception as error:
            self._connect_anew()
            raise Lost(_cause(str(error)) or "%s: %s" % (type(error).__name__, error))
        if result.get("unreachable"):
            self._connect_anew()
            raise Lost(_words(result))
        return result

    def _connect_anew(self):
        """Give a connection up that broke: its keys and its shell are the old one's, and all it gets is HTTP 400."""
        try:
            self._action._connection.reset()
        except Exception as error:
            display.vv("connecting anew: %s" % error)  # the next who asks for something connects, or fails


def _cause(text):
    """Return what the system itself said of a connection that broke; the libraries between wrap it several times."""
    found = re.search(r"\[Errno -?\d+\] ([A-Za-z ]+)", text)
    return found[1].strip() if found else ""


def _words(result):
    said = [str(result.get(name) or "").strip() for name in ("msg", "module_stderr", "stderr")]
    told = next((one for one in said if one), "it said nothing")
    return _cause(told) or told[:800]


def _error(record):
    """Return the first line of an error as win_powershell tells it; its result has no other word."""
    message = (record.get("exception") or {}).get("message") or record.get("output") or "no reason was given"
    return str(message).strip().splitlines()[0][:500]


def _told(result, host, reports, **more):
    """Put the reports into a result: one as `report`, several as `results`."""
    told = dict(result, changed=host.changed, **more)
    if len(reports) == 1:
        told["report"] = reports[0]
    elif reports:
        told["results"] = [{"changed": False, "report": one} for one in reports]
    return told
