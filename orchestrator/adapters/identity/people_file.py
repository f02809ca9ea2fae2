"""The site's people, read from ``people.yml`` with every mistake told at once.

The file is a list of people, or a mapping whose one key ``people`` holds that list::

    people:
      - name: anna                      # how commands and the audit trail call her
        full_name: Anna Berg
        roles: [engineer, approver]     # what she may do, and the seats from which she votes
        account: anna                   # operating-system account
        keys: [ssh-ed25519 AAAA… anna@desk]
        emails: [anna@example.org]      # under which she commits content
        acts_for: [boris]               # whom she stands in for
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orchestrator.adapters.identity.public_keys import bare, what_is_wrong_with
from orchestrator.domain.identity import People, Person
from orchestrator.errors import InvalidInput, Mistake, Unavailable

_TEXTS = ("name", "full_name", "account")
_LISTS = ("roles", "keys", "emails", "acts_for")
_TEXT_TAG = "tag:yaml.org,2002:str"

#: Names stand in signatures and commands: no spaces, no commas, no wildcards.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def read_people(file: Path) -> People:
    """Return everybody in the file. Raises InvalidInput with every mistake, Unavailable where it cannot be read."""
    page = _Page(file=str(file))
    root = _compose(file)
    entries = [page.entry(node) for node in page.items(root) if page.is_mapping(node)]
    _find_mistakes(page, entries)
    if page.mistakes:
        ordered = sorted(page.mistakes, key=lambda mistake: (mistake.line, mistake.column))
        raise InvalidInput(f"{file} does not say clearly who the site's people are.", ordered)
    return People(everyone=tuple(entry.person() for entry in entries))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One person's fields as nodes, so that mistakes know their place."""

    node: Node
    texts: dict[str, ScalarNode] = field(default_factory=dict)
    lists: dict[str, tuple[ScalarNode, ...]] = field(default_factory=dict)

    def text(self, name: str) -> str:
        return str(self.texts[name].value).strip() if name in self.texts else ""

    def values(self, name: str) -> tuple[str, ...]:
        return tuple(str(node.value).strip() for node in self.lists.get(name, ()))

    def person(self) -> Person:
        return Person(
            name=self.text("name"),
            full_name=self.text("full_name"),
            roles=frozenset(self.values("roles")),
            account=self.text("account"),
            keys=self.values("keys"),
            emails=self.values("emails"),
            acts_for=frozenset(self.values("acts_for")),
        )


@dataclass(slots=True, kw_only=True)
class _Page:
    """The file being read, and what was found wrong with it so far."""

    file: str
    mistakes: list[Mistake] = field(default_factory=list)

    def wrong(self, node: Node, message: str) -> None:
        mark = node.start_mark
        self.mistakes.append(Mistake(self.file, mark.line + 1, mark.column + 1, message))

    def items(self, root: Node | None) -> Sequence[Node]:
        """Return the nodes that should be people."""
        if root is None:
            self.mistakes.append(Mistake(self.file, 0, 0, "the file names nobody"))
            return ()
        if isinstance(root, MappingNode) and [key.value for key, _ in root.value] == ["people"]:
            root = root.value[0][1]
        if not isinstance(root, SequenceNode) or not root.value:
            self.wrong(root, "here should be a list of people, each with at least a name and roles")
            return ()
        return list(root.value)

    def is_mapping(self, node: Node) -> bool:
        if not isinstance(node, MappingNode):
            self.wrong(node, "a person is a mapping with at least name and roles")
        return isinstance(node, MappingNode)

    def entry(self, node: Node) -> _Entry:
        """Take a person's fields apart; what is unknown or of the wrong shape is told."""
        entry = _Entry(node=node)
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                self.wrong(key, f"{name} stands here a second time")
            elif name in _TEXTS and self._is_text(value, name):
                entry.texts[name] = value
            elif name in _LISTS:
                entry.lists[name] = tuple(self._texts_of(value, name))
            elif name not in _TEXTS:
                self.wrong(key, f"unknown field {name!r}{_nearest(name)}")
            seen.add(name)
        return entry

    def _texts_of(self, node: Node, name: str) -> list[ScalarNode]:
        if not isinstance(node, SequenceNode):
            self.wrong(node, f"{name} is a list: [one, two]")
            return []
        return [item for item in node.value if self._is_text(item, name)]

    def _is_text(self, node: Node, name: str) -> bool:
        is_text = isinstance(node, ScalarNode) and node.tag == _TEXT_TAG and bool(str(node.value).strip())
        if not is_text:
            self.wrong(node, f"{name} should be text here; put quotes around what YAML takes for something else")
        return is_text


def _compose(file: Path) -> Node | None:
    try:
        return yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        mistake = Mistake(str(file), *place, error.problem or "not YAML")
        raise InvalidInput(f"{file} cannot be read as YAML.", [mistake]) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read as YAML: {error}.") from error
    except OSError as error:
        raise Unavailable(
            f"who the site's people are stands in {file}, which cannot be read: {error.strerror}. "
            "Write it, or name the right one in orchestrator.toml."
        ) from error


def _find_mistakes(page: _Page, entries: Sequence[_Entry]) -> None:
    for entry in entries:
        _find_missing(page, entry)
        for node in entry.lists.get("keys", ()):
            if problem := what_is_wrong_with(str(node.value).strip()):
                page.wrong(node, problem)
    _find_doubles(page, "name", ((entry.text("name"), entry.texts.get("name")) for entry in entries))
    _find_doubles(page, "account", ((entry.text("account"), entry.texts.get("account")) for entry in entries))
    keys = (node for entry in entries for node in entry.lists.get("keys", ()))
    _find_doubles(page, "key", ((bare(str(node.value)), node) for node in keys))
    _find_strangers(page, entries)


def _find_missing(page: _Page, entry: _Entry) -> None:
    name = entry.texts.get("name")
    if name is None:
        page.wrong(entry.node, "this person has no name")
    elif not NAME.fullmatch(entry.text("name")):
        page.wrong(
            name, "a name is made of letters, digits, dots, dashes and underscores, and begins with none of . - _"
        )
    if not entry.lists.get("roles"):
        page.wrong(
            entry.node, f"{entry.text('name') or 'this person'} has no roles: roles: [auditor] may look at least"
        )


def _find_doubles(page: _Page, what: str, found: Iterable[tuple[str, ScalarNode | None]]) -> None:
    first: dict[str, ScalarNode] = {}
    for value, node in found:
        if node is None:
            continue
        if value in first:
            shown = value if what != "key" else f"{value[:24]}…"
            page.wrong(node, f"{what} {shown} stands in line {first[value].start_mark.line + 1} already")
        first.setdefault(value, node)


def _find_strangers(page: _Page, entries: Sequence[_Entry]) -> None:
    names = {entry.text("name") for entry in entries}
    for entry in entries:
        for node in entry.lists.get("acts_for", ()):
            if str(node.value).strip() not in names:
                page.wrong(node, f"acts_for names {node.value!r}, who is nobody in this file")


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, (*_TEXTS, *_LISTS), n=1)
    return f"; {near[0]} was meant?" if near else f"; there are {', '.join((*_TEXTS, *_LISTS))}"
