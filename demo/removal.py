"""Take away every trace of the demo: processes, hosts, site, state."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from demo.errors import DemoError
from demo.places import MARKER, Places, shown
from demo.stage import Stage
from demo.windows_hosts import keep_in_folder
from lab.instance import Lab

_COMMAND = "script/demo"
#: The variable by which Ansible's processes know their job.
_JOB = b"ORCHESTRATOR_JOB="


def remove(stage: Stage) -> None:
    """Remove the demo, however far it got; what is not there is no error."""
    places = stage.places
    _refuse_foreign(places)
    for pid in _carriers(places):
        stage.terminal.aside(f"ending process {pid}, which carries a change")
        _end(pid)
    if stage.has_linux:
        connections = _connections(places)
        stage.lab("destroy")
        for pid in connections:
            _end(pid)
    else:
        keep_in_folder(stage)
        stage.lab("windows", "down")
    if places.folder.exists():
        _make_writable(places.folder)
        shutil.rmtree(places.folder)
        stage.terminal.aside(f"removed {shown(places.folder)}")


def is_there(stage: Stage) -> bool:
    """Tell whether there is something of an earlier demo."""
    return stage.places.folder.exists() or (stage.has_linux and Lab(stage.places.instance).folder.exists())


def _refuse_foreign(places: Places) -> None:
    folder = places.folder
    if folder.exists() and os.geteuid() not in (0, folder.stat().st_uid):
        raise DemoError(f"{folder} was made by another account: run {_COMMAND} --down as that one, or as root.")
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise DemoError(f"{folder} holds something that the demo has not made: name another one in PATCH_DEMO_FOLDER.")


def _carriers(places: Places) -> list[int]:
    """Find the processes that carry the site's changes, and Ansible's below them."""
    site, jobs = os.fsencode(places.site), os.fsencode(places.state / "jobs")
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            words, variables = _read(folder / "cmdline"), _read(folder / "environ")
            ours = any(word.startswith(b"orchestrator") for word in words) and (
                site in words or any(word.startswith(jobs) for word in words)
            )
            if ours or any(variable.startswith(_JOB + jobs) for variable in variables):
                found.append(int(folder.name))
    return found


def _connections(places: Places) -> list[int]:
    """Find SSH's own background processes that hold connections to the hosts open for the next command."""
    found = set()
    for host in Lab(places.instance).hosts():
        words = ["ss", "--no-header", "--tcp", "--numeric", "--processes", "dst", host.address]
        listed = subprocess.run(words, capture_output=True, text=True, check=False).stdout
        for part in listed.split('("ssh",pid=')[1:]:
            found.add(int(part.partition(",")[0]))
    return sorted(found)


def _make_writable(top: Path) -> None:
    """Open what was frozen: of a read-only folder nobody but root can remove anything."""
    for folder, _, _ in os.walk(top):
        Path(folder).chmod(0o700)


def _read(file: Path) -> list[bytes]:
    try:
        return file.read_bytes().split(b"\0")
    except OSError:
        return []


def _end(pid: int) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, number)
            for _ in range(20):
                os.kill(pid, 0)
                time.sleep(0.05)
        except ProcessLookupError:
            return
