"""win_service, win_service_info."""

from lab.windows.arguments import ModuleFailed
from lab.windows.host import WindowsHost
from lab.windows.machine import Service
from lab.windows.tasks import Result, Task, simulates


@simulates("win_service", "name state start_mode display_name path username")
def win_service(host: WindowsHost, task: Task) -> Result:
    name, wanted = str(task["name"]), task.get("state")
    with host.lock:
        service = host.machine.service(name)
        if service is None:
            return _missing(host, task, name)
        if wanted == "absent":
            if not task.check:
                del host.machine.services[service.name.lower()]
            return {"changed": True, "exists": False}
        before = (service.state, service.start_mode)
        after = (_state_after(service, wanted, task.get("start_mode")), task.get("start_mode") or service.start_mode)
        if not task.check:
            service.state, service.start_mode = after
        return {"changed": after != before or wanted == "restarted", **_described(host, service)}


@simulates("win_service_info", "name")
def win_service_info(host: WindowsHost, task: Task) -> Result:
    every = list(host.machine.services.values())
    wanted = str(task.get("name") or "")
    chosen = [one for one in every if not wanted or wanted.lower() in (one.name.lower(), one.display_name.lower())]
    rows = [
        {
            "name": one.name,
            "display_name": one.display_name,
            "state": one.state,
            "start_mode": one.start_mode,
            "username": one.username,
            "path": one.path,
            "dependencies": list(one.dependencies),
            "depended_by": _depended_by(host, one),
        }
        for one in chosen
    ]
    return {"exists": bool(rows), "services": rows}


def _missing(host: WindowsHost, task: Task, name: str) -> Result:
    if task.get("state") == "absent" or not (task.get("state") or task.get("start_mode") or task.get("path")):
        return {"exists": False}
    if not task.get("path"):
        raise ModuleFailed(f"Service '{name}' is not installed, need to set 'path' to create a new service")
    made = Service(
        name=name,
        display_name=str(task.get("display_name") or name),
        path=str(task["path"]),
        start_mode=str(task.get("start_mode") or "auto"),
        username=str(task.get("username") or "LocalSystem"),
        state="started" if task.get("state") in ("started", "restarted") else "stopped",
    )
    if not task.check:
        host.machine.add_services([made])
    return {"changed": True, **_described(host, made)}


def _state_after(service: Service, wanted: str | None, start_mode: str | None) -> str:
    if wanted in ("started", "restarted"):
        if (start_mode or service.start_mode) == "disabled":
            why = "The service cannot be started, either because it is disabled or because it has no enabled devices"
            raise ModuleFailed(f"Failed to start service '{service.name}': {why} associated with it")
        if service.fails_to_start:
            why = f"Cannot start service {service.name} on computer '.'."
            raise ModuleFailed(f"Failed to start service '{service.name}': {why}")
        return "started"
    return wanted or service.state


def _described(host: WindowsHost, service: Service) -> Result:
    """Describe a service; win_service says `running` where win_service_info says `started`."""
    return {
        "exists": True,
        "name": service.name,
        "display_name": service.display_name,
        "state": "running" if service.state == "started" else service.state,
        "start_mode": service.start_mode,
        "path": service.path,
        "description": "",
        "username": service.username,
        "desktop_interact": False,
        "dependencies": list(service.dependencies),
        "depended_by": _depended_by(host, service),
        "can_pause_and_continue": False,
    }


def _depended_by(host: WindowsHost, service: Service) -> list[str]:
    return [one.name for one in host.machine.services.values() if service.name in one.dependencies]
