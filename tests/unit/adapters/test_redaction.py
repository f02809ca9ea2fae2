"""Secrets are masked in every spelling, and records stay readable."""

from __future__ import annotations

import base64
import json
import shlex
from urllib.parse import quote

import pytest

from orchestrator.adapters.ansible.redaction import MASK, Redactor

SECRET = "pa\"ss\\wörd 'x'/+"


@pytest.mark.parametrize(
    "spelled",
    [
        SECRET,
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        json.dumps(json.dumps(SECRET)),
        shlex.quote(SECRET),
        quote(SECRET),
        quote(SECRET, safe=""),
        repr(SECRET),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(f"user:{SECRET}".encode()).decode(),
        base64.b64encode(f"ab{SECRET}\n".encode()).decode(),
    ],
)
def test_a_secret_is_masked_however_it_is_spelled(spelled: str) -> None:
    masked = Redactor([SECRET]).text(f"before {spelled} after")
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    assert MASK in masked
    assert spelled not in masked


def test_short_texts_are_left_alone() -> None:
    assert Redactor(["abc", ""]).text("abc") == "abc"


def test_the_longer_of_two_secrets_goes_first() -> None:
    assert Redactor(["hunter", "hunter2000"]).text("hunter2000 hunter") == "*** ***"


def test_lines_of_a_key_are_masked_one_by_one() -> None:
    key = "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA\nabc\n-----END KEY-----\n"
    assert Redactor([key]).text("['-----BEGIN KEY-----', 'MIIEpAIBAAKCAQEA']") == "['-----BEGIN KEY-----', '***']"


def test_a_secret_broken_over_lines_is_found() -> None:
    redactor = Redactor(["correct horse battery"])
    assert "horse" not in redactor.wrapped("[WARNING]: the password correct\n horse battery is weak")
    assert redactor.wrapped("one\ntwo") == "one\ntwo"


def test_values_are_masked_without_breaking_their_shape() -> None:
    value = {"list": ["x-s3cret-y", 5, None], "s3cret": {"n": 31337666}, "ok": True}
    assert Redactor(["s3cret", "31337666"]).value(value) == {
        "list": ["x-***-y", 5, None],
        "***": {"n": MASK},
        "ok": True,
    }


def test_a_line_is_json_whatever_the_secret_looks_like() -> None:
    redactor = Redactor(['","', "true", "1234567", '{"a":'])
    line = redactor.line({"a": True, "b": 'x","y', "c": 1234567}, kept={"counter": 1234567, "host": "true"})
    assert json.loads(line) == {"a": True, "b": 'x","y', "c": MASK, "counter": 1234567, "host": "true"}


def test_what_is_kept_is_never_masked() -> None:
    line = Redactor(["web1"]).line({"task": "on web1"}, kept={"host": "web1"})
    assert json.loads(line) == {"host": "web1", "task": "on ***"}


def test_without_secrets_nothing_changes() -> None:
    assert Redactor([]).line({"a": "ö"}) == b'{"a":"\\u00f6"}\n'
    assert Redactor(["abc"]).text("abc") == "abc"


def test_hundreds_of_secrets_are_masked_as_well() -> None:
    redactor = Redactor([f"secret-{number:04}" for number in range(300)])
    assert redactor.text("a secret-0299 b secret-0300 c") == "a *** b secret-0300 c"
    assert json.loads(redactor.line({"a": "secret-0000"})) == {"a": MASK}
