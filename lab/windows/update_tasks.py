"""The task that ansible.windows.win_updates leaves running on the host, and asks how far it is.

The module starts it, then polls its messages in further runs, then cancels it, which is also how it is told that its
last message arrived. It outlives every connection. The messages are those of the installed collection's
win_updates.ps1; tests/contract holds them against it.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lab.windows.updates import Event, State, Update

if TYPE_CHECKING:
    from lab.windows.host import WindowsHost

SUCCEEDED, FAILED, ABORTED = 2, 4, 5
CATEGORY_NAMES = {
    "CriticalUpdates": "Critical Updates",
    "DefinitionUpdates": "Definition Updates",
    "DeveloperKits": "Developer Kits",
    "FeaturePacks": "Feature Packs",
    "SecurityUpdates": "Security Updates",
    "ServicePacks": "Service Packs",
    "UpdateRollups": "Update Rollups",
}
_CANCELLED = -2145124341  # WU_E_CALL_CANCELLED
_SERVICE_DISABLED = ("Searching for updates: Exception from HRESULT: 0x80070422", -2147023838)
_NO_SERVER = ("Searching for updates: Exception from HRESULT: 0x8024402C", -2145107924)
_EXCLUSIVE = ("Installing updates: Exception from HRESULT: 0x80240019", -2145124327)
_POLL_SECONDS = 1.0


class UpdateTask:
    """One search, download and installation in the background."""

    def __init__(self, host: WindowsHost, arguments: Mapping[str, Any], *, check: bool) -> None:
        self.id = str(uuid.uuid4())
        self._host = host
        self._arguments = arguments
        self._check = check
        self._messages: list[dict[str, Any]] = []
        self._read = 0
        self._changed = threading.Condition()
        self._cancelled = threading.Event()
        self._killed = threading.Event()
        self._exit: dict[str, Any] = {
            "changed": False,
            "failed": False,
            "reboot_required": host.updates.need_reboot,
            "action": None,
            "exception": None,
        }

    @property
    def is_over(self) -> bool:
        return bool(self._messages) and self._messages[-1]["task"] == "exit"

    def start(self) -> None:
        threading.Thread(target=self._run, name=f"updates {self.id}", daemon=True).start()

    def poll(self) -> list[dict[str, Any]]:
        """Return the messages since the last time; waits for the first, then up to a second for more."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._messages) > self._read, timeout=300)
            self._changed.wait_for(lambda: self.is_over, timeout=_POLL_SECONDS)
            new, self._read = self._messages[self._read :], len(self._messages)
            return new

    def wait(self) -> list[dict[str, Any]]:
        """Wait for the end, as a background job of Ansible does; returns all messages."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_over)
            return list(self._messages)

    def cancel(self) -> None:
        """Stop between two updates; one that has begun is finished, as the Windows installer does."""
        if not self.is_over:
            self._host.journal.add("updates-cancelled")
        self._cancelled.set()

    def kill(self) -> None:
        """End at once: the host goes down. What was being installed stays as it was before."""
        self._killed.set()

    def _run(self) -> None:
        try:
            self._carry_out()
        except _Stopped as stopped:
            self._exit |= {"failed": True, "exception": stopped.told}
        self._tell("exit", self._exit)

    def _carry_out(self) -> None:
        service = self._host.machine.service("wuauserv")
        if service and service.start_mode == "disabled":
            raise _Stopped(*_SERVICE_DISABLED)
        if self._host.faults.strike("no-update-server"):
            raise _Stopped(*_NO_SERVER)
        found = self._host.updates.offered()
        selected, filtered = self._select(found)
        self._tell("search_result", {"updates": [_described(one) for one in found], "filtered": filtered})
        self._host.journal.add("updates-searched", kbs=[one.kb for one in found])
        if self._check or self._arguments["state"] == "searched" or not selected:
            self._exit["changed"] = bool(selected) and self._arguments["state"] != "searched"
            return
        if self._exit["reboot_required"]:
            raise _Stopped("A reboot is required before more updates can be installed")
        self._download(selected)
        if self._arguments["state"] == "installed":
            self._install(selected)

    def _select(self, found: Sequence[Update]) -> tuple[list[Update], list[dict[str, Any]]]:
        selected, filtered = [], []
        for update in found:
            reasons = self._reasons(update)
            if reasons:
                filtered.append({"id": update.id, "reasons": reasons})
            else:
                selected.append(update)
        return selected, filtered

    def _reasons(self, update: Update) -> list[str]:
        """Say why an update is left out, in the order of the real module."""
        accept, reject = self._arguments["accept_list"] or [], self._arguments["reject_list"] or []
        wanted = [CATEGORY_NAMES.get(name, name).lower() for name in self._arguments["category_names"] or []]
        has = {name.lower() for name in update.categories}
        return [
            reason
            for reason, applies in (
                ("accept_list", bool(accept) and not matches(update, accept)),
                ("reject_list", matches(update, reject)),
                ("hidden", update.hidden),
                ("category_names", bool(wanted) and "*" not in wanted and has.isdisjoint(wanted)),
                ("skip_optional", self._arguments["skip_optional"] and update.optional),
            )
            if applies
        ]

    def _download(self, selected: Sequence[Update]) -> None:
        missing = [update for update in selected if update.state is not State.DOWNLOADED]
        if not missing:
            return
        self._exit["changed"] = True
        info = []
        for update in missing:
            fails = update.outcome == "fails-to-download"
            with self._host.updates.lock:
                update.move(Event.FAILED if fails else Event.DOWNLOADED)
            info.append(_outcome(update, fails=fails))
        self._tell("download_result", {"info": info})
        self._host.journal.add("updates-downloaded", kbs=[update.kb for update in missing])
        if any(one["result_code"] != SUCCEEDED for one in info):
            raise _Stopped("Failed to download all updates - see updates for more information")

    def _install(self, selected: Sequence[Update]) -> None:
        if len(selected) > 1 and any(update.exclusive for update in selected):
            raise _Stopped(*_EXCLUSIVE)
        self._exit["changed"] = True
        info = []
        for index, update in enumerate(selected):
            if self._cancelled.is_set():
                raise _Stopped("Installing updates: The operation was cancelled", _CANCELLED)
            info.append(self._install_one(update))
            self._tell("install", _progress(update, index, len(selected)))
        self._tell("install_result", {"info": info})
        self._exit["reboot_required"] = self._host.updates.need_reboot
        if any(one["result_code"] != SUCCEEDED for one in info):
            raise _Stopped("Failed to install all updates - see updates for more information")

    def _install_one(self, update: Update) -> dict[str, Any]:
        self._host.journal.add("update-begun", kb=update.kb, id=update.id, revision=update.revision)
        if self._killed.wait(update.seconds):
            self._host.journal.add("update-interrupted", kb=update.kb, id=update.id)
            raise _Stopped("Installing updates: The operation was interrupted")
        fails = update.outcome == "fails"
        event = Event.INSTALLED_UNTIL_REBOOT if update.reboot else Event.INSTALLED
        with self._host.updates.lock:
            update.move(Event.FAILED if fails else event)
        self._host.journal.add("update-ended", kb=update.kb, id=update.id, state=update.state.value)
        if fails:
            words = f"Installation Failure: Windows failed to install {update.title}."
            self._host.machine.log("Error", "WindowsUpdateClient", 20, words)
        else:
            words = f"Installation Successful: Windows successfully installed {update.title}"
            self._host.machine.log("Information", "WindowsUpdateClient", 19, words)
        return {**_outcome(update, fails=fails), "reboot_required": update.reboot and not fails}

    def _tell(self, task: str, result: Mapping[str, Any]) -> None:
        with self._changed:
            self._messages.append({"task": task, "result": dict(result)})
            self._changed.notify_all()


class _Stopped(Exception):
    """The task ends as failed; `told` is what its last message says of it."""

    def __init__(self, message: str, hresult: int | None = None) -> None:
        super().__init__(message)
        self.told: dict[str, Any] = {"message": message, "exception": f"lab: {message}"}
        if hresult is not None:
            self.told["hresult"] = hresult


def matches(update: Update, patterns: Sequence[str]) -> bool:
    """Match title and KB as one text: PowerShell makes a text of a text plus a list."""
    return any(re.search(pattern, update.title + update.kb, re.IGNORECASE) for pattern in patterns)


def _outcome(update: Update, *, fails: bool) -> dict[str, Any]:
    return {"id": update.id, "result_code": FAILED if fails else SUCCEEDED, "hresult": update.hresult if fails else 0}


def _progress(update: Update, index: int, count: int) -> dict[str, Any]:
    progress = {
        "CurrentUpdateId": update.id,
        "CurrentUpdateIndex": index,
        "CurrentUpdatePercentComplete": 100,
        "PercentComplete": round(100 * (index + 1) / count),
    }
    return {"progress": progress, "result": {}}


def _described(update: Update) -> dict[str, Any]:
    """Describe an update as Format-UpdateInfo does."""
    return {
        "id": update.id,
        "title": update.title,
        "description": update.title,
        "kb": [update.kb],
        "type": "Software",
        "deployment_action": "Installation",
        "auto_select_on_websites": not update.optional,
        "browse_only": update.optional,
        "revision_number": update.revision,
        "categories": list(update.categories),
        "is_installed": False,
        "is_hidden": update.hidden,
        "is_present": False,
        "reboot_required": False,
        "impact": "RequiresExclusiveHandling" if update.exclusive else "Normal",
        "reboot_behaviour": "AlwaysRequiresReboot" if update.reboot else "NeverReboots",
        "is_beta": False,
        "is_downloaded": update.state is State.DOWNLOADED,
        "is_mandatory": False,
        "is_uninstallable": update.removable,
        "auto_selection": "LetWindowsUpdateDecide",
        "auto_download": "LetWindowsUpdateDecide",
    }
