"""The Jinja2 that a template may hold: expressions over its parameters, and nothing that could loop, call or reach out.

Parameters are values, never source: what a requester writes is not parsed as Jinja2. The grammar is an allowlist of
syntax nodes and of filters; without loops, calls, assignments and multiplication the result cannot grow beyond the
sum of its parts, and it is measured all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from jinja2 import StrictUndefined, Undefined, nodes
from jinja2.environment import TemplateExpression
from jinja2.exceptions import TemplateError, TemplateSyntaxError
from jinja2.sandbox import SandboxedEnvironment

from orchestrator.domain.canonical import Plain

LONGEST_SOURCE = 4096
MOST_PARTS = 150
LARGEST_RESULT = 64 * 1024

_ALLOWED: tuple[type[nodes.Node], ...] = (
    nodes.Output,
    nodes.TemplateData,
    nodes.If,
    nodes.CondExpr,
    nodes.Name,
    nodes.Const,
    nodes.List,
    nodes.Tuple,
    nodes.Dict,
    nodes.Pair,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Add,
    nodes.Sub,
    nodes.Neg,
    nodes.Concat,
    nodes.Getitem,
    nodes.Filter,
    nodes.Test,
)
_TESTS = ("none", "string", "number", "boolean", "true", "false", "defined", "undefined")


class CannotRender(Exception):
    """An expression that is not allowed or has no value; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """A text of a template that holds Jinja2. ``names`` are the parameters it uses, in their order."""

    source: str
    names: tuple[str, ...]
    tree: nodes.Template

    @property
    def is_one_name(self) -> bool:
        """Tell whether it is ``{{ parameter }}`` and nothing else."""
        return isinstance(_only_expression(self.tree), nodes.Name)


def parse(source: str) -> Expression | None:
    """Return the expression in a text, or None where the text holds none. Raises CannotRender."""
    if not any(opening in source for opening in ("{{", "{%", "{#")):
        return None
    if len(source) > LONGEST_SOURCE:
        raise CannotRender(f"a text with an expression may not be longer than {LONGEST_SOURCE} characters")
    # A block scalar ends with a newline, which must not turn a number into a text.
    try:
        tree = _ENVIRONMENT.parse(source.strip())
    except (TemplateSyntaxError, RecursionError) as error:
        raise CannotRender(f"this is not an expression: {error}") from error
    for count, node in enumerate(_walk(tree.body), start=1):
        if count > MOST_PARTS:
            raise CannotRender(f"an expression may not have more than {MOST_PARTS} parts")
        _check(node)
    names = dict.fromkeys(node.name for node in tree.find_all(nodes.Name))
    return Expression(source=source, names=tuple(names), tree=tree)


def evaluate(expression: Expression, parameters: Mapping[str, Plain]) -> Plain:
    """Return the value: of its own type where the text is one expression, else a text. Raises CannotRender."""
    try:
        only = _only_expression(expression.tree)
        value = _native(only, parameters) if only else _as_text(expression.tree, parameters)
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise CannotRender(f"this cannot be worked out: {error}") from error
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise CannotRender("this is nested too deeply") from error
    left = [LARGEST_RESULT]
    return _plain(value, left)


def _walk(body: Iterable[nodes.Node]) -> Iterable[nodes.Node]:
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(node.iter_child_nodes())


def _check(node: nodes.Node) -> None:
    if not isinstance(node, _ALLOWED):
        raise CannotRender(f"{_spoken(node)} is not allowed here: expressions, if, and filters are")
    if isinstance(node, nodes.Filter) and node.name not in _FILTERS:
        raise CannotRender(f"there is no filter {node.name!r}; there are {', '.join(sorted(_FILTERS))}")
    if isinstance(node, nodes.Test) and node.name not in _TESTS:
        raise CannotRender(f"there is no test {node.name!r}; there are {', '.join(_TESTS)}")
    if isinstance(node, nodes.Filter | nodes.Test) and (node.dyn_args or node.dyn_kwargs):
        raise CannotRender("* and ** are not allowed here")


def _spoken(node: nodes.Node) -> str:
    words = {nodes.For: "a loop", nodes.Call: "a call", nodes.Assign: "set", nodes.Getattr: "an attribute"}
    words |= {nodes.Mul: "*", nodes.Pow: "**", nodes.Mod: "%", nodes.Div: "/", nodes.FloorDiv: "//"}
    return words.get(type(node), type(node).__name__)


def _only_expression(tree: nodes.Template) -> nodes.Expr | None:
    if len(tree.body) == 1 and isinstance(tree.body[0], nodes.Output) and len(tree.body[0].nodes) == 1:
        only = tree.body[0].nodes[0]
        return None if isinstance(only, nodes.TemplateData) else only
    return None


def _native(expression: nodes.Expr, parameters: Mapping[str, Plain]) -> object:
    body: list[nodes.Node] = [nodes.Assign(nodes.Name("result", "store"), expression, lineno=1)]
    compiled = _ENVIRONMENT.from_string(nodes.Template(body, lineno=1))
    value: object = TemplateExpression(compiled, undefined_to_none=False)(**parameters)
    return value


def _as_text(tree: nodes.Template, parameters: Mapping[str, Plain]) -> str:
    return _ENVIRONMENT.from_string(tree).render(**parameters)


def _plain(value: object, left: list[int]) -> Plain:
    left[0] -= len(value) + 1 if isinstance(value, str) else 1
    if left[0] < 0:
        raise CannotRender(f"the result is larger than {LARGEST_RESULT // 1024} KiB")
    if isinstance(value, Undefined):
        raise CannotRender("this has no value; write 'else none' to leave the key out")
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, left) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, left) for key, item in value.items()}
    raise CannotRender(f"the result is a {type(value).__name__}, which no request holds")


def _finalize(value: object) -> str:
    """Return a value as it stands within a text: nothing for None, lists with commas."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(_finalize(item) for item in value)
    return str(value)


def _joined(values: Sequence[object], separator: str = ", ") -> str:
    length = sum(len(str(value)) for value in values) + len(separator) * len(values)
    if length > LARGEST_RESULT:
        raise CannotRender(f"the result is larger than {LARGEST_RESULT // 1024} KiB")
    return str(separator).join(_finalize(value) for value in values)


def _default(value: object, instead: object = "") -> object:
    return instead if value is None or isinstance(value, Undefined) or value in ("", []) else value


def _whole(value: object) -> int:
    if not isinstance(value, str | int) or len(str(value)) > 18:
        raise ValueError(f"{str(value)[:40]!r} is no whole number")
    return int(value)


_FILTERS: dict[str, Callable[..., object]] = {
    "default": _default,
    "first": lambda values: values[0] if values else None,
    "int": _whole,
    "join": _joined,
    "last": lambda values: values[-1] if values else None,
    "length": len,
    "lower": lambda value: _finalize(value).lower(),
    "sort": sorted,
    "string": _finalize,
    "title": lambda value: _finalize(value).title(),
    "trim": lambda value: _finalize(value).strip(),
    "unique": lambda values: list(dict.fromkeys(values)),
    "upper": lambda value: _finalize(value).upper(),
}


def _environment() -> SandboxedEnvironment:
    environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False, finalize=_finalize, cache_size=0)
    environment.globals.clear()
    environment.filters = dict(_FILTERS)
    environment.tests = {name: environment.tests[name] for name in _TESTS}
    return environment


_ENVIRONMENT = _environment()
