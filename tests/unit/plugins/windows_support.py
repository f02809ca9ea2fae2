"""The controller's half of Windows patching, by the names under which Ansible finds it, and a host that remembers."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

_FOLDER = str(Path(__file__).resolve().parents[3] / "plugins/module_utils")
IDS = {name: f"0000000{number}-1111-2222-3333-444455556666" for number, name in enumerate(("KB1", "KB2", "KB3", "KB4"))}
Row = dict[str, Any]


def load(name: str) -> Any:
    path = importlib.import_module("ansible.module_utils").__path__
    if _FOLDER not in path:
        path.append(_FOLDER)
    return importlib.import_module(f"ansible.module_utils.{name}")


def row(kb: str, **more: Any) -> Row:
    """Return an update as `search.ps1` tells it."""
    return {
        "id": IDS[kb], "revision": 1, "title": f"Update ({kb})", "kbs": [kb], "categories": ["Security Updates"],
        "severity": "", "advisories": [], "size": 1 << 20, "published": 0, "hidden": False, "installed": False,
        "reboot_required": False, "downloaded": True, "removable": True, "exclusive": False, **more,
    }  # fmt: skip


def item(kb: str, revision: int = 1) -> dict[str, Any]:
    return {"name": kb, "arch": "x64", "version": f"{IDS[kb]}:{revision}"}


def job(*items: dict[str, Any], **more: Any) -> Any:
    token = {"installation": "ours", "counter": 5}
    return load("patch_host.job").parse_job({"change": "CHG-1", "token": token, "items": list(items), **more})


class FakeHands:
    """A host whose updates install at once, and whose connection breaks when it is told to.

    `breaks` has the deeds that end as `Lost`, in order; `after` says whether they were done all the same.
    """

    def __init__(self, *rows: Row) -> None:
        self.rows = list(rows)
        self.files: dict[str, str] = {}
        self.journal = ""
        self.boots = 1
        self.busy = 0
        self.signs: list[str] = []
        self.deeds: list[str] = []
        self.breaks: list[str] = []
        self.holds = False
        self.search_with: Callable[[Row], Row] = lambda _: {"updates": self.rows}
        self.is_done_all_the_same = True
        self.answers: dict[str, Row] = {}
        self.services = [{"name": "App", "state": "running", "start": "auto", "trigger": False, "exit_code": 0}]
        self.agent = {"name": "wuauserv", "state": "stopped", "start": "manual", "trigger": False, "exit_code": 0}

    def script(self, name: str, parameters: dict[str, Any]) -> Row:
        return self._suffer(name, lambda: getattr(self, f"_{name.removesuffix('.ps1')}")(parameters))

    def module(self, name: str, arguments: Row) -> Row:
        return self._suffer(name.rpartition(".")[2], lambda: self._remove(arguments))

    def updates(self, arguments: Row) -> Row:
        return self._suffer("win_updates", lambda: self._install(arguments))

    def reboot(self, seconds: int, message: str) -> Row:
        return self._suffer("win_reboot", self._boot)

    def records(self) -> list[tuple[str, str, str]]:
        found = map(json.loads, self.journal.splitlines())
        return [(one["step"], one["event"], one["outcome"]) for one in found]

    def _suffer(self, deed: str, act: Any) -> Row:
        self.deeds.append(deed)
        breaks = bool(self.breaks) and self.breaks[0] == deed
        if breaks:
            self.breaks.pop(0)
        told: Row = act() if not breaks or self.is_done_all_the_same else {}
        if breaks:
            raise load("patch_windows.host").Lost(f"{deed}: connection reset by peer")
        return self.answers.get(deed, told)

    def _look(self, parameters: Row) -> Row:
        self.busy = max(0, self.busy - 1)
        point = f"points\\{parameters['Change']}\\"
        return {
            "time": 1000, "booted_at": 900, "boot_id": str(self.boots), "signs": self.signs,
            "os": {"build": "20348", "revision": 1, "release": "", "product_type": 3, "architecture": "AMD64"},
            "services": [*self.services, self.agent], "listening": [], "hotfixes": [], "events": [],
            "disks": [{"path": "C:\\", "total": 9 << 30, "free": 8 << 30}], "busy": bool(self.busy), "tasks": 0,
            "tasks_fresh": False, "server": "", "rivals": {"no_auto_update": None, "services": []},
            "journal": self.journal, "journal_bytes": len(self.journal), "claim": self.files.get("claim.json", ""),
            "held": self.files.get("rivals.json", ""),
            **{name: self.files.get(f"{point}{name}.json", "") for name in ("point", "before", "transaction")},
        }  # fmt: skip

    def _search(self, parameters: Row) -> Row:
        return self.search_with(parameters)

    def _record(self, parameters: Row) -> Row:
        work = json.loads(parameters["Work"])
        if parameters["Expected"] not in (-1, len(self.journal)):
            return {"refused": True, "bytes": len(self.journal)}
        self.files |= {one["name"]: one["text"] for one in work["write"]}
        for name in work["remove"]:
            self.files = {key: text for key, text in self.files.items() if not key.startswith(name)}
        self.journal += "".join(f"{line}\n" for line in work["append"])
        return {"refused": False, "bytes": len(self.journal)}

    def _rivals(self, parameters: Row) -> Row:
        was, self.holds = self.holds, parameters["Deed"] == "hold"
        return {"changed": was is not self.holds}

    def _install(self, arguments: Row) -> Row:
        updates = load("patch_windows.updates")
        taken = updates.accepted(arguments["accept_list"], updates.read_updates(self.rows))
        for one in self.rows:
            if one["id"] in taken and not one["installed"]:
                one["downloaded"] = True
                one["installed"] = arguments["state"] == "installed"
        return {"updates": {key: {} for key in taken}}

    def _remove(self, arguments: Row) -> Row:
        for one in self.rows:
            if arguments.get("hotfix_kb") in one["kbs"]:
                one["installed"] = False
        return {}

    def _boot(self) -> Row:
        self.boots += 1
        self.signs = []
        return {"rebooted": True}


class Clock:
    """Time that passes while somebody sleeps, and a second for each look at it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 0.1
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
