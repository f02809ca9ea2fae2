"""Whatever is written into a request, the answer is a spec or a list of mistakes, and nothing of it is ever run."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.adapters.intake.expressions import CannotRender, evaluate, parse
from orchestrator.adapters.intake.yaml_intake import YamlIntake
from orchestrator.domain.canonical import Plain
from orchestrator.errors import InvalidInput, Mistake
from orchestrator.ports import RenderedRequest

SHIPPED = Path(__file__).parents[3] / "change_templates"


class StoppedClock:
    def now(self) -> datetime:
        return datetime(2026, 11, 21, 21, 7, 42, tzinfo=UTC)

    def sleep(self, seconds: float) -> None:
        raise AssertionError


INTAKE = YamlIntake(SHIPPED, StoppedClock())

#: Texts that have hurt template engines, YAML readers, paths and clocks before.
NASTY = st.sampled_from(
    [
        "{{ 7*7 }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% for i in range(10**9) %}x{% endfor %}",
        "{{ lipsum.__globals__['os'].system('touch canary') }}",
        "{{ cycler.__init__.__globals__ }}",
        "${jndi:ldap://x}",
        "!!python/object/apply:os.system ['touch canary']",
        "$(touch canary)",
        "`touch canary`",
        "; touch canary",
        "{address.__class__}",
        "{0}",
        "{",
        "%s%n",
        "../../../../etc/passwd",
        "@/etc/passwd",
        "0001-01-01T00:00",
        "9999-12-31T23:59",
        "2099-12-31T23:59",
        "now",
        "999999d",
        "100%",
        "posixrules",
        "Europe",
        "localtime",
        "\x00",
        "\x1b]0;x\x07",
        "\ud800",
        "\u202e",
        "a" * 5000,
    ]
)
PLAIN = st.none() | st.booleans() | st.integers() | st.text(st.characters()) | NASTY
SCALAR = PLAIN | st.floats()
VALUE = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))


def names_of(template: str) -> list[str]:
    return [parameter.name for parameter in INTAKE.describe(template).parameters]


@st.composite
def requests(draw: st.DrawFn) -> dict[str, object]:
    template = draw(st.sampled_from(INTAKE.names()))
    parameters: dict[str, object] = {"production": "web", "packages": ["nginx"], "window_start": "now", "reason": "x"}
    known = names_of(template)
    parameters = {name: value for name, value in parameters.items() if name in known}
    parameters |= draw(st.dictionaries(st.sampled_from(known), VALUE, max_size=4))
    return {"template": template, "parameters": parameters}


def answer(folder: Path, text: str) -> RenderedRequest | tuple[Mistake, ...]:
    file = folder / "request.yml"
    file.write_bytes(text.encode(errors="surrogatepass"))
    try:
        return INTAKE.read(file)
    except InvalidInput as error:
        return error.mistakes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("requests")


@settings(max_examples=120, deadline=None)
@given(request=requests())
def test_any_parameter_gives_a_spec_or_mistakes(folder: Path, request: dict[str, object]) -> None:
    # JSON is YAML, and writes what YAML's own writer would refuse.
    result = answer(folder, json.dumps(request))
    if isinstance(result, RenderedRequest):
        assert len(result.source_key) == len(result.digest) == 64
        assert answer(folder, json.dumps(request)) == result
    else:
        assert all(mistake.line for mistake in result)
    assert not Path("canary").exists()


@settings(max_examples=80, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])) | st.text("{}[]:-,&*!|>'\"%@`#? \n\tab1", max_size=60))
def test_any_file_gives_a_spec_or_mistakes(folder: Path, text: str) -> None:
    answer(folder, text)


@settings(max_examples=80, deadline=None)
@given(said=st.text() | NASTY.filter(lambda text: text.isprintable()))
def test_a_parameter_arrives_as_it_was_written(folder: Path, said: str) -> None:
    parameters = {"production": "web", "window_start": "now", "reason": said}
    result = answer(folder, json.dumps({"template": "linux-security-patch", "parameters": parameters}))
    assert not isinstance(result, RenderedRequest) or result.spec.reason == said


def value_of(source: str, value: Plain) -> Plain:
    expression = parse(source)
    return evaluate(expression, {"a": value, "b": [value]}) if expression else source


EXPRESSION = st.text("{}%()[]|.,'\"~+-*=!<> abw1_", max_size=40) | st.sampled_from(
    ["{{ a.b }}", "{{ a|attr('x') }}", "a|first", "a|sort|unique", "a|int"]
)


@settings(max_examples=120, deadline=None)
@given(source=EXPRESSION.map(lambda text: "{{" + text + "}}") | EXPRESSION, value=PLAIN)
def test_any_expression_has_a_plain_value_or_cannot_render(source: str, value: Plain) -> None:
    with contextlib.suppress(CannotRender):
        json.dumps(value_of(source, value))


@pytest.mark.parametrize(
    "source",
    [
        "{{" + "(" * 2000 + "a" + ")" * 2000 + "}}",
        "{{" + "-" * 4000 + "a}}",
        "{{" + "not " * 1000 + "a}}",
        "{{ " + "[" * 1000 + "]" * 1000 + " }}",
        "{{ a" + " ~ a" * 900 + " }}",
        "{{ " + " ~ ".join(["a|join(a)"] * 300) + " }}",
        "{{ a" + " | join(a)" * 300 + " }}",
        "{{ a" + " | join(a)" * 40 + " }}",
        "{{ a | join(a) | length }}",
        "{{ a" + " ~ a" * 60 + " }}",
        "{{ a }}" * 60,
    ],
    ids=[
        "brackets",
        "minus",
        "not",
        "lists",
        "concatenation",
        "joins",
        "joins of joins",
        "a few joins",
        "join",
        "sum",
        "text",
    ],
)
def test_no_expression_grows_without_bound(source: str) -> None:
    with pytest.raises(CannotRender):
        value_of(source, "a" * 4096)
