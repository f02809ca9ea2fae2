"""The tables of a TOML file, taken value by value, so that every mistake is told with its line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TypeAlias

from orchestrator.domain.durations import length_of
from orchestrator.errors import Mistake
from orchestrator.settings.references import Reference, ReferenceKind

Keys: TypeAlias = tuple[str, ...]

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_HEADER = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*([A-Za-z0-9_."'-]+)\s*=""")
_SIZES = {"MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


class Reading:
    """What was found on the way: the mistakes, the line of each key, and the variables that references name."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.mistakes: list[Mistake] = []
        self.variables: set[str] = set()
        self.overridden: dict[Keys, str] = {}
        self._lines = _lines(file)

    def wrong(self, keys: Keys, said: str) -> None:
        """Note a mistake at a key, or at what overrode it."""
        told = f"{'.'.join(keys)} {said}".strip()
        if variable := self.overridden.get(keys):
            self.mistakes.append(Mistake(f"the environment variable {variable}", 0, 0, told))
            return
        line = next((self._lines[keys[:end]] for end in range(len(keys), 0, -1) if keys[:end] in self._lines), 0)
        self.mistakes.append(Mistake(str(self.file), line, 1 if line else 0, told))


class Table:
    """A table of the file. Each value is taken once; what is left at the end is unknown."""

    def __init__(self, values: dict[str, object], keys: Keys, reading: Reading) -> None:
        self._values, self._keys, self._reading = values, keys, reading
        self._known: dict[str, Table] = {}
        self._asked: set[str] = set()

    @property
    def key(self) -> str:
        """Return the name of the table."""
        return self._keys[-1]

    def left(self) -> tuple[str, ...]:
        """Return the keys that were not asked for yet."""
        return tuple(key for key in self._values if key not in self._asked)

    def wrong(self, key: str, said: str) -> None:
        """Note a mistake at a key, or at the table itself."""
        self._reading.wrong((*self._keys, key) if key else self._keys, said)

    def put(self, section: str, key: str, value: object, variable: str) -> None:
        """Set a value of a table from a variable."""
        table = self._values.setdefault(section, {})
        if isinstance(table, dict):
            table[key] = value
            self._reading.overridden[*self._keys, section, key] = variable

    def table(self, key: str) -> Table:
        """Return the table under a key, an empty one where there is none."""
        if key not in self._known:
            found = self._take(key)
            if found is not None and not isinstance(found, dict):
                self.wrong(key, f"is a table: write [{key}]")
            self._known[key] = Table(found if isinstance(found, dict) else {}, (*self._keys, key), self._reading)
        return self._known[key]

    def tables(self) -> Iterable[Table]:
        """Yield every table within this one, each under a name."""
        for key in self.left():
            if not _NAME.fullmatch(key):
                self.wrong(key, "is no name; use small letters, digits and -")
            yield self.table(key)

    def holds_a_table(self, key: str) -> bool:
        """Tell whether a table stands under the key."""
        return isinstance(self._values.get(key), dict)

    def text(self, key: str) -> str:
        """Return a text, "" where there is none."""
        found = self._take(key)
        if found is None:
            return ""
        if not isinstance(found, str) or not found.strip() or not found.isprintable():
            self.wrong(key, "has to be a text of one line")
            return ""
        return found

    def scalar(self, key: str) -> str:
        """Return a text, a number, or true or false, as a text."""
        found = self._take(key)
        if isinstance(found, bool):
            return str(found).lower()
        if isinstance(found, str | int):
            return str(found)
        self.wrong(key, "has to be a text, a whole number, true or false, or a reference to a secret")
        return ""

    def name(self, key: str) -> str:
        """Return a name that is required."""
        found = self.text(key)
        if not _NAME.fullmatch(found):
            self.wrong(key, 'has to be a name of small letters, digits and -, such as "example"')
            return "unnamed"
        return found

    def number(self, key: str, default: int, highest: int) -> int:
        """Return a whole number from 1."""
        found = self._take(key)
        if found is None:
            return default
        if isinstance(found, bool) or not isinstance(found, int) or not 1 <= found <= highest:
            self.wrong(key, f"has to be a whole number from 1 to {highest}")
            return default
        return found

    def choice(self, key: str, choices: tuple[str, ...], default: str) -> str:
        """Return one of the choices."""
        found = self.text(key) or default
        if found not in choices:
            self.wrong(key, f"is {found!r}, which is not one of {', '.join(choices)}")
            return default
        return found

    def seconds(self, key: str, default: int) -> int:
        """Return the seconds of a duration such as 10m."""
        found = self._take(key)
        if found is None:
            return default
        length = length_of(found) if isinstance(found, str) else None
        if length is None:
            self.wrong(key, 'has to be a duration with its unit, such as "90s", "10m" or "2h"')
            return default
        return int(length.total_seconds())

    def size(self, key: str) -> int:
        """Return the bytes of a size such as 20GiB, 0 where there is none."""
        found = self._take(key)
        if found is None:
            return 0
        match = re.fullmatch(r"([1-9][0-9]{0,5})([MGT]iB)", found) if isinstance(found, str) else None
        if match is None:
            self.wrong(key, 'has to be a size with its unit, such as "500MiB", "20GiB" or "2TiB"')
            return 0
        return int(match[1]) * _SIZES[match[2]]

    def words(self, key: str, *, required: bool = False) -> tuple[str, ...]:
        """Return a list of texts."""
        found = self._take(key)
        if found is None and not required:
            return ()
        if not isinstance(found, list) or not found or not all(isinstance(word, str) and word for word in found):
            self.wrong(key, 'has to be a list of texts, such as ["program", "argument"]')
            return ()
        return tuple(found)

    def path(self, key: str, *, outside: bool = False) -> Path | None:
        """Return a path, a relative one from the site's folder; ``outside``: it must not lie in that folder."""
        if not (found := self.text(key)):
            return None
        site = self._reading.file.parent
        path = Path(os.path.normpath(site / _expanded(found)))
        if outside and path.resolve().is_relative_to(site.resolve()):
            self.wrong(key, "lies in the site's own folder, which is shared and kept in git; choose a path outside")
        return path

    def reference(self, key: str) -> Reference | None:
        """Return a reference to a secret. What stands there instead is never repeated."""
        found = self._take(key)
        if found is None:
            return None
        reference = _reference(found, self._reading.file.parent)
        if reference is None:
            ways = '{env = "NAME"}, {file = "PATH"}, {command = ["PROGRAM", "ARGUMENT"]} or {prompt = "QUESTION"}'
            self.wrong(key, f"has to be {ways}")
        elif reference.kind is ReferenceKind.ENV:
            self._reading.variables.add(reference.target[0])
        return reference

    def refuse_the_rest(self) -> None:
        """Note every key that nothing asked for."""
        for key in self.left():
            self.wrong(key, f"is unknown{nearest(key, self._asked)}; there are {', '.join(sorted(self._asked))}")

    def _take(self, key: str) -> object:
        self._asked.add(key)
        return self._values.get(key)


def _reference(found: object, site: Path) -> Reference | None:
    if not isinstance(found, dict) or len(found) != 1:
        return None
    kind, target = next(iter(found.items()))
    if kind == "command" and isinstance(target, list) and target and all(isinstance(w, str) and w for w in target):
        return Reference(kind=ReferenceKind.COMMAND, target=tuple(target))
    if kind == "env" and isinstance(target, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", target):
        return Reference(kind=ReferenceKind.ENV, target=(target,))
    if kind == "file" and isinstance(target, str) and target.strip() and target.isprintable():
        return Reference(kind=ReferenceKind.FILE, target=(str(site / _expanded(target)),))
    if kind == "prompt" and isinstance(target, str) and target.strip() and target.isprintable():
        return Reference(kind=ReferenceKind.PROMPT, target=(target,))
    return None


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def _lines(file: Path) -> dict[Keys, int]:
    """Return the line of each table and key, as far as it can be seen without parsing; tomllib does not tell."""
    found: dict[Keys, int] = {}
    table: Keys = ()
    for number, line in enumerate(file.read_text(errors="replace").splitlines() if file.is_file() else (), start=1):
        if header := _HEADER.match(line):
            table = _split(header[1])
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            found.setdefault((*table, *_split(key[1])), number)
    return found


def _split(dotted: str) -> Keys:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a remark that suggests the known name most like this one, or an empty text."""
    close = get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
