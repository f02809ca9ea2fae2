"""The small detached process that keeps one lab host running: it starts the host again when the host asks for a reboot.

Run as a file of its own (`python -I -S supervisor.py FOLDER`), so that it stays small and outlives whoever started it.
FOLDER/start.json names the command, the control groups to make and the files to write.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ASKED_FOR_REBOOT = 133  # systemd-nspawn(1), "Exit status"


def main() -> None:
    folder = Path(sys.argv[1])
    plan = json.loads((folder / "start.json").read_text())
    pid = os.fork()
    if pid:
        _remember(folder / "supervisor.json", pid)
        os._exit(0)
    os.setsid()
    # Whoever started us reads our output until its end: let go of it.
    console = os.open(folder / "console.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number, opened in enumerate((os.open(os.devnull, os.O_RDONLY), console, console)):
        os.dup2(opened, number)
    for group in plan["control_groups"]:
        Path(group).mkdir(parents=True, exist_ok=True)
        (Path(group) / "cgroup.procs").write_text(str(os.getpid()))
    _keep_running(folder, plan["command"])


def _keep_running(folder: Path, command: list[str]) -> None:
    while True:
        host = subprocess.Popen(command)
        _remember(folder / "nspawn.json", host.pid)
        code = host.wait()
        (folder / "nspawn.json").unlink(missing_ok=True)
        if code != ASKED_FOR_REBOOT or (folder / "doomed").exists():
            break
    (folder / "doomed").unlink(missing_ok=True)
    (folder / "supervisor.json").unlink(missing_ok=True)


def _remember(path: Path, pid: int) -> None:
    started = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"pid": pid, "started": started}))
    part.rename(path)


if __name__ == "__main__":
    main()
