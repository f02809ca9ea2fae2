"""What pydantic found, said in our words and at the place in the file where it stands."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from orchestrator.adapters.intake.document import Document, Where
from orchestrator.adapters.intake.values import named, nearest, shown
from orchestrator.errors import Mistake

CONTRADICTION = "contradiction"


def contradiction(message: str, *, against: Where, at: Where = ()) -> PydanticCustomError:
    """Return the error of a value that is fine alone but not beside another one.

    ``against`` leads to the other value from the mapping around this one, ``at`` from this value to the part at fault.
    """
    return PydanticCustomError(CONTRADICTION, "{said}", {"said": message, "against": against, "at": at})


def found_by(
    error: ValidationError, document: Document, model: type[BaseModel], unknown: Collection[Where] = (), top: Where = ()
) -> Iterator[Mistake]:
    """Yield a mistake for each error, but none about values that are ``unknown`` because of an earlier mistake.

    The model was given the part of the document at ``top``.
    """
    for detail in error.errors(include_url=False):
        where = (*top, *(step for step in detail["loc"] if step != "[key]"))
        context = detail.get("ctx", {})
        if detail["type"] == CONTRADICTION:
            if _is_unknown((*where[:-1], *context["against"]), unknown):
                continue
            where = (*where, *context["at"])
        if _is_unknown(where, unknown) or (detail["type"] == "value_error" and _lacks_a_part(where, unknown)):
            continue
        at_key = detail["type"] == "extra_forbidden" or where not in document.values
        place = document.place_of_key(where) if at_key else document.place(where)
        yield place.mistake(_sentence(where, detail, model, top))


def _is_unknown(where: Where, unknown: Collection[Where]) -> bool:
    return any(where[: len(path)] == path for path in unknown)


def _lacks_a_part(where: Where, unknown: Collection[Where]) -> bool:
    return any(path[: len(where)] == where for path in unknown)


def _sentence(where: Where, detail: ErrorDetails, model: type[BaseModel], top: Where) -> str:
    kind, given, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(where, model, where[len(top) :])
    if kind == "missing":
        return f"{dotted(where)} is missing"
    if kind in {"enum", "literal_error"}:
        return f"{dotted(where)}: {shown(given)} is not one of {_choices(context)}"
    if kind == CONTRADICTION:
        return f"{dotted(where)}: {context['said']}"
    if kind == "value_error":
        return f"{dotted(where)}: {context['error']}"
    if wanted := _WANTED.get(kind):
        return f"{dotted(where)}: must be {wanted}, not {named(given)}"
    return f"{dotted(where)}: {detail['msg']}"


_WANTED = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "string_type": "a text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
}


def dotted(where: Where) -> str:
    """Return a way through a document as people write it: ``health[0].http.url``."""
    said = ""
    for step in where:
        said += f"[{step}]" if isinstance(step, int) else f".{step}"
    return said.lstrip(".") or "the file"


def unknown_key(what: str, key: str, known: Collection[str]) -> str:
    """Return the sentence about a key that is none of those known."""
    return f"{what} {shown(key)} is unknown{nearest(key, known)}; there are {', '.join(known) or 'none'}"


def _unknown_key(where: Where, model: type[BaseModel], inside: Where) -> str:
    around = _model_at(model, inside[:-1])
    known = tuple(around.model_fields) if around else ()
    what = getattr(around, "what", "the key")
    shorter = unknown_key(what, str(where[-1]), known)
    return f"{dotted(where[:-1])}: {shorter}" if where[:-1] else shorter


def _choices(context: Mapping[str, object]) -> str:
    return str(context.get("expected", "")).replace("'", "").replace(" or ", ", ")


def _model_at(model: type[BaseModel] | None, where: Where) -> type[BaseModel] | None:
    """Return the model that reads the mapping at this place."""
    for step in where:
        if isinstance(step, int) or model is None:
            continue
        field = model.model_fields.get(step)
        if field is not None:
            model = _model_in(field.annotation)
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation if issubclass(annotation, BaseModel) else None
    if get_origin(annotation) in {Union, UnionType, tuple, dict, list}:
        return next((model for part in get_args(annotation) if (model := _model_in(part))), None)
    return None
