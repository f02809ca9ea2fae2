"""Commands that the lab runs on this machine."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.errors import LabError


def run(
    argv: Sequence[str],
    *,
    stdin: str = "",
    check: bool = True,
    timeout: float = 120,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run argv, and raise LabError with the command's own last words where it fails and check is set."""
    try:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=timeout, check=False, env=environment, cwd=cwd
        )
    except FileNotFoundError as missing:
        raise LabError(f"{argv[0]} is not installed; `python -m lab doctor` names the package.") from missing
    except subprocess.TimeoutExpired as late:
        raise LabError(f"`{' '.join(argv)}` did not end within {timeout:.0f} s.") from late
    if check and done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip())[-1500:]
        raise LabError(f"`{' '.join(argv)}` ended with {done.returncode}: {words}")
    return done


def detach(argv: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> None:
    """Start a process that outlives this one and is nobody's child, so that nobody has to wait for it."""
    with log.open("a") as output:
        subprocess.run(
            ["setsid", "--fork", *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            check=True,
        )


def ip(*lines: str) -> None:
    """Carry out several `ip` commands in one process, ending at the first that fails."""
    run(["ip", "-batch", "-"], stdin="\n".join(lines) + "\n")
