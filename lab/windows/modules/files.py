"""win_copy, win_file, win_stat and slurp, on files that the host keeps in memory."""

import base64
import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping

from lab.windows.arguments import ModuleFailed
from lab.windows.host import WindowsHost
from lab.windows.tasks import Result, Task, simulates

_COPY_PRIVATE = "_copy_mode _original_basename files directories symlinks"


@simulates("win_copy", "dest src force backup content remote_src decrypt local_follow", private=_COPY_PRIVATE)
def win_copy(host: WindowsHost, task: Task) -> Result:
    return _COPY[task.get("_copy_mode") or "single"](host, task)


@simulates("win_file", "path state")
def win_file(host: WindowsHost, task: Task) -> Result:
    files, path, state = host.machine.files, str(task["path"]), task.get("state")
    is_there = files.read(path) is not None or files.is_folder(path)
    if state == "absent":
        return {"changed": is_there if task.check else files.remove(path)}
    if state == "directory":
        if files.read(path) is not None:
            raise ModuleFailed(f"path {path} is not a directory")
        return {"changed": not files.is_folder(path) if task.check else files.make_folder(path)}
    if state == "touch":
        if not is_there and not task.check:
            files.write(path, b"")
        return {"changed": True}
    if not is_there:
        raise ModuleFailed(f"path {path} will not be created")
    return {}


@simulates("win_stat", "path get_checksum get_size checksum_algorithm follow")
def win_stat(host: WindowsHost, task: Task) -> Result:
    files, path = host.machine.files, str(task["path"])
    content = files.read(path)
    if content is None and not files.is_folder(path):
        return {"stat": {"exists": False}}
    name = path.replace("/", "\\").rpartition("\\")[2]
    stat: Result = {"exists": True, "isdir": content is None, "isreg": content is not None, "path": path}
    if content is not None:
        stat |= {"filename": name, "extension": f".{name.rpartition('.')[2]}" if "." in name else ""}
        stat |= {"size": len(content)} if task["get_size"] else {}
        stat |= (
            {"checksum": hashlib.new(task["checksum_algorithm"], content).hexdigest()} if task["get_checksum"] else {}
        )
    return {"stat": stat}


@simulates("slurp", "src")
def slurp(host: WindowsHost, task: Task) -> Result:
    content = host.machine.files.read(str(task["src"]))
    if content is None:
        raise ModuleFailed(f"Path {task['src']} is not found.")
    return {"content": base64.b64encode(content).decode(), "encoding": "base64", "source": task["src"]}


def _query(host: WindowsHost, task: Task) -> Result:
    """Say which of the controller's files and folders are missing here or differ."""
    files, folder = host.machine.files, str(task["dest"]).rstrip("\\/")
    missing = []
    for one in task.get("files") or []:
        path = rf"{folder}\{one['dest']}"
        content = files.read(path)
        if content is None or (task["force"] and hashlib.sha1(content).hexdigest() != one["checksum"]):
            missing.append(one)
    folders = [one for one in task.get("directories") or [] if not files.is_folder(rf"{folder}\{one['dest']}")]
    return {"files": missing, "directories": folders, "symlinks": []}


def _single(host: WindowsHost, task: Task) -> Result:
    """Move a file that was sent to where it belongs."""
    return _place(host, task, host.machine.files.read(str(task["src"])), str(task.get("_original_basename") or ""))


def _remote(host: WindowsHost, task: Task) -> Result:
    source = str(task["src"])
    return _place(host, task, host.machine.files.read(source), source.replace("/", "\\").rpartition("\\")[2])


def _explode(host: WindowsHost, task: Task) -> Result:
    """Unpack the archive in which several files were sent."""
    archive = host.machine.files.read(str(task["src"]))
    if archive is None:
        raise ModuleFailed(f"Cannot unzip {task['src']}: it does not exist")
    folder = str(task["dest"]).rstrip("\\/")
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        for info in packed.infolist():
            # The controller packs names as base64, to keep what zip would change; that of a file may end with a slash.
            is_folder = len(info.filename) % 4 == 1
            name = base64.b64decode(info.filename[: -1 if is_folder else None]).decode()
            if is_folder:
                host.machine.files.make_folder(rf"{folder}\{name}")
            else:
                host.machine.files.write(rf"{folder}\{name}", packed.read(info))
    return {"changed": True}


def _place(host: WindowsHost, task: Task, content: bytes | None, name: str) -> Result:
    files, dest = host.machine.files, str(task["dest"])
    if content is None:
        raise ModuleFailed(f"Unable to copy '{task['src']}' to '{dest}': it does not exist")
    if dest.endswith(("\\", "/")) or files.is_folder(dest):
        dest = dest.rstrip("\\/") + f"\\{name}"
    changed = files.read(dest) != content and (task["force"] or files.read(dest) is None)
    if changed and not task.check:
        files.write(dest, content)
    told = {"dest": dest, "src": task.get("src"), "operation": "file_copy", "size": len(content)}
    return {"changed": changed, "checksum": hashlib.sha1(content).hexdigest(), **told}


_COPY: Mapping[str, Callable[[WindowsHost, Task], Result]] = {
    "query": _query,
    "single": _single,
    "remote": _remote,
    "explode": _explode,
}
