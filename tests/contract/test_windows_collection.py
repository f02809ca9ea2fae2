"""The lab's Windows hosts keep to what the installed ansible-core and ansible.windows document, and keep private.

A newer release that speaks differently fails here, and not where somebody patches hosts.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from ansible.executor import powershell
from ansible.executor.powershell import module_manifest
from ansible_collections.ansible.windows.plugins.action import win_updates
from ansible_collections.ansible.windows.plugins.plugin_utils import _reboot

import lab.windows.modules  # noqa: F401  (registers them)
from lab.windows import collection, manifest
from lab.windows.host import WindowsHost
from lab.windows.machine import Machine, usual_services
from lab.windows.manifest import FileCall, Job, ModuleCall
from lab.windows.modules import updating
from lab.windows.process import Inner
from lab.windows.scripts import Answer, Taught
from lab.windows.tasks import MODULES
from lab.windows.update_tasks import CATEGORY_NAMES, UpdateTask
from lab.windows.updates import State, Update, Updates

#: What every module may return, documented or not.
COMMON = {"changed", "failed", "invocation", "msg", "skipped", "rc"}
WRAPPERS = {
    "bootstrap_wrapper.ps1",
    "exec_wrapper.ps1",
    "module_wrapper.ps1",
    "async_wrapper.ps1",
    "become_wrapper.ps1",
}
SAMPLES: dict[str, list[dict[str, Any]]] = {
    "async_status": [{"jid": "1.4711", "_async_dir": "C:\\a"}, {"jid": "1.4711", "mode": "cleanup"}],
    "setup": [{}],
    "slurp": [{"src": r"C:\there.txt"}],
    "win_command": [{"_raw_params": "hostname"}],
    "win_copy": [{"content": "x", "dest": r"C:\copy.txt", "src": r"C:\there.txt", "_copy_mode": "single"}],
    "win_file": [{"path": r"C:\made", "state": "directory"}, {"path": r"C:\made", "state": "absent"}],
    "win_hotfix": [{"hotfix_kb": "KB1", "state": "absent"}, {"source": r"C:\kb2.msu", "state": "present"}],
    "win_package": [{"product_id": "app", "path": r"C:\app.msi"}, {"product_id": "app", "state": "absent"}],
    "win_ping": [{}],
    "win_powershell": [{"script": "hostname"}, {"script": "taught"}],
    "win_reg_stat": [{"path": r"HKLM:\SOFTWARE\Lab"}, {"path": r"HKLM:\SOFTWARE\Lab", "name": "n"}],
    "win_regedit": [{"path": r"HKLM:\SOFTWARE\Lab", "name": "n", "data": "1"}],
    "win_service": [{"name": "Spooler", "state": "restarted"}, {"name": "Lost"}],
    "win_service_info": [{"name": "Spooler"}],
    "win_shell": [{"_raw_params": "hostname"}],
    "win_stat": [{"path": r"C:\there.txt"}, {"path": r"C:\lost.txt"}],
    "win_updates": [
        {"state": "searched", "_operation_options": {"wait": True}, "_operation": "start"},
        {"category_names": ["*"], "_operation_options": {"wait": True}},
    ],
    "win_whoami": [{}],
}
#: The collection asks the clock in a way that Python 3.12 wants to drop; that is not for us to mend.
OLD_CLOCK = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
#: Options of which an older collection has one and a newer one the other: ansible.windows 3.4 gave win_shell a `cmd`.
RENAMED = {"win_shell": {"free_form", "cmd"}}
#: Return values that the real modules give and do not document.
UNDOCUMENTED = {
    "async_status": {"results_file"},
    "setup": {"ansible_facts"},
    "win_shell": {"stderr_lines"},
}


@pytest.fixture
def host() -> WindowsHost:
    machine = Machine(name="win1")
    machine.add_services(usual_services())
    machine.files.write(r"C:\there.txt", b"there")
    machine.registry.make(r"HKLM:\SOFTWARE\Lab").values["n"] = ("REG_SZ", "1")
    updates = Updates(
        [
            Update(kb="KB1", title="Old (KB1)", state=State.INSTALLED, reboot=False),
            Update(kb="KB2", title="New (KB2)", seconds=0, reboot=False),
            Update(kb="KB3", title="Bad (KB3)", outcome="fails", seconds=0),
        ]
    )
    taught = (Taught(match="taught", answer=Answer(output=[1], result={"a": 1})),)
    host = WindowsHost(machine, updates, taught=taught, reboot_seconds=0, settle_seconds=0)
    host.jobs["1.4711"] = {"started": True, "finished": True, "ansible_job_id": "1.4711", "results_file": "C:\\a"}
    return host


def task(host: WindowsHost, name: str, given: dict[str, Any]) -> dict[str, Any]:
    call = ModuleCall(name=f"ansible.windows.{name}", arguments=given, check=False, become_user="", job=None)
    return host.task(call, Inner())


# What is documented. ------------------------------------------------------------------------------------------


def test_every_simulated_module_has_samples() -> None:
    assert set(SAMPLES) == set(MODULES)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_simulated_options_are_options_of_the_real_module(name: str) -> None:
    module = MODULES[name]
    assert module.options - module.private - RENAMED.get(name, set()) <= set(collection.options(name))
    undocumented = {option for option in module.private if option not in collection.text(name)}
    assert undocumented - {"_raw_params"} == set(), "private options are named in the module's own text"


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_return_values_are_those_that_the_module_documents(host: WindowsHost, name: str) -> None:
    allowed = collection.returns(name) | COMMON | UNDOCUMENTED.get(name, set())
    for given in SAMPLES[name]:
        result = task(host, name, given)
        assert not result.get("failed") or name == "win_updates", result
        assert set(result) <= allowed


def test_facts_are_named_as_the_real_module_names_them(host: WindowsHost) -> None:
    facts = set(task(host, "setup", {})["ansible_facts"]) - {"gather_subset", "module_setup"}
    assert {fact for fact in facts if fact not in collection.text("setup")} == set()


# ansible-core's manifest: private. ----------------------------------------------------------------------------


def test_every_script_of_ansible_core_is_known() -> None:
    folder = Path(powershell.__path__[0])
    known = WRAPPERS | manifest.FILE_DEEDS | {"async_watchdog.ps1", "coverage_wrapper.ps1"}
    assert {path.name for path in folder.glob("*.ps1")} == known


@pytest.mark.parametrize("seconds", [0, 60])
def test_module_is_read_from_what_ansible_core_sends(seconds: int) -> None:
    name = "ansible_collections.ansible.windows.plugins.modules.win_ping"
    sent = module_manifest._create_powershell_wrapper(
        name=name,
        module_data=collection.text("win_ping").encode(),
        module_path="win_ping.ps1",
        module_args={"data": "here", "_ansible_check_mode": True},
        environment={"ANSIBLE_ASYNC_DIR": r"C:\jobs"},
        async_timeout=seconds,
        become_plugin=None,
        substyle="powershell",
        task_vars={},
        profile="legacy",
    )
    call = manifest.read(sent.decode())
    assert isinstance(call, ModuleCall)
    assert (call.name, call.arguments, call.check) == ("ansible.windows.win_ping", {"data": "here"}, True)
    assert call.job == (Job(id=call.job.id, folder=r"C:\jobs") if call.job and seconds else None)
    assert bool(call.job) == bool(seconds)


def test_file_is_read_from_what_ansible_core_sends(host: WindowsHost) -> None:
    script, sent = module_manifest._bootstrap_powershell_script(
        "winrm_put_file.ps1", {"Path": r"C:\sent.txt"}, has_input=True
    )
    assert manifest.is_bootstrap(script)
    call = manifest.read((sent + base64.b64encode(b"content") + b"\n").decode())
    assert isinstance(call, FileCall)
    assert (call.parameters["Path"], call.data) == (r"C:\sent.txt", b"content")


def test_another_manifest_is_refused_in_words(host: WindowsHost) -> None:
    script, sent = module_manifest._bootstrap_powershell_script("winrm_put_file.ps1", {})
    process = Sent(sent.decode().replace("winrm_put_file.ps1", "winrm_link_file.ps1"))
    assert host.run_script(script, process) == 1
    assert "the action 'winrm_link_file.ps1' is not known" in process.stderr
    assert host.journal.entries("unknown-manifest")


# win_reboot's scripts: private. -------------------------------------------------------------------------------


@OLD_CLOCK
def test_collections_own_reboot_knows_when_the_host_is_back(host: WindowsHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reboot.time, "sleep", lambda _: threading.Event().wait(0.02))
    before = host.machine.boot_time
    came = _reboot.reboot_host("win_reboot", Direct(host), pre_reboot_delay=0, reboot_timeout=10)
    assert (came["rebooted"], came["failed"], came.get("msg")) == (True, False, None)
    assert host.machine.boot_time > before
    assert host.journal.entries("unknown-script") == []


@OLD_CLOCK
def test_collections_own_reboot_takes_over_one_that_is_on_its_way(
    host: WindowsHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_reboot.time, "sleep", lambda _: threading.Event().wait(0.02))
    host.shut_down(600)
    came = _reboot.reboot_host("win_reboot", Direct(host), pre_reboot_delay=0, reboot_timeout=10)
    assert came["rebooted"], came
    assert host.journal.entries("reboot-aborted")


def test_every_script_that_the_collections_actions_keep_ready_is_known(host: WindowsHost) -> None:
    kept = {
        f"{module.__name__}.{name}": text
        for module in (_reboot, win_updates)
        for name, text in vars(module).items()
        if name.isupper() and name.endswith(("_CMD", "_COMMAND"))
    }
    assert kept
    for name, text in kept.items():
        assert host.run_script(text, Inner()) == 0, name


# win_updates' protocol: private. ------------------------------------------------------------------------------


@pytest.fixture
def messages(host: WindowsHost) -> list[dict[str, Any]]:
    arguments = {name: option.get("default") for name, option in collection.options("win_updates").items()}
    started = UpdateTask(host, {**arguments, "category_names": ["*"]}, check=False)
    started.start()
    return started.wait()


def test_messages_are_those_of_the_real_module(messages: list[dict[str, Any]]) -> None:
    text = collection.text("win_updates")
    written = set(re.findall(r"WriteProgress\('(\w+)'", text)) | {"install"}
    assert {message["task"] for message in messages} == written - {"started"}
    assert messages[-1]["task"] == "exit"
    described = re.search(r"\[Ordered\]@\{(.*?)\n        \}", text, re.DOTALL)
    assert described
    keys = set(re.findall(r"^\s+(\w+) = ", described.group(1), re.MULTILINE))
    assert set(messages[0]["result"]["updates"][0]) == keys
    assert json.loads(json.dumps(messages)) == messages


def test_collections_own_reader_understands_the_messages(messages: list[dict[str, Any]]) -> None:
    read = win_updates.UpdateResult()
    for message in messages:
        read.process_result(message["task"], message["result"], "win1")
    assert len(read.selected_updates) == 2
    assert {result["result_code"] for result in read.install_results.values()} == {2, 4}
    assert (read.changed, read.failed, read.reboot_required) == (True, True, False)
    assert read.msg == "Failed to install all updates - see updates for more information"


def test_updates_are_left_out_for_the_reasons_of_the_real_module(host: WindowsHost) -> None:
    text = collection.text("win_updates")
    reasons = re.findall(r"filteredReasons\.Add\('(\w+)'\)", text)
    update = Update(kb="KB9", title="Left out", categories=("Tools",), hidden=True, optional=True)
    arguments = {
        "accept_list": ["other"],
        "reject_list": ["KB9"],
        "category_names": ["SecurityUpdates"],
        "skip_optional": True,
    }
    host.updates.catalogue[:] = [update]
    started = UpdateTask(host, {**arguments, "state": "searched"}, check=False)
    started.start()
    assert started.wait()[0]["result"]["filtered"] == [{"id": update.id, "reasons": reasons}]
    assert dict(re.findall(r"^        ([A-Z]\w+) \{ '([\w ]+)' \}$", text, re.MULTILINE)) == CATEGORY_NAMES


def test_start_poll_and_cancel_hand_on_the_same_words(host: WindowsHost) -> None:
    text = collection.text("win_updates")
    begun = task(host, "win_updates", {"_operation": "start", "category_names": ["*"]})
    assert set(begun["poll_options"]) == {"pipe_name"}
    assert set(begun["cancel_options"]) == {"cancel_id", "task_pid"}
    for word in ("_operation_options.pipe_name", "$options.cancel_id", "$options.task_pid"):
        assert word in text
    assert f'"{updating.PIPE}$taskId"' in text
    assert f'"{updating.CANCEL}$taskId"' in text
    told: list[str] = []
    while "exit" not in told:
        polled = task(host, "win_updates", {"_operation": "poll", "_operation_options": begun["poll_options"]})
        told += [message["task"] for message in polled["output"]]
    task(host, "win_updates", {"_operation": "cancel", "_operation_options": begun["cancel_options"]})
    assert host.journal.entries("updates-cancelled") == [], "the last cancel only says that the end was heard"
    lost = task(host, "win_updates", {"_operation": "poll", "_operation_options": begun["poll_options"]})
    assert lost["msg"] in text


class Sent(Inner):
    """A process with something on its standard input."""

    def __init__(self, stdin: str) -> None:
        super().__init__()
        self._stdin = stdin

    def read_stdin(self) -> str:
        return self._stdin


class Direct:
    """The connection that the reboot code of the collection is given: straight into the host."""

    def __init__(self, host: WindowsHost) -> None:
        self._host = host

    def exec_command(self, command: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, str, str]:
        process = Inner()
        code = self._host.run_command(command, process)
        return code, process.stdout, process.stderr

    def get_option(self, name: str) -> object:
        raise KeyError(name)

    def close(self) -> None: ...

    def reset(self) -> None: ...
