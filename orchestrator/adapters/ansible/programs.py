"""Run Ansible's own commands and read what they say. Ansible itself is never imported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.domain.inventory import Secret
from orchestrator.errors import InvalidInput, Unavailable

#: An inventory that takes longer than this hangs on something outside (a cloud, a script).
PATIENCE = 300

#: The lines around a mistake that Ansible shows; the place itself ("Origin: FILE:LINE") is worth keeping.
_EXCERPT = re.compile(r"^(<<< caused by >>>|\s*\^|\d+ )")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command said."""

    rc: int
    out: str
    errors: str

    @property
    def reason(self) -> str:
        """Return what stood in the way, in a few lines."""
        lines = [line.strip() for line in self.errors.splitlines() if line.strip() and not _EXCERPT.match(line)]
        told = list(dict.fromkeys(line.removeprefix("[ERROR]: ").removeprefix("[WARNING]: ") for line in lines))
        return "\n".join(told[:8])[:800] or f"it ended with {self.rc} and said nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Ansible's commands, working in one folder with its ``ansible.cfg``.

    ``programs`` is where they are installed: beside the running Python, unless another installation is named.
    """

    folder: Path
    programs: Path = field(default_factory=lambda: Path(sys.executable).parent)
    vault_password: Secret = field(default_factory=lambda: Secret(""))

    def run(self, argv: Sequence[str], settings: Mapping[str, str] | None = None) -> Answer:
        """Run one command; ``settings`` are further variables of its environment.

        Raises Unavailable, and InvalidInput where the folder has no ``ansible.cfg``.
        """
        with readable(self.vault_password) as password_file:
            environment = _environment(self.folder, password_file, settings or {})
            program = str(self._program(argv[0]))
            try:
                done = subprocess.run(
                    [program, *argv[1:]],
                    cwd=self.folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=PATIENCE,
                    check=False,
                    pass_fds=[int(password_file.rpartition("/")[2])] if password_file else [],
                )
            except subprocess.TimeoutExpired as error:
                raise Unavailable(f"{argv[0]} did not end within {PATIENCE} s in {self.folder}.") from error
            except OSError as error:
                raise Unavailable(f"{argv[0]} could not be started: {error}.") from error
        return Answer(rc=done.returncode, out=_text(done.stdout), errors=_text(done.stderr))

    def _program(self, name: str) -> Path:
        program = self.programs / name
        if not program.exists():
            raise Unavailable(f"{name} is not installed in {self.programs}. Install ansible-core there.")
        return program


@contextmanager
def readable(secret: Secret) -> Iterator[str]:
    """Give a path under which a child process may read the secret while the block lasts; it lies in memory only.

    Returns "" for an empty secret. The descriptor in the path has to be passed on to the child.
    """
    if not secret:
        yield ""
        return
    descriptor = os.memfd_create("vault-password", 0)
    try:
        # Ansible runs a password file that is executable, and memory files are so from the start.
        os.fchmod(descriptor, 0o400)
        os.write(descriptor, secret.reveal().encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _environment(folder: Path, password_file: str, settings: Mapping[str, str]) -> dict[str, str]:
    # What the caller's shell says of Ansible must not decide: two people would get two answers.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    config = folder / "ansible.cfg"
    if not config.is_file():
        raise InvalidInput(
            f"{folder} has no ansible.cfg: Ansible would take the settings of whoever calls it. Add one."
        )
    given = {
        "LC_ALL": "C.UTF-8",
        "PYTHONWARNINGS": "ignore",
        "ANSIBLE_CONFIG": str(config),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_DEPRECATION_WARNINGS": "0",
        "ANSIBLE_LOCALHOST_WARNING": "0",
    }
    if password_file:
        given["ANSIBLE_VAULT_PASSWORD_FILE"] = password_file
    return inherited | given | dict(settings)


def _text(output: bytes) -> str:
    return _COLOUR.sub("", output.decode("utf-8", "replace"))
