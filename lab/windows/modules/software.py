"""win_hotfix and win_package."""

import re

from lab.windows.arguments import ModuleFailed
from lab.windows.host import WindowsHost
from lab.windows.tasks import Result, Task, simulates
from lab.windows.updates import Event, State, Update

_NOT_ALLOWED = "the update cannot be uninstalled: 0x800F0825 (CBS_E_CANNOT_UNINSTALL)"


@simulates("win_hotfix", "hotfix_identifier hotfix_kb source state")
def win_hotfix(host: WindowsHost, task: Task) -> Result:
    with host.updates.lock:
        return _remove(host, task) if task["state"] == "absent" else _add(host, task)


@simulates("win_package", "path product_id state arguments expected_return_code provider creates_version log_path")
def win_package(host: WindowsHost, task: Task) -> Result:
    """Install or remove by product id; what a file on a share holds, a scenario says beforehand (packages:)."""
    product = str(task.get("product_id") or task.get("path") or "")
    if not product:
        raise ModuleFailed("state is absent but any of the following are missing: path, product_id")
    installed = host.machine.packages
    wanted = task["state"] == "present"
    if (product in installed) == wanted:
        return {"reboot_required": False}
    if not task.check:
        if wanted:
            installed[product] = str(task.get("path") or "")
        else:
            del installed[product]
        host.journal.add("package", product=product, state=task["state"])
    return {"changed": True, "rc": 0, "reboot_required": False}


def _remove(host: WindowsHost, task: Task) -> Result:
    kb = _asked(task, "either hotfix_identifier or hotfix_kb needs to be set when state=absent")
    update = host.updates.of(kb)
    if update is None or update.state not in (State.INSTALLED, State.REMOVAL_PENDING):
        return {"reboot_required": False}
    if update.state is State.REMOVAL_PENDING:
        return {"reboot_required": True, "identifier": identifier(update), "kb": update.kb}
    if not task.check:
        if not update.removable:
            raise ModuleFailed(f"failed to remove package {identifier(update)}: {_NOT_ALLOWED}")
        update.move(Event.REMOVED_UNTIL_REBOOT if update.reboot else Event.REMOVED)
        host.journal.add("update-removed", kb=update.kb, state=update.state.value)
    told = {"identifier": identifier(update), "kb": update.kb}
    return {"changed": True, "reboot_required": update.reboot and not task.check, **told}


def _add(host: WindowsHost, task: Task) -> Result:
    source = str(task.get("source") or "")
    if not source:
        raise ModuleFailed("source must be set when state=present")
    found = re.search(r"(?i)kb\d+", source)
    update = host.updates.of(found.group(0)) if found else None
    if update is None:
        raise ModuleFailed(f"the path set for source {source} does not exist or is not a file")
    told = {
        "identifier": identifier(update),
        "identifiers": [identifier(update)],
        "kb": update.kb,
        "kbs": [update.kb],
    }
    if update.state is State.PENDING_REBOOT:
        return {"reboot_required": True, **told}
    if update.state is State.INSTALLED:
        return {"reboot_required": False, **told}
    if not task.check:
        if update.outcome == "fails":
            raise ModuleFailed(f"failed to add windows package from path {source}: 0x{update.hresult & 0xFFFFFFFF:08x}")
        update.move(Event.INSTALLED_UNTIL_REBOOT if update.reboot else Event.INSTALLED)
        host.journal.add("update-ended", kb=update.kb, id=update.id, state=update.state.value)
    return {"changed": True, "reboot_required": update.reboot and not task.check, **told}


def identifier(update: Update) -> str:
    """Name the package as DISM does."""
    return f"Package_for_{update.kb}~31bf3856ad364e35~amd64~~20348.{update.build}.1.{update.revision}"


def _asked(task: Task, otherwise: str) -> str:
    if task.get("hotfix_kb"):
        return str(task["hotfix_kb"])
    found = re.match(r"Package_for_(KB\d+)~", str(task.get("hotfix_identifier") or ""))
    if not found:
        raise ModuleFailed(otherwise)
    return found.group(1)
