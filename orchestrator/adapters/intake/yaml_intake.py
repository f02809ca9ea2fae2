"""The intake of a site: request files, rendered with its change templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, ValidationError

from orchestrator.adapters.intake.body import Body
from orchestrator.adapters.intake.document import Document, invalid, read_document
from orchestrator.adapters.intake.fields import Line, Part
from orchestrator.adapters.intake.mistakes import found_by
from orchestrator.adapters.intake.parameters import Parameter, check_given
from orchestrator.adapters.intake.rendering import Rendering
from orchestrator.adapters.intake.spec import to_spec
from orchestrator.adapters.intake.template import Template, read_template, template_names
from orchestrator.adapters.intake.values import nearest, shown
from orchestrator.domain.canonical import Plain, digest
from orchestrator.errors import InvalidInput, Mistake, NotFound
from orchestrator.ports import Clock, RenderedRequest


class RequestFile(Part):
    """The top of a request file."""

    template: Line
    reference: Line | None = None
    parameters: Annotated[dict[str, object], BeforeValidator(lambda value: {} if value is None else value)] = {}  # noqa: RUF012


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a template is for and what it wants to know."""

    name: str
    description: str
    file: Path
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True, slots=True)
class YamlIntake:
    """Reads requests in YAML (``ports.Intake``); ``templates`` is the folder of the site's change templates."""

    templates: Path
    clock: Clock

    def read(self, file: Path) -> RenderedRequest:
        """Return what the file asks for. Raises InvalidInput with every mistake at once."""
        source, body, _ = self._rendered(file)
        spec = to_spec(body, template=source.template, reference=source.reference, now=self.clock.now())
        return RenderedRequest(spec=spec, source_key=digest(source), digest=digest(spec))

    def render(self, file: Path) -> Mapping[str, Plain]:
        """Return the change that the file asks for, in the words of a template. Raises InvalidInput."""
        _, _, change = self._rendered(file)
        return change if isinstance(change, dict) else {}

    def names(self) -> tuple[str, ...]:
        """Return the names of the templates, sorted."""
        return template_names(self.templates)

    def describe(self, name: str) -> Description:
        """Return what a template wants to know. Raises NotFound, or InvalidInput where the template has mistakes."""
        if name not in self.names():
            raise NotFound(f"{_unknown_template(name, self.names())}. See: orchestrator template list")
        template = read_template(self.templates, name)
        return Description(
            name=name,
            description=template.description,
            file=self.templates / f"{name}.yml",
            parameters=tuple(template.parameters.values()),
        )

    def _rendered(self, file: Path) -> tuple[_Source, Body, Plain]:
        request = read_document(file)
        mistakes: list[Mistake] = []
        try:
            asked = RequestFile.model_validate(request.value)
        except ValidationError as error:
            mistakes += found_by(error, request, RequestFile)
        template = self._template(request, mistakes)
        if template is None:
            raise _all(request, mistakes)
        given = check_given(template.parameters, request)
        mistakes += given.mistakes
        rendering = Rendering(template, given, request)
        change = rendering.document()
        mistakes += rendering.mistakes
        try:
            body = Body.model_validate(change.value)
        except ValidationError as error:
            mistakes += found_by(error, change, Body, rendering.unknown)
        if mistakes:
            raise _all(request, mistakes)
        source = _Source(template=template.name, reference=asked.reference or "", parameters=given.values)
        return source, body, change.value

    def _template(self, request: Document, mistakes: list[Mistake]) -> Template | None:
        name = request.value.get("template") if isinstance(request.value, dict) else None
        if not isinstance(name, str) or not name.strip():
            return None
        if name not in self.names():
            mistakes.append(request.place(("template",)).mistake(_unknown_template(name, self.names())))
            return None
        try:
            return read_template(self.templates, name)
        except InvalidInput as error:
            if not error.mistakes:
                raise
            mistakes += error.mistakes
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """What makes two requests the same: the template, the reference and the parameters given, not how they are written.

    The word ``now`` stays a word here, so that a request for now is the same request a minute later.
    """

    template: str
    reference: str
    parameters: Mapping[str, Plain]


def _unknown_template(name: str, known: tuple[str, ...]) -> str:
    there_are = ", ".join(known) or "none"
    return f"there is no template {shown(name)}{nearest(name, known)}; there are {there_are}"


def _all(request: Document, mistakes: list[Mistake]) -> InvalidInput:
    return invalid(request.file, sorted(mistakes, key=lambda m: (m.file != request.file, m.file, m.line, m.column)))
