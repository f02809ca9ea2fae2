"""YAML files read together with the place of every value, so that a mistake can be pointed at.

Only what YAML 1.2 and JSON agree on: texts, whole numbers, ``true``, ``false``, nothing, lists and mappings. Words such
as ``no``, times and fractions stay texts. Anchors, tags of one's own and duplicate keys are refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from orchestrator.domain.canonical import Plain
from orchestrator.errors import InvalidInput, Mistake

#: The way to a value from the top of a document: keys and indices.
Where: TypeAlias = tuple[str | int, ...]

LARGEST_FILE = 256 * 1024
DEEPEST = 40

_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\Z")
_BOOLEAN = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_NOTHING = re.compile(r"(?:~|null|Null|NULL|)\Z")
#: They would show the approver a text other than the one that is recorded.
_REORDERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in a file; lines and columns count from 1."""

    file: str
    line: int
    column: int

    def mistake(self, message: str) -> Mistake:
        """Return a mistake that stands here."""
        return Mistake(self.file, self.line, self.column, message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a file says and where: ``values`` holds the place of each value, ``keys`` that of the key above it."""

    file: str
    value: Plain
    values: Mapping[Where, Place]
    keys: Mapping[Where, Place]

    def place(self, where: Where) -> Place:
        """Return where a value stands; of one that is not there, where the nearest thing around it does."""
        while where and where not in self.values:
            where = where[:-1]
        return self.values[where]

    def place_of_key(self, where: Where) -> Place:
        """Return where the key of a value stands; of one that is not there, the nearest key around it."""
        while where and where not in self.keys:
            where = where[:-1]
        return self.keys.get(where) or self.values[()]


def read_document(file: Path) -> Document:
    """Read a YAML file. Raises InvalidInput with every mistake of its form."""
    name = str(file)
    node = _compose(_text(file), name)
    top = Place(file=name, line=1, column=1)
    if node is None:
        return Document(file=name, value=None, values={(): top}, keys={})
    reader = _Reader(name)
    value = reader.read(node, ())
    if reader.mistakes:
        raise invalid(name, reader.mistakes)
    return Document(file=name, value=value, values=reader.values, keys=reader.keys)


def invalid(file: str, mistakes: list[Mistake]) -> InvalidInput:
    """Return the error that tells all mistakes found on the way from one file, each once."""
    unique = list(dict.fromkeys(mistakes))
    count = "one mistake" if len(unique) == 1 else f"{len(unique)} mistakes"
    return InvalidInput(f"{file} cannot be used; correct {count}:", unique)


def _text(file: Path) -> str:
    name = str(file)
    try:
        if not file.is_file():
            raise InvalidInput(f"{name} cannot be read: there is no such file.")
        with file.open("rb") as stream:
            data = stream.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{name} cannot be read: {error}.") from error
    if len(data) > LARGEST_FILE:
        raise InvalidInput(f"{name} is larger than {LARGEST_FILE // 1024} KiB; no request or template needs that.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise invalid(name, [Mistake(name, line, 1, "this is not UTF-8; save the file in that encoding")]) from error


class _Loader(yaml.SafeLoader):
    """Composes nodes only; no object is ever constructed by PyYAML."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own form
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        mark: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(problem="anchors and aliases are not used here", problem_mark=mark)
        if self.depth >= DEEPEST:
            raise yaml.MarkedYAMLError(problem=f"nested deeper than {DEEPEST}", problem_mark=mark)
        self.depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)  # type: ignore[arg-type]
        self.depth -= 1
        return node


_Loader.add_implicit_resolver(_TAG + "bool", _BOOLEAN, list("tTfF"))
_Loader.add_implicit_resolver(_TAG + "int", _INTEGER, list("-0123456789"))
_Loader.add_implicit_resolver(_TAG + "null", _NOTHING, ["~", "n", "N", ""])


def _compose(text: str, name: str) -> yaml.Node | None:
    try:
        return _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = error.problem or error.context or "not YAML"
        place = Place(file=name, line=mark.line + 1 if mark else 1, column=mark.column + 1 if mark else 1)
        raise invalid(name, [place.mistake(f"this is not YAML: {said}")]) from error
    except yaml.reader.ReaderError as error:
        place = _place_at(text, error.position, name)
        raise invalid(name, [place.mistake("a character that no text file holds; take it out")]) from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        # PyYAML lets some of Python's own errors through, for "\UFFFFFFFF" for one.
        raise invalid(name, [Mistake(name, 1, 1, f"this is not YAML: {error}")]) from error


def _place_at(text: str, position: int, name: str) -> Place:
    before = text[:position]
    return Place(file=name, line=before.count("\n") + 1, column=position - before.rfind("\n"))


class _Reader:
    """Turns nodes into plain values and notes where they stood."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.values: dict[Where, Place] = {}
        self.keys: dict[Where, Place] = {}
        self.mistakes: list[Mistake] = []

    def read(self, node: yaml.Node, where: Where) -> Plain:
        self.values[where] = self._place(node)
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return {key: self.read(child, (*where, key)) for key, child in self._entries(node, where)}
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.read(child, (*where, index)) for index, child in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        self._refuse(node, f"the tag {node.tag!r} is not used here")
        return None

    def _entries(self, node: yaml.MappingNode, where: Where) -> Iterator[tuple[str, yaml.Node]]:
        seen: dict[str, Place] = {}
        for key_node, child in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(key_node, "a key is a plain text; a value that begins with {{ has to stand in quotes")
                continue
            key = key_node.value
            self._check_text(key_node)
            if key in seen:
                self._refuse(key_node, f"{key!r} is given twice, first in line {seen[key].line}")
                continue
            seen[key] = self.keys[(*where, key)] = self._place(key_node)
            yield key, child

    def _scalar(self, node: yaml.ScalarNode) -> Plain:
        text: str = node.value
        tag = node.tag.removeprefix(_TAG)
        if tag == "str":
            self._check_text(node)
            return text
        if tag == "null" and _NOTHING.match(text):
            return None
        if tag == "bool" and _BOOLEAN.match(text):
            return text.lower() == "true"
        if tag == "int" and _INTEGER.match(text):
            return int(text)
        self._refuse(node, f"{text[:40]!r} cannot carry the tag {node.tag!r}")
        return None

    def _check_text(self, node: yaml.ScalarNode) -> None:
        for character in node.value:
            if character in _REORDERING or (
                unicodedata.category(character) in {"Cc", "Cs"} and character not in "\n\t"
            ):
                self._refuse(node, f"the character U+{ord(character):04X} cannot be shown honestly; take it out")
                return

    def _refuse(self, node: yaml.Node, message: str) -> None:
        self.mistakes.append(self._place(node).mistake(message))

    def _place(self, node: yaml.Node) -> Place:
        return Place(file=self._name, line=node.start_mark.line + 1, column=node.start_mark.column + 1)
