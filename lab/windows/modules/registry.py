"""win_reg_stat and win_regedit, with the keys by which Windows shows that a reboot is pending."""

from typing import Any

from lab.windows.arguments import ModuleFailed
from lab.windows.host import WindowsHost
from lab.windows.machine import RegistryKey
from lab.windows.tasks import Result, Task, simulates

_WINDOWS = r"HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion"
REBOOT_KEYS = (
    rf"{_WINDOWS}\Component Based Servicing\RebootPending",
    rf"{_WINDOWS}\WindowsUpdate\Auto Update\RebootRequired",
)
VERSION_KEY = r"HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion"
_HIVES = ("HKCC:\\", "HKCR:\\", "HKCU:\\", "HKLM:\\", "HKU:\\")
_TYPES = {
    "none": "REG_NONE",
    "binary": "REG_BINARY",
    "dword": "REG_DWORD",
    "expandstring": "REG_EXPAND_SZ",
    "multistring": "REG_MULTI_SZ",
    "string": "REG_SZ",
    "qword": "REG_QWORD",
}


@simulates("win_reg_stat", "path name")
def win_reg_stat(host: WindowsHost, task: Task) -> Result:
    path = _path(task)
    key = _find(host, path)
    if key is None:
        return {"exists": False}
    if task.get("name") is None:
        properties = {name: _value(*kept) for name, kept in key.values.items()}
        return {"exists": True, "properties": properties, "sub_keys": host.machine.registry.keys_below(path)}
    kept = key.values.get(str(task["name"]))
    return {"exists": True, **_value(*kept)} if kept else {"exists": False}


@simulates("win_regedit", "path name data type state delete_key")
def win_regedit(host: WindowsHost, task: Task) -> Result:
    registry, path, name = host.machine.registry, _path(task), task.get("name")
    with host.lock:
        key = registry.find(path)
        if task["state"] == "absent":
            return _remove(host, task, path, key)
        kind, data = _TYPES[task["type"]], _data(task)
        old = key.values.get(str(name or "")) if key else None
        sets_value = name is not None or data is not None
        result: Result = {
            "data_changed": bool(old and old[1] != data),
            "data_type_changed": bool(old and old[0] != kind),
        }
        if not task.check:
            made = registry.make(path)
            if sets_value:
                made.values[str(name or "")] = (kind, data)
        return {"changed": key is None or (sets_value and old != (kind, data)), **result}


def _remove(host: WindowsHost, task: Task, path: str, key: RegistryKey | None) -> Result:
    result: Result = {"data_changed": False, "data_type_changed": False, "changed": False}
    name = task.get("name")
    if key is None:
        return result
    if name is None and task["delete_key"]:
        if not task.check:
            host.machine.registry.remove(path)
        return {**result, "changed": True}
    if str(name or "") not in key.values:
        return result
    if not task.check:
        del key.values[str(name or "")]
    return {**result, "changed": True}


def _find(host: WindowsHost, path: str) -> RegistryKey | None:
    """Find a key, those included that Windows derives from the state of its updates."""
    if host.updates.need_reboot and path.lower() in (one.lower() for one in REBOOT_KEYS):
        return RegistryKey(path=path)
    if path.lower() == VERSION_KEY.lower():
        build = host.updates.build(host.machine.revision)
        return RegistryKey(
            path=path,
            values={
                "CurrentBuild": ("REG_SZ", str(host.machine.build)),
                "UBR": ("REG_DWORD", build),
                "ProductName": ("REG_SZ", host.machine.caption.removeprefix("Microsoft ")),
                **(found.values if (found := host.machine.registry.find(path)) else {}),
            },
        )
    return host.machine.registry.find(path)


def _path(task: Task) -> str:
    path = str(task["path"]).rstrip("\\")
    if not path.upper().startswith(_HIVES):
        raise ModuleFailed(f"path: {path} is not a valid registry path, see module documentation for examples.")
    return path


def _data(task: Task) -> Any:
    data = task.get("data")
    try:
        return int(str(data), 0) if task["type"] in ("dword", "qword") and data is not None else data
    except ValueError:
        raise ModuleFailed(f"failed to parse registry data type dword with data {data!r}") from None


def _value(kind: str, data: object) -> dict[str, object]:
    return {"type": kind, "value": data, "raw_value": data}
