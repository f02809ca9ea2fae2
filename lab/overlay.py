"""The file system of one lab host: the shared image below, the host's own changes above."""

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from lab.commands import run
from lab.errors import LabError


def prepare(folder: Path, disk: str) -> None:
    """Make the folders of a host; with a size (tmpfs(5), such as 300M) its changes have no more room than that."""
    changes = folder / "changes"
    for path in (changes, folder / "root", folder / "snapshots"):
        path.mkdir(parents=True, exist_ok=True)
    if disk and not changes.is_mount():
        run(["mount", "-t", "tmpfs", "-o", f"size={disk},mode=755", "patch-lab", str(changes)])
    (changes / "upper").mkdir(exist_ok=True)


def mount(folder: Path, layers: Sequence[Path]) -> Path:
    """Put the layers (the uppermost first) and the host's changes together; return where."""
    root, work = folder / "root", folder / "changes" / "work"
    if root.is_mount():
        return root
    # A work folder of an earlier mount bears the mark of `volatile` and would be refused.
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    lower = ":".join(str(layer) for layer in layers)
    # Volatile: fsync costs nothing. A lab host must outlive its own death, not the machine's.
    options = f"lowerdir={lower},upperdir={folder}/changes/upper,workdir={work},volatile"
    run(["mount", "-t", "overlay", "patch-lab", "-o", options, str(root)])
    return root


def unmount(folder: Path) -> None:
    """Take the host's file system apart; its changes stay."""
    _unmount(folder / "root")


def forget(folder: Path) -> None:
    """Take away everything of the host."""
    _unmount(folder / "root")
    _unmount(folder / "changes")
    if folder.is_dir():
        remove(folder)


def keep(folder: Path, label: str) -> None:
    """Copy the host's changes as a snapshot, replacing one of the same label."""
    snapshot = folder / "snapshots" / label
    part = snapshot.with_name(f".{label}.part")
    remove(part)
    run(["cp", "-a", "--reflink=auto", str(folder / "changes/upper"), str(part)])
    remove(snapshot)
    part.rename(snapshot)


def put_back(folder: Path, label: str) -> None:
    """Replace the changes of a host that is not mounted by a snapshot, which stays and can be put back again."""
    upper, fresh, old = (folder / "changes" / name for name in ("upper", "upper.new", "upper.old"))
    remove(fresh)
    if (folder / "changes").is_mount():
        # A disk of limited size has no room for both states at once.
        remove(upper)
        upper.mkdir()
    run(["cp", "-a", "--reflink=auto", str(folder / "snapshots" / label), str(fresh)])
    remove(old)
    upper.rename(old)
    fresh.rename(upper)
    remove(old)


def remove(tree: Path) -> None:
    if tree.is_dir():
        # Not shutil.rmtree: it stops at the first file that a dying host is just taking away itself.
        run(["rm", "-rf", "--one-file-system", str(tree)])


def _unmount(path: Path) -> None:
    """Unmount, with patience for the last process of a dying host to let go."""
    until = time.monotonic() + 5
    while os.path.ismount(path):
        done = run(["umount", str(path)], check=False)
        if done.returncode != 0 and time.monotonic() > until:
            raise LabError(f"{path} cannot be unmounted: {done.stderr.strip()}; see `fuser -vm {path}`.")
        if done.returncode != 0:
            time.sleep(0.05)
