"""A module's arguments, checked against the documentation of the installed collection."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from lab.windows import collection

_TRUE = frozenset({"yes", "true", "on", "1", "y"})
_FALSE = frozenset({"no", "false", "off", "0", "n"})


class ModuleFailed(Exception):
    """The module ends as failed, with a message and further return values."""

    def __init__(self, message: str, **result: object) -> None:
        super().__init__(message)
        self.result = result


def check(module: str, given: Mapping[str, Any], knows: Collection[str], private: Collection[str]) -> dict[str, Any]:
    """Return the arguments with aliases resolved, types converted and defaults filled in.

    Raises ModuleFailed in the words of the real module where the documentation has no such option or value, and in the
    lab's own words for a documented option that the simulated module does not know.
    """
    documented = collection.options(module)
    if "free_form" in documented and "_raw_params" in given:
        given = {**given, "free_form": given["_raw_params"]}
    aliases = {alias: name for name, option in documented.items() for alias in option.get("aliases", ())}
    hidden = {name: value for name, value in given.items() if name in private and name not in {*documented, *aliases}}
    named = {aliases.get(name, name): value for name, value in given.items() if name not in hidden}
    unknown = sorted(set(named) - set(documented))
    if unknown:
        supported = ", ".join(sorted(documented))
        raise ModuleFailed(
            f"Unsupported parameters for ({module}) module: {', '.join(unknown)}."
            f" Supported parameters include: {supported}"
        )
    missing = sorted(name for name, option in documented.items() if option.get("required") and named.get(name) is None)
    if missing:
        raise ModuleFailed(f"missing required arguments: {', '.join(missing)}")
    checked = {name: _value(name, option, named.get(name)) for name, option in documented.items()}
    for name in sorted(set(checked) - set(knows)):
        if checked[name] != _value(name, documented[name], None):
            raise ModuleFailed(f"lab: the simulated {module} does not know the option {name}; it knows: {_list(knows)}")
    return {**checked, **hidden}


def _value(name: str, option: Mapping[str, Any], value: Any) -> Any:
    if value is None:
        value = option.get("default")
    if value is None:
        return None
    kind = option.get("type", "str")
    try:
        value = _CONVERT[kind](value)
    except (ValueError, TypeError, KeyError):
        raise ModuleFailed(
            f"argument for {name} is of type {type(value).__name__} and we were unable to convert to {kind}: {value!r}"
        ) from None
    choices = [str(choice) for choice in option.get("choices") or ()]
    for one in value if isinstance(value, list) else [value]:
        if choices and str(one) not in choices:
            raise ModuleFailed(f"value of {name} must be one of: {', '.join(choices)}. Got no match for: {one}")
    return value


def _bool(value: Any) -> bool:
    word = str(value).lower()
    if word not in _TRUE | _FALSE:
        raise ValueError(value)
    return word in _TRUE


def _list_of(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [part.strip() for part in str(value).split(",")]


def _dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(value)
    return value


_CONVERT: Mapping[str, Callable[[Any], Any]] = {
    "str": str,
    "path": str,
    "raw": lambda value: value,
    "int": int,
    "float": float,
    "bool": _bool,
    "list": _list_of,
    "dict": _dict,
}


def _list(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "none"
