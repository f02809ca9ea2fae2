"""win_updates: start, poll and cancel a task that outlives the connection."""

from typing import Any

from lab.windows.arguments import ModuleFailed
from lab.windows.host import WindowsHost
from lab.windows.tasks import Result, Task, simulates
from lab.windows.update_tasks import SUCCEEDED, UpdateTask

PIPE, CANCEL = "Ansible.Windows.WinUpdates-", "Global\\Ansible.Windows.WinUpdates-"
_OPTIONS = (
    "accept_list category_names reject_list server_selection state skip_optional reboot reboot_timeout log_path"
    " _operation _operation_options"
)


@simulates("win_updates", _OPTIONS)
def win_updates(host: WindowsHost, task: Task) -> Result:
    more = task.get("_operation_options") or {}
    if task["_operation"] == "cancel":
        known = host.update_tasks.pop(str(more.get("cancel_id", "")).removeprefix(CANCEL), None)
        if known:
            known.cancel()
        return {}
    if task["_operation"] == "poll":
        asked = host.update_tasks.get(str(more["pipe_name"]).removeprefix(PIPE))
        if asked is None:
            raise ModuleFailed("Timed out waiting for server pipe to be available")
        return {"output": asked.poll()}
    started = UpdateTask(host, task.arguments, check=task.check)
    host.update_tasks[started.id] = started
    host.started_updates.append(started)
    started.start()
    if more.get("wait"):
        return _legacy(started.wait())
    return {
        "cancel_options": {"cancel_id": f"{CANCEL}{started.id}", "task_pid": 4242},
        "poll_options": {"pipe_name": f"{PIPE}{started.id}"},
    }


def _legacy(messages: list[dict[str, Any]]) -> Result:
    """Put all messages into one result, as the module does for a background job."""
    rows: dict[str, dict[str, Any]] = {}
    result: Result = {"rebooted": False}
    for message in messages:
        told = message["result"]
        if message["task"] == "search_result":
            reasons = {one["id"]: one["reasons"] for one in told["filtered"]}
            rows = {one["id"]: _row(one, reasons) for one in told["updates"]}
        elif message["task"] in ("download_result", "install_result"):
            done = message["task"].removesuffix("_result") + "ed"
            for one in told["info"]:
                succeeded = one["result_code"] == SUCCEEDED
                rows[one["id"]] |= {done: True} if succeeded else {"failure_hresult_code": one["hresult"]}
        elif message["task"] == "exit":
            result |= {name: told[name] for name in ("changed", "failed", "reboot_required")}
            result |= {"msg": told["exception"]["message"]} if told["exception"] else {}
    chosen = {key: row for key, row in rows.items() if "filtered_reasons" not in row}
    return {
        **result,
        "updates": chosen,
        "filtered_updates": {key: row for key, row in rows.items() if key not in chosen},
        "found_update_count": len(chosen),
        "failed_update_count": sum("failure_hresult_code" in row for row in chosen.values()),
        "installed_update_count": sum(bool(row["installed"]) for row in chosen.values()),
    }


def _row(told: dict[str, Any], reasons: dict[str, list[str]]) -> dict[str, Any]:
    row = {
        "id": told["id"],
        "title": told["title"],
        "kb": [kb.removeprefix("KB") for kb in told["kb"]],
        "categories": told["categories"],
        "downloaded": False,
        "installed": False,
    }
    return {**row, "filtered_reasons": reasons[told["id"]]} if told["id"] in reasons else row
