"""One value, one way to write it, one digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeVar, get_type_hints

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.domain.canonical import Plain, canonical, digest, parse_rfc3339, plain, rfc3339
from orchestrator.domain.change import ChangeRequest
from orchestrator.domain.inventory import Secret
from orchestrator.domain.plan import Content, ContentFile, PatchPlan
from tests.fakes.strategies import MOMENTS, PLAIN, any_of, names_of, parts_of

T = TypeVar("T")
PARTS = sorted(parts_of(PatchPlan) | parts_of(ChangeRequest), key=lambda kind: kind.__name__)
#: Beside the plan, for approvals to be bound to it: what must not change it.
NOT_IN_A_DIGEST = {(Content, "authors")}


@given(PLAIN)
def test_canonical_json_is_what_the_format_says(value: Plain) -> None:
    said = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert canonical(value) == said.encode()
    assert json.loads(canonical(value)) == value


@pytest.mark.parametrize("kind", PARTS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_every_field_of_every_part_is_in_the_digest(kind: type[Any], data: st.DataObject) -> None:
    value = data.draw(any_of(kind))
    name = data.draw(st.sampled_from(names_of(kind)))
    other = replace(value, **{name: data.draw(any_of(get_type_hints(kind)[name]))})
    assert (digest(other) == digest(value)) is (other == value)


@given(any_of(PatchPlan))
def test_same_plan_made_anew_has_the_same_digest(plan: PatchPlan) -> None:
    again = replace(plan, lock=replace(plan.lock), spec=replace(plan.spec, labels=backwards(plan.spec.labels)))
    assert again.digest == plan.digest == hashlib.sha256(canonical(plan)).hexdigest()


@given(any_of(Content), st.lists(st.text("ab")))
def test_authors_do_not_change_what_content_is(content: Content, authors: list[str]) -> None:
    assert replace(content, authors=tuple(authors)).digest == content.digest


@given(any_of(Content), any_of(ContentFile))
def test_another_file_or_version_is_other_content(content: Content, file: ContentFile) -> None:
    assert replace(content, files=(*content.files, file)).digest != content.digest
    versions = {**content.versions, "ansible-core": content.versions.get("ansible-core", "") + "1"}
    assert replace(content, versions=versions).digest != content.digest


@given(MOMENTS, st.integers(-12 * 60, 14 * 60))
def test_moment_is_written_in_utc_whatever_zone_it_was_told_in(at: datetime, minutes: int) -> None:
    elsewhere = at.astimezone(timezone(timedelta(minutes=minutes)))
    assert rfc3339(elsewhere) == rfc3339(at)
    assert rfc3339(at).endswith("Z")
    assert parse_rfc3339(rfc3339(elsewhere)) == at


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        float("nan"),
        b"bytes",
        object(),
        datetime(2026, 11, 21),  # noqa: DTZ001
        {"a": 0.5},
        [1.5],
        {1: "a"},
        {"ä": 1},
        Secret("x"),
        PatchPlan,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_say_in_one_way_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        canonical(value)


def test_time_without_a_zone_is_not_read_either() -> None:
    with pytest.raises(ValueError, match="no zone"):
        parse_rfc3339("2026-11-21T22:00:00")


@given(st.dictionaries(st.text("abc", min_size=1), st.integers()))
def test_order_in_which_a_mapping_was_filled_does_not_matter(value: Mapping[str, int]) -> None:
    assume(len(value) > 1)
    assert canonical(MappingProxyType(backwards(value))) == canonical(value)


@given(st.frozensets(PLAIN.filter(lambda value: isinstance(value, str | int))))
def test_set_is_written_in_an_order_of_its_own(value: frozenset[str]) -> None:
    assert canonical(value) == canonical(frozenset(reversed(list(value))))


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class Paint:
    colour: Colour
    dries: timedelta
    layers: tuple[int, ...] = (1, 2)


def test_words_durations_and_objects_read_as_json_says_them() -> None:
    assert plain(Paint(colour=Colour.RED, dries=timedelta(minutes=2))) == {
        "colour": "red", "dries": 120, "layers": [1, 2],
    }  # fmt: skip
    assert canonical({Colour.RED: "ü"}) == '{"red":"ü"}'.encode()


def backwards(value: Mapping[str, T]) -> dict[str, T]:
    return dict(reversed(list(value.items())))
