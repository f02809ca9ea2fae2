"""The parameters of a template: how they are declared, and whether what a request gives fits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import PlainValidator, StrictBool, ValidationInfo, field_validator

from orchestrator.adapters.intake import values
from orchestrator.adapters.intake.document import Document, Where
from orchestrator.adapters.intake.fields import Filled, Part, Text
from orchestrator.adapters.intake.mistakes import unknown_key
from orchestrator.domain.canonical import Plain
from orchestrator.errors import Mistake

ParameterType = Literal["string", "integer", "boolean", "duration", "amount", "list", "local-time", "choice"]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
#: Words that mean something else inside an expression.
_RESERVED = frozenset(
    ("and", "or", "not", "in", "is", "if", "else", "elif", "for", "none", "true", "false", "self", "loop", "caller")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter as its template declares it. ``default`` is None where a request may leave it without a value."""

    name: str
    type: ParameterType
    description: str = ""
    required: bool = False
    default: Plain = None
    choices: tuple[str, ...] = ()
    pattern: str = ""


class Declaration(Part):
    """A parameter under ``parameters:`` of a template file."""

    what: ClassVar[str] = "the key"
    type: ParameterType
    description: Text = ""
    required: StrictBool = False
    default: Annotated[object, PlainValidator(lambda value: value)] = None
    choices: tuple[Filled, ...] = ()
    pattern: Text = ""

    @field_validator("default")
    @classmethod
    def _is_not_asked_for(cls, default: object, info: ValidationInfo) -> object:
        if default is not None and info.data.get("required"):
            raise values.Unfit("a required parameter has no default; take one of the two away")
        return default

    @field_validator("pattern")
    @classmethod
    def _is_an_expression(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise values.Unfit(f"{values.shown(pattern)} is no regular expression: {error}") from error
        return pattern

    def parameter(self, name: str) -> Parameter:
        """Return it with its name, its default not yet checked."""
        return Parameter(
            name=name,
            type=self.type,
            description=self.description.strip(),
            required=self.required,
            choices=self.choices,
            pattern=self.pattern,
        )


def declaration_problem(name: str, declared: Parameter) -> str:
    """Return what is wrong with a parameter as declared, or an empty text."""
    if not _NAME.fullmatch(name) or name in _RESERVED:
        return f"{values.shown(name)} cannot name a parameter; use small letters, digits and _, and no word of Jinja2"
    if declared.type == "choice" and not declared.choices:
        return f"parameters.{name}: a choice needs choices"
    if declared.choices and declared.type not in {"choice", "string", "integer", "list"}:
        return f"parameters.{name}: choices do not go with the type {declared.type}"
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a request gives: the values that fit, and the names of those that do not."""

    values: Mapping[str, Plain]
    broken: frozenset[str]
    mistakes: tuple[Mistake, ...]


def check_given(declared: Mapping[str, Parameter], request: Document) -> Given:
    """Compare what a request gives under ``parameters:`` with what its template declares."""
    given = request.value.get("parameters") if isinstance(request.value, dict) else None
    if given is None:
        given = {}
    if not isinstance(given, dict):
        return Given(values={}, broken=frozenset(declared), mistakes=())
    fitting: dict[str, Plain] = {}
    mistakes: list[Mistake] = []
    broken = set()
    for name, value in given.items():
        where: Where = ("parameters", name)
        if name not in declared:
            said = unknown_key("the parameter", name, tuple(declared))
            mistakes.append(request.place_of_key(where).mistake(said))
        elif value is not None:
            fitting[name], wrong = accept(declared[name], value, request, where)
            mistakes += wrong
            broken |= {name} if wrong else set()
    for name, parameter in declared.items():
        if parameter.required and given.get(name) is None:
            about = f": {parameter.description}" if parameter.description else ""
            said = f"the parameter {name!r} ({parameter.type}) is missing{about}"
            mistakes.append(request.place_of_key(("parameters", name)).mistake(said))
            broken.add(name)
    kept = {name: value for name, value in fitting.items() if name not in broken}
    return Given(values=kept, broken=frozenset(broken), mistakes=tuple(mistakes))


def accept(parameter: Parameter, value: Plain, document: Document, where: Where) -> tuple[Plain, list[Mistake]]:
    """Return a value in its canonical form, and every mistake in it."""
    if parameter.type != "list":
        return _accept_one(parameter, value, document, where)
    if not isinstance(value, list):
        said = f"parameter {parameter.name}: must be a list, such as [a, b], not {values.named(value)}"
        return None, [document.place(where).mistake(said)]
    found = [_accept_one(parameter, item, document, (*where, index)) for index, item in enumerate(value)]
    mistakes = [mistake for _, wrong in found for mistake in wrong]
    if parameter.required and not value:
        mistakes = [document.place(where).mistake(f"parameter {parameter.name}: must name at least one")]
    return [item for item, _ in found], mistakes


def _accept_one(parameter: Parameter, value: Plain, document: Document, where: Where) -> tuple[Plain, list[Mistake]]:
    try:
        read = _READ[parameter.type](value)
    except values.Unfit as error:
        return None, [document.place(where).mistake(f"parameter {parameter.name}: {error}")]
    wrong = [document.place(where).mistake(f"parameter {parameter.name}: {said}") for said in _unfit(parameter, read)]
    return read, wrong


def _unfit(parameter: Parameter, value: Plain) -> Iterator[str]:
    if parameter.required and isinstance(value, str) and not value.strip():
        yield "must not be empty"
    elif parameter.choices and str(value) not in parameter.choices:
        suggestion = values.nearest(str(value), parameter.choices)
        yield f"{values.shown(value)} is not one of {', '.join(parameter.choices)}{suggestion}"
    elif parameter.pattern and not re.fullmatch(parameter.pattern, str(value)):
        yield f"{values.shown(value)} does not match the pattern {parameter.pattern}"


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise values.Unfit(f"must be a whole number, not {values.named(value)}")
    return value


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise values.Unfit(f"must be true or false, not {values.shown(value)}")
    return value


def _duration(value: object) -> str:
    values.duration(value)
    return str(value).strip()


def _amount(value: object) -> str | int:
    amount = values.amount(value)
    return str(amount) if amount.percent else amount.value


_READ: dict[str, Callable[[object], Plain]] = {
    "string": values.text,
    "integer": _integer,
    "boolean": _boolean,
    "duration": _duration,
    "amount": _amount,
    "list": values.filled,
    "local-time": values.local_time,
    "choice": values.text,
}
