"""A host with rpm that is not there: its programs answer what real ones said, and remember what they were asked."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

_FOLDER = str(Path(__file__).resolve().parents[3] / "plugins/module_utils")
Answer = str | tuple[int, str, str]


def load(name: str) -> ModuleType:
    """Import a module of `plugins/module_utils/patch_host` by the name that it has on a managed host."""
    path = importlib.import_module("ansible.module_utils").__path__
    if _FOLDER not in path:
        path.append(_FOLDER)
    return importlib.import_module(f"ansible.module_utils.patch_host.{name}")


class FakeShell:
    """Answers by the words of a command; the first entry whose words all occur wins. Anything else succeeds mutely."""

    def __init__(self, answers: dict[str, Answer | Callable[[list[str]], Answer]]) -> None:
        self.answers = answers
        self.calls: list[list[str]] = []
        self.inputs: list[str] = []

    def run(self, argv: Sequence[str], timeout: int | None = None, stdin: str = "", **_more: object) -> Any:
        self.calls.append(list(argv))
        self.inputs.append(stdin)
        rc, out, err = self._answer(list(argv))
        if argv[0] == "sh":  # a transaction writes to its log
            with Path(argv[3]).open("a") as log:
                log.write(out + err)
            out = err = ""
        return load("shell").Completed(rc, out, err)

    def has(self, program: str) -> bool:
        return any(program in words.split() for words in self.answers)

    def called(self, words: str) -> list[list[str]]:
        return [call for call in self.calls if set(words.split()) <= set(call)]

    def _answer(self, argv: list[str]) -> tuple[int, str, str]:
        for words, answer in self.answers.items():
            if set(words.split()) <= set(argv):
                found = answer(argv) if callable(answer) else answer
                return (0, found, "") if isinstance(found, str) else found
        return 0, "", ""


def database(*packages: str) -> str:
    """Write what `rpm -qa` says of packages given as "name version arch [digest] [installed at]"."""
    return "".join(_row(*package.split()) for package in packages)


def package_files(*packages: str) -> Callable[[list[str]], Answer]:
    """Answer `rpm -qp`: each file is the package of its name among `packages`, written as for `database`."""
    known = {}
    for package in packages:
        name, version, arch, *_rest = package.split()
        known[f"{name}-{version.rpartition(':')[2]}.{arch}.rpm"] = database(package)

    def answer(argv: list[str]) -> Answer:
        asked = [Path(word).name for word in argv if word.endswith(".rpm")]
        found = [known[name] for name in asked if name in known]
        return (0 if len(found) == len(asked) else 1), "".join(found), ""

    return answer


def item(name: str, version: str, before: str = "", arch: str = "noarch", sha256: str = "") -> Any:
    bare = version.rpartition(":")[2]
    return load("model").Item(name, arch, version, before, sha256, f"{name}-{bare}.{arch}.rpm", 0)


def secured(name: str, version: str, arch: str = "noarch") -> Any:
    bare = version.rpartition(":")[2]
    return load("model").Secured(name, arch, version, f"{name}-{bare}.{arch}.rpm", "", "cache")


def installed(name: str, version: str, arch: str = "noarch", *, auto: bool = False, held: bool = False) -> Any:
    return load("model").Package(name, arch, version, auto=auto, held=held)


def transitions(simulation: Any) -> list[str]:
    return [f"{one.name} {one.old or '-'} > {one.new or '-'}" for one in simulation.transitions]


def _row(name: str, version: str, arch: str, digest: str = "d0", installed_at: str = "0") -> str:
    epoch, colon, rest = version.partition(":")
    bare, _, release = (rest if colon else version).partition("-")
    return "\t".join([name, epoch if colon else "0", bare, release, arch, installed_at, digest]) + "\n"
