"""A change template: a file with a description, parameters, and a change whose texts may use them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import PlainValidator, ValidationError

from orchestrator.adapters.intake import expressions
from orchestrator.adapters.intake.document import Document, Where, invalid, read_document
from orchestrator.adapters.intake.expressions import CannotRender, Expression
from orchestrator.adapters.intake.fields import Part, Text
from orchestrator.adapters.intake.mistakes import dotted, found_by
from orchestrator.adapters.intake.parameters import Declaration, Parameter, accept, declaration_problem
from orchestrator.adapters.intake.values import Unfit, named
from orchestrator.domain.canonical import Plain
from orchestrator.errors import Mistake

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def _mapping(value: object) -> object:
    if not isinstance(value, dict):
        raise Unfit(f"must be a mapping (key: value), not {named(value)}")
    return value


class TemplateFile(Part):
    """The top of a template file."""

    description: Text = ""
    parameters: dict[str, Declaration] = {}  # noqa: RUF012 - pydantic copies a default
    change: Annotated[object, PlainValidator(_mapping)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template that was read. ``expressions`` are the texts of its change that hold Jinja2, by their place in it."""

    name: str
    description: str
    parameters: Mapping[str, Parameter]
    change: Plain
    expressions: Mapping[Where, Expression]
    document: Document


def template_names(folder: Path) -> tuple[str, ...]:
    """Return the names of the templates in a folder, sorted."""
    return tuple(sorted(file.stem for file in folder.glob("*.yml") if _NAME.fullmatch(file.stem)))


def read_template(folder: Path, name: str) -> Template:
    """Read a template that is there. Raises InvalidInput with every mistake in it."""
    document = read_document(folder / f"{name}.yml")
    try:
        read = TemplateFile.model_validate(document.value)
    except ValidationError as error:
        raise invalid(document.file, list(found_by(error, document, TemplateFile))) from error
    change = document.value["change"] if isinstance(document.value, dict) else {}
    mistakes: list[Mistake] = []
    parameters = {key: _parameter(key, found, document, mistakes) for key, found in read.parameters.items()}
    found = dict(_expressions(change, ("change",), document, mistakes))
    for where, expression in found.items():
        for unknown in sorted(set(expression.names) - set(parameters)):
            said = f"{dotted(where)}: {unknown!r} is no parameter of this template"
            mistakes.append(document.place(where).mistake(said))
    if mistakes:
        raise invalid(document.file, mistakes)
    return Template(
        name=name,
        description=read.description.strip(),
        parameters=parameters,
        change=change,
        expressions=found,
        document=document,
    )


def _parameter(name: str, declaration: Declaration, document: Document, mistakes: list[Mistake]) -> Parameter:
    parameter = declaration.parameter(name)
    where: Where = ("parameters", name)
    if problem := declaration_problem(name, parameter):
        mistakes.append(document.place_of_key(where).mistake(problem))
        return parameter
    given = _plain_at(document, (*where, "default"))
    if given is None:
        return parameter
    default, wrong = accept(parameter, given, document, (*where, "default"))
    mistakes += wrong
    return replace(parameter, default=default)


def _plain_at(document: Document, where: Where) -> Plain:
    value = document.value
    for step in where:
        value = value.get(str(step)) if isinstance(value, dict) else None
    return value


def _expressions(
    value: Plain, where: Where, document: Document, mistakes: list[Mistake]
) -> Iterator[tuple[Where, Expression]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _expressions(item, (*where, key), document, mistakes)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _expressions(item, (*where, index), document, mistakes)
    elif isinstance(value, str):
        try:
            if expression := expressions.parse(value):
                yield where, expression
        except CannotRender as error:
            mistakes.append(document.place(where).mistake(f"{dotted(where)}: {error}"))
