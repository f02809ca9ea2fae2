"""Who wrote a site's content last: so that an author does not approve what runs as his own."""

from __future__ import annotations

import pwd
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

#: The site may belong to another account; what Ansible runs from it is trusted no less than what git would.
_GIT = ("git", "-c", "safe.directory=*", "-c", "core.quotePath=false", "-c", "core.fsmonitor=false")
_MARK = "\x01"


def authors(site: Path, files: Mapping[str, Path]) -> tuple[str, ...]:
    """Return the e-mail addresses of the last commits that touched the files, and who owns what is not committed."""
    tracked = _names(site, "ls-files", "-z")
    changed = _names(site, "diff", "-z", "--name-only", "--no-renames", "--relative", "HEAD")
    if tracked is None or changed is None:
        return tuple(sorted(_owners(files.values())))
    committed = {path for path in files if path in tracked}
    uncommitted = [file for path, file in files.items() if path not in tracked or path in changed]
    return tuple(sorted(_committers(site, committed) | _owners(uncommitted)))


def _names(site: Path, *arguments: str) -> set[str] | None:
    """Return the paths that git lists, or None where the site is no repository with a commit in it."""
    try:
        done = subprocess.run([*_GIT, *arguments], cwd=site, capture_output=True, check=False)
    except OSError:
        return None
    return None if done.returncode else set(done.stdout.decode("utf-8", "replace").split("\0"))


def _committers(site: Path, wanted: set[str]) -> set[str]:
    # Newest first; -c shows what a merge itself changed. Deletions say nothing of the file that is there now.
    argv = [*_GIT, "log", "-c", f"--format={_MARK}%ae", "--name-only", "--no-renames", "--diff-filter=d", "--relative"]
    found, missing, author = set(), set(wanted), ""
    with subprocess.Popen(argv, cwd=site, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as log:
        for line in log.stdout or ():
            text = line.rstrip("\n")
            if text.startswith(_MARK):
                author = text.removeprefix(_MARK)
            elif text in missing:
                missing.discard(text)
                found.add(author)
                if not missing:
                    log.terminate()
                    break
    return found


def _owners(files: Iterable[Path]) -> set[str]:
    found = set()
    for number in {file.stat().st_uid for file in files}:
        name = str(number)
        with suppress(KeyError):
            name = pwd.getpwuid(number).pw_name
        found.add(name)
    return found
