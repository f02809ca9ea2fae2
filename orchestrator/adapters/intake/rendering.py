"""Fill a template's change with the parameters of a request, and keep the place from which each value came."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.adapters.intake import expressions
from orchestrator.adapters.intake.document import Document, Place, Where
from orchestrator.adapters.intake.expressions import CannotRender, Expression
from orchestrator.adapters.intake.mistakes import dotted
from orchestrator.adapters.intake.parameters import Given
from orchestrator.adapters.intake.template import Template
from orchestrator.domain.canonical import Plain
from orchestrator.errors import Mistake

LARGEST_CHANGE = 512 * 1024

#: In an item of a list: whether the item is there at all.
WHEN = "when"


class Rendering:
    """One rendering. ``unknown`` are the places without a value, because of a mistake that was told."""

    def __init__(self, template: Template, given: Given, request: Document) -> None:
        self._template, self._given, self._request = template, given, request
        defaults = {name: parameter.default for name, parameter in template.parameters.items()}
        self._values: Mapping[str, Plain] = {**defaults, **given.values}
        self._size = 0
        self._places: dict[Where, Place] = {}
        self._keys: dict[Where, Place] = {(): template.document.place_of_key(("change",))}
        self.unknown: set[Where] = set()
        self.mistakes: list[Mistake] = []

    def document(self) -> Document:
        """Return the change with every value filled in. A key or item without a value is left out."""
        value = self._render(self._template.change, ("change",), ())
        if self._size > LARGEST_CHANGE:
            self.mistakes.append(self._place(("change",)).mistake(f"change: is larger than {LARGEST_CHANGE >> 10} KiB"))
        return Document(file=self._template.document.file, value=value, values=self._places, keys=self._keys)

    def _render(self, value: Plain, source: Where, out: Where) -> Plain:
        self._places[out] = self._place(source)
        if isinstance(value, dict):
            return self._mapping(value, source, out)
        if isinstance(value, list):
            return self._list(value, source, out)
        expression = self._template.expressions.get(source)
        rendered = self._evaluate(expression, out) if expression else value
        self._size += len(rendered) if isinstance(rendered, str) else 1
        return rendered

    def _mapping(self, value: dict[str, Plain], source: Where, out: Where) -> Plain:
        rendered: dict[str, Plain] = {}
        for key, item in value.items():
            self._keys[*out, key] = self._template.document.place_of_key((*source, key))
            filled = self._render(item, (*source, key), (*out, key))
            if filled is not None:
                rendered[key] = filled
        return rendered

    def _list(self, value: list[Plain], source: Where, out: Where) -> Plain:
        rendered: list[Plain] = []
        for index, item in enumerate(value):
            there = (*source, index)
            here = (*out, len(rendered))
            if isinstance(item, dict) and WHEN in item:
                if not self._render(item[WHEN], (*there, WHEN), (*here, WHEN)):
                    continue
                item = {key: part for key, part in item.items() if key != WHEN}  # noqa: PLW2901 - the rest of it
            filled = self._render(item, there, here)
            if filled is not None:
                rendered.append(filled)
        return rendered

    def _evaluate(self, expression: Expression, out: Where) -> Plain:
        if self._given.broken & set(expression.names):
            self.unknown.add(out)
            return None
        self._trace(expression, out)
        try:
            return expressions.evaluate(expression, self._values)
        except CannotRender as error:
            self.unknown.add(out)
            self.mistakes.append(self._places[out].mistake(f"{dotted(out)}: {error}"))
            return None

    def _trace(self, expression: Expression, out: Where) -> None:
        """Note where the value came from: the request, where it gave a parameter that is used, else the template."""
        from_request = [name for name in expression.names if name in self._given.values]
        origin: Where
        if from_request:
            origin, document = ("parameters", from_request[0]), self._request
        elif expression.is_one_name:
            origin, document = ("parameters", expression.names[0], "default"), self._template.document
        else:
            return
        self._places[out] = document.place(origin)
        if expression.is_one_name:
            inside = {where: place for where, place in document.values.items() if where[: len(origin)] == origin}
            self._places |= {(*out, *where[len(origin) :]): place for where, place in inside.items()}

    def _place(self, source: Where) -> Place:
        return self._template.document.place(source)
