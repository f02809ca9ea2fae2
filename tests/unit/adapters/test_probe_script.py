"""The script itself, function by function, with real shells, real locks and tools of our own on the PATH."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.adapters.probes.findings import read, script
from orchestrator.domain.probe import Needs

LAST_LINE = 'look "$@" </dev/null\n'
SHELLS = [shell for shell in (["dash"], ["bash", "--posix"], ["busybox", "sh"]) if shutil.which(shell[0])]


def call(function: str, tools: Path | None = None, shell: list[str] | None = None) -> list[str]:
    text = script("", Needs(free=())).decode()
    assert text.endswith(LAST_LINE)
    path = f"{tools}:{os.environ['PATH']}" if tools else os.environ["PATH"]
    done = subprocess.run(
        [*(shell or ["sh"]), "-s"],
        input=text.removesuffix(LAST_LINE) + function + "\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={"PATH": path},
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def tool(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("shell", SHELLS, ids=[shell[0] for shell in SHELLS])
def test_every_shell_answers_to_the_end(shell: list[str]) -> None:
    text = script("none", Needs(free=(("/", 1), ("/no such path", 1))))
    done = subprocess.run([*shell, "-s"], input=text, capture_output=True, check=False, timeout=60)
    found = read(done.stdout.decode())
    assert (found.is_complete, found.uid, done.stderr) == (True, os.getuid(), b"")
    assert [space.path for space in found.spaces] == (["/"] if os.getuid() == 0 else [])


def test_free_space_is_that_of_the_file_system(tmp_path: Path) -> None:
    (line,) = [line for line in call(f"free_space '{tmp_path}' /nowhere") if line.startswith("free")]
    word, path, kib, _ = line.split("\t")
    assert (word, path) == ("free", str(tmp_path))
    assert abs(int(kib) - shutil.disk_usage(tmp_path).free // 1024) < 1 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/locks")
def test_a_lock_is_seen_while_somebody_holds_it(tmp_path: Path) -> None:
    file = tmp_path / "lock-frontend"
    with file.open("w") as held:
        assert call(f"kernel_locks '{file}' /nowhere") == []
        fcntl.lockf(held, fcntl.LOCK_EX)
        (line,) = call(f"kernel_locks '{file}'")
        assert line.split("\t")[:3] == ["lock", str(file), str(os.getpid())]
    assert call(f"kernel_locks '{file}'") == []


def test_a_pid_file_counts_only_while_its_process_lives(tmp_path: Path) -> None:
    living, dead = tmp_path / "a.pid", tmp_path / "b.pid"
    living.write_text(f"{os.getpid()}\n")
    dead.write_text("99999999\n")
    (line,) = call(f"pid_files '{living}' '{dead}' /nowhere")
    assert line.split("\t")[:3] == ["lock", str(living), str(os.getpid())]


def test_what_dpkg_finds_damaged_is_named(tmp_path: Path) -> None:
    tool(tmp_path, "dpkg", "echo 'The following packages are half configured:'; echo ' openssl   a library'; exit 1")
    assert call("dpkg_problems", tmp_path) == ["broken\tdpkg --audit\topenssl "]
    tool(tmp_path, "dpkg", "echo 'dpkg: error: parsing the status file' >&2; exit 2")
    assert call("dpkg_problems", tmp_path) == ["broken\tdpkg --audit\tdpkg: error: parsing the status file"]
    tool(tmp_path, "dpkg", "exit 0")
    assert call("dpkg_problems", tmp_path) == []


def test_what_rpm_finds_damaged_is_named(tmp_path: Path) -> None:
    tool(tmp_path, "rpmdb", "echo 'error: the database is malformed' >&2; exit 1")
    assert call("rpm_problems", tmp_path) == ["broken\trpmdb --verifydb\terror: the database is malformed"]
    tool(tmp_path, "rpmdb", "exit 0")
    assert call("rpm_problems", tmp_path) == []


def test_units_are_told_as_systemd_shows_them(tmp_path: Path) -> None:
    shown = r"printf 'Id=a.timer\nActiveState=active\nUnitFileState=enabled\n\nId=b\nActiveState=x\nUnitFileState=\n'"
    tool(tmp_path, "systemctl", shown)
    assert call("rival_updaters", tmp_path) == ["unit\ta.timer\tactive\tenabled", "unit\tb\tx\t"]


def test_a_host_without_systemd_is_asked_in_vain(tmp_path: Path) -> None:
    tool(tmp_path, "systemctl", "exit 1")
    assert call("rival_updaters", tmp_path) == []


def test_a_container_has_no_kernel_of_its_own(tmp_path: Path) -> None:
    tool(tmp_path, "systemd-detect-virt", "exit 0")
    assert [line for line in call("pending_reboot", tmp_path) if line.startswith("kernel")] == []
