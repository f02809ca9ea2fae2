"""Find the secret values in a site's content, so that they can be kept out of everything that is written.

What is found stays in memory. A value that the vault password does not open is an error: Ansible might be able to use
it all the same, and it would then appear in the records.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from orchestrator.adapters.ansible.lookups import Lookup, lookup_in
from orchestrator.adapters.ansible.vaulted import is_vaulted, opened
from orchestrator.domain.inventory import Secret
from orchestrator.errors import InvalidInput, Mistake

_LARGEST_FILE = 4_000_000
_VAULTED = b"$ANSIBLE_VAULT;"
_PLAIN_PASSWORD = re.compile(rb"ansible_[a-z0-9_]*pass(?:word|wd)?\b")
_PASSWORD_NAME = re.compile(r"ansible_[a-z0-9_]*pass(?:word|wd)?")
_INI_PASSWORD = re.compile(r"ansible_[a-z0-9_]*pass(?:word|wd)?\s*=\s*(\"[^\"]*\"|'[^']*'|\S+)")
_INI_VALUE = re.compile(r"=\s*(\"{{[^\n]*}}\"|'{{[^\n]*}}'|{{[^\n]*}})\s*$", re.MULTILINE)
_SECRET_NAME = re.compile(r"pass|secret|token|credential|key|\bpin\b", re.IGNORECASE)
_FILE_NAME = re.compile(r"_(file|path|dir)$")
_STRING, _TAGS_OF_VAULT = "tag:yaml.org,2002:str", ("!vault", "!vault-encrypted")
_NEVER_SECRET = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:null")


def harvest(root: Path, password: Secret) -> frozenset[str]:
    """Return every vaulted value under ``root``, and what stands openly under the names that Ansible has for passwords.

    Without a password vaulted values are left out: then Ansible cannot read them either. Raises InvalidInput, naming
    every file and line, where a value cannot be opened with the password.
    """
    search = _Search(root=root, password=password)
    for file in _text_files(root):
        search.look_into(file)
    if search.mistakes:
        raise InvalidInput(
            "The content holds vaulted values that could not be kept out of the records. "
            "Encrypt them with the vault password of this site, or take them out.",
            search.mistakes,
        )
    return frozenset(search.found - {""})


def lookups(root: Path, password: Secret) -> frozenset[Lookup]:
    """Return where the inventories under ``root`` say that values are kept elsewhere, also within vaulted files."""
    found: set[Lookup] = set()
    for file in _text_files(root / "inventories"):
        text = file.read_bytes().decode("utf-8", "replace")
        if is_vaulted(text):
            # One that does not open with the password is told by harvest, with its place.
            with suppress(InvalidInput):
                found.update(lookups_of(opened(text, password).reveal()))
        elif "lookup" in text:
            found.update(lookups_of(text))
    return frozenset(found)


def lookups_of(text: str) -> Iterator[Lookup]:
    """Give where the values of one file are kept elsewhere."""
    values = [node.value for _, node in _leaves(text)] + [value.strip("\"'") for value in _INI_VALUE.findall(text)]
    for value in values:
        with suppress(InvalidInput):
            if lookup := lookup_in(value):
                yield lookup


@dataclass(slots=True, kw_only=True)
class _Search:
    root: Path
    password: Secret
    found: set[str] = field(default_factory=set)
    mistakes: list[Mistake] = field(default_factory=list)

    def look_into(self, file: Path) -> None:
        content = file.read_bytes()
        if content.lstrip().startswith(_VAULTED):
            self._whole_file(file, content.decode("utf-8", "replace"))
        elif _VAULTED in content or _PLAIN_PASSWORD.search(content):
            self._single_values(file, content.decode("utf-8", "replace"))

    def _whole_file(self, file: Path, text: str) -> None:
        plain = self._open(file, 1, text)
        values = list(_leaves(plain))
        if not values:
            # A key or a certificate: the file is the secret.
            self.found.add(plain)
        for name, node in values:
            if node.tag in _TAGS_OF_VAULT:
                self.found.add(self._open(file, 1, node.value))
            elif _is_secret(name, node):
                self.found.add(node.value)

    def _single_values(self, file: Path, text: str) -> None:
        for name, node in _leaves(text):
            if node.tag in _TAGS_OF_VAULT:
                self.found.add(self._open(file, node.start_mark.line + 1, node.value))
            elif _PASSWORD_NAME.fullmatch(name) and not _is_expression(node.value):
                self.found.add(node.value)
        self.found.update(
            value.strip("\"'") for value in _INI_PASSWORD.findall(text) if not _is_expression(value.strip("\"'"))
        )

    def _open(self, file: Path, line: int, text: str) -> str:
        if not self.password or not is_vaulted(text):
            return ""
        try:
            return opened(text, self.password).reveal()
        except InvalidInput as error:
            self.mistakes.append(Mistake(str(file.relative_to(self.root)), line, 1, str(error)))
            return ""


def _text_files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in (".git", "__pycache__"))
        for name in sorted(names):
            file = Path(folder, name)
            if file.is_file() and file.stat().st_size <= _LARGEST_FILE:
                yield file


def _leaves(text: str) -> Iterator[tuple[str, yaml.ScalarNode]]:
    """Give each single value of the YAML documents in a text with the name it stands under; none if it is no YAML."""
    try:
        documents = list(yaml.compose_all(text, Loader=yaml.CSafeLoader))
    except yaml.YAMLError:
        return
    for document in documents:
        if isinstance(document, yaml.MappingNode | yaml.SequenceNode):
            yield from _below("", document)


def _below(name: str, node: yaml.Node) -> Iterator[tuple[str, yaml.ScalarNode]]:
    if isinstance(node, yaml.ScalarNode):
        yield name, node
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _below(str(key.value) if isinstance(key, yaml.ScalarNode) else name, value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _below(name, item)


def _is_secret(name: str, node: yaml.ScalarNode) -> bool:
    """Tell whether a value of a vaulted file is to be masked: everything but what would mask half of every record.

    Numbers only under a name that says so (a port is none); Ansible's own variables, such as a user or an
    interpreter, only where they are passwords.
    """
    named = bool(_SECRET_NAME.search(name)) and not _FILE_NAME.search(name)
    if node.tag in _NEVER_SECRET or _is_expression(node.value):
        return False
    return named if name.startswith("ansible_") or node.tag != _STRING else True


def _is_expression(value: str) -> bool:
    return value.lstrip().startswith(("{{", "{%"))
