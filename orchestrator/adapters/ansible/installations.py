"""The Ansible installations of a controller: its own, and those in virtual environments that the site names."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import Unavailable

PLAYBOOK_PROGRAM = "ansible-playbook"

_PATIENCE = 60
#: Asked of the environment's own Python, without what this process or its caller would add to it.
_QUESTION = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in ("ansible-core", "ansible"):
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps({"versions": found, "search": [entry for entry in sys.path if entry]}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What an environment holds: ansible-core and the package ``ansible``, and where its Python looks for more."""

    versions: Mapping[str, str]
    search: tuple[str, ...]


def programs_of(installations: Mapping[str, Path], name: str) -> Path:
    """Return the folder with an installation's commands; "" is the controller's own. Raises Unavailable."""
    if not name:
        return Path(sys.executable).parent
    if name not in installations:
        there = ", ".join(sorted(installations)) or "none"
        raise Unavailable(
            f"there is no Ansible installation {name!r} in orchestrator.toml; there are: {there}. "
            f"Name its virtual environment under [ansible.installations.{name}]."
        )
    return installations[name] / "bin"


def installed(environment: Path) -> Installed:
    """Return what a virtual environment holds. Raises Unavailable, saying what to do, where it cannot run playbooks."""
    python, program = environment / "bin" / "python3", environment / "bin" / PLAYBOOK_PROGRAM
    if not python.exists():
        raise Unavailable(f"there is no Python in {environment}/bin. Make it: python3 -m venv {environment}")
    if not program.exists():
        raise Unavailable(
            f"{program} is not there. Install the version that these hosts need: "
            f"{environment}/bin/pip install 'ansible-core==VERSION'"
        )
    try:
        said = _ask([str(python), "-I", "-c", _QUESTION])
        found = json.loads(said)
        return Installed(versions=dict(found["versions"]), search=tuple(found["search"]))
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"{python} did not say what is installed beside it: {error!r}.") from error


def try_out(environment: Path) -> str:
    """Start an installation as a run would, and return its version. Raises Unavailable where it does not start."""
    said = _ask([str(environment / "bin" / PLAYBOOK_PROGRAM), "--version"])
    first = said.splitlines()[0] if said else ""
    return first.partition("[core ")[2].rstrip("]") or first


def _ask(argv: list[str]) -> str:
    try:
        done = subprocess.run(
            argv, cwd="/", env={"LC_ALL": "C.UTF-8", "HOME": str(Path.home())}, stdin=subprocess.DEVNULL,
            capture_output=True, timeout=_PATIENCE, check=False, text=True,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{argv[0]} cannot be used: {error}. Make its virtual environment anew.") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        raise Unavailable(f"{argv[0]} cannot be used: {last}. Make its virtual environment anew.")
    return done.stdout
