"""What `script/demo` shows on which machine: Linux hosts where they can be booted, otherwise Windows hosts alone."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
#: What the script needs beside what a case says of the machine.
_TOOLS = ("bash", "date", "dirname", "grep", "paste", "sleep")
_ROOT = {"id": "echo 0", "unshare": "exit 0"}
_SOMEBODY = {"id": "echo 1000", "unshare": "exit 0"}
#: Lets what the script asks for be done; what it tidies up afterwards is root's in earnest, and is not touched.
_SUDO = 'case $1 in -v | find) exit 0 ;; esac; shift; exec "$@"'


@pytest.mark.parametrize("machine", [_ROOT, {**_SOMEBODY, "sudo": _SUDO}], ids=["root", "sudo"])
def test_linux_hosts_are_booted_where_root_may(machine: Mapping[str, str], tmp_path: Path) -> None:
    said = ask(machine, tmp_path)
    assert "Six Linux hosts are booted on this machine" in said
    assert "left out" not in said


@pytest.mark.parametrize(
    ("machine", "why"),
    [
        ({**_ROOT, "unshare": "echo unshare failed: Operation not permitted; exit 1"}, "as in a plain container"),
        (_SOMEBODY, "only root may boot them, and there is no sudo here"),
        ({**_SOMEBODY, "sudo": "exit 1"}, "only root may boot them, and sudo does not let you"),
        ({**_SOMEBODY, "sudo": _SUDO, "unshare": "exit 1"}, "as in a plain container"),
    ],
    ids=["container", "no sudo", "sudo refuses", "sudo in a container"],
)
def test_windows_hosts_are_shown_elsewhere_and_one_sentence_says_why(
    machine: Mapping[str, str], why: str, tmp_path: Path
) -> None:
    said = ask(machine, tmp_path)
    (sentence,) = [line for line in said.splitlines() if "left out" in line]
    assert sentence.startswith("# Linux hosts are left out, and with them two of three changes: ")
    assert why in sentence
    assert "Five simulated Windows hosts are there" in said


def ask(machine: Mapping[str, str], folder: Path) -> str:
    """Let the script say what it would show on a machine that has just these commands."""
    for tool in _TOOLS:
        (folder / tool).symlink_to(str(shutil.which(tool)))
    for name, does in machine.items():
        (folder / name).write_text(f"#!{shutil.which('bash')}\n{does}\n")
        (folder / name).chmod(0o755)
    environment = {**os.environ, "PATH": str(folder), "PATCH_DEMO_PREPARED": "1"}
    done = subprocess.run(
        [TOP / "script" / "demo", "--dry-run"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
