"""The demo where no Linux hosts can be booted: an account without root carries the Windows change, from end to end."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

TOP = Path(__file__).parents[2]
NOBODY = 65534
#: What an account needs to read for it.
NEEDED = (TOP / "script/demo", TOP / ".venv/bin/python", TOP / "demo/__main__.py")


@dataclass(frozen=True)
class Newcomer:
    """Somebody who runs the demo in a folder of their own, on a machine that does not let them boot Linux hosts."""

    prefix: tuple[str, ...]
    settings: Mapping[str, str]
    folder: Path

    def demo(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.prefix, str(TOP / "script/demo"), *words],
            env=os.environ | self.settings,
            cwd=TOP,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )


@pytest.fixture(scope="module")
def newcomer() -> Iterator[Newcomer]:
    """Somebody without root, where such an account can read this folder; else root, to whom the kernel refuses it."""
    with TemporaryDirectory(prefix="demo-") as home:
        folder = Path(home) / "demo"
        settings = {
            "HOME": home,
            "PATCH_DEMO_FOLDER": str(folder),
            "PATCH_DEMO_INSTANCE": f"demo-{os.getpid()}",
            "PATCH_DEMO_PREPARED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        prefix: tuple[str, ...] = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
        if os.geteuid() == 0 and all(may_read(prefix, file) for file in NEEDED):
            os.chown(home, NOBODY, NOBODY)
        else:
            prefix = ()
            settings["PATH"] = f"{refusing(Path(home) / 'bin', 'unshare')}:{os.environ['PATH']}"
        yield Newcomer(prefix, settings, folder)


def may_read(prefix: tuple[str, ...], file: Path) -> bool:
    return subprocess.run([*prefix, "test", "-r", str(file)], check=False).returncode == 0


def refusing(folder: Path, command: str) -> Path:
    """Make a folder in which a command is that refuses whatever it is asked."""
    folder.mkdir()
    (folder / command).write_text(f"#!{shutil.which('sh')}\necho not permitted >&2\nexit 1\n")
    (folder / command).chmod(0o755)
    return folder


def test_the_windows_change_is_carried_and_what_is_left_out_is_said(newcomer: Newcomer) -> None:
    told = newcomer.demo()
    assert told.returncode == 0, told.stdout[-3000:]
    (sentence,) = [line for line in told.stdout.splitlines() if "left out" in line]
    assert sentence.startswith("# Linux hosts are left out, and with them two of three changes: ")
    assert "CHG-0001 is closed" in told.stdout
    assert "CHG-0001.tar.gz: verified, signed by sha256:" in told.stdout
    assert "CHG-0001-forged.tar.gz does not hold" in told.stdout
    assert newcomer.demo("--down").returncode == 0
    assert not newcomer.folder.exists()
