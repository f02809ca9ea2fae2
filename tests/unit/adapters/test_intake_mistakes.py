"""Each mistake in a request or template is told once, where it stands, and all of them together."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.adapters.intake.yaml_intake import YamlIntake
from orchestrator.errors import InvalidInput, Mistake


class StoppedClock:
    def now(self) -> datetime:
        return datetime(2026, 11, 21, 21, 7, 42, tzinfo=UTC)

    def sleep(self, seconds: float) -> None:
        raise AssertionError


TEMPLATE = """\
description: Patch hosts.
parameters:
  production: {type: string, required: true, pattern: "[a-z]+"}
  packages: {type: list}
  count: {type: integer}
  reboot: {type: boolean}
  long: {type: duration, default: 4h}
  canary: {type: amount}
  start: {type: local-time, default: "2026-11-21T22:00"}
  trip: {type: choice, choices: [failed, all, none], default: failed}
  zone: {type: string, default: UTC}
  cutoff: {type: duration, default: 30m}
  seats: {type: integer, default: 1}
  page: {type: string}
  soak: {type: duration}
change:
  title: Patch {{ production }}
  targets: {production: "{{ production }}", staging: all}
  window:
    start: "{{ start }}"
    zone: "{{ zone }}"
    duration: "{{ long }}"
    cutoff: "{{ cutoff }}"
  rollout: {canary: "{{ canary }}", soak: "{{ soak }}", on_trip: "{{ trip }}"}
  approval: {required: {approver: "{{ seats }}"}}
  baseline: {include: "{{ packages }}"}
  health:
    - when: "{{ page }}"
      http: {url: "{{ page }}"}
"""

REQUEST = """\
template: patch
parameters:
  production: web
"""

GOOD_CHANGE = """\
change:
  title: Patch
  targets: {production: web, staging: web}
  window: {start: 2026-11-21T22:00, zone: UTC, duration: 4h, cutoff: 30m}
"""


def mistakes_in(tmp_path: Path, request: str, template: str = TEMPLATE) -> list[Mistake]:
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "patch.yml").write_text(template)
    (templates / "other.yml").write_text(template)
    file = tmp_path / "request.yml"
    file.write_text(request)
    with pytest.raises(InvalidInput) as caught:
        YamlIntake(templates, StoppedClock()).read(file)
    return list(caught.value.mistakes)


def places(tmp_path: Path, mistakes: list[Mistake]) -> list[str]:
    return [f"{Path(mistake.file).relative_to(tmp_path)}:{mistake.line}:{mistake.column}" for mistake in mistakes]


def test_the_request_of_these_tests_is_good_without_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "patch.yml").write_text(TEMPLATE)
    (tmp_path / "request.yaml").write_text(REQUEST)
    assert YamlIntake(tmp_path, StoppedClock()).read(tmp_path / "request.yaml").spec.production == "web"


IN_THE_REQUEST = {
    "an empty file": ("", "1:1", "must be a mapping"),
    "a list": ("- a\n", "1:1", "must be a mapping"),
    "not closed": ("template: [patch\n", "2:1", "this is not YAML"),
    "a tab": ("template: patch\nparameters:\n\tproduction: web\n", "3:1", "this is not YAML"),
    "two documents": (REQUEST + "---\na: b\n", "4:1", "this is not YAML"),
    "an anchor": ("template: &a patch\n", "1:11", "anchors and aliases are not used here"),
    "a tag": ("template: !!python/name:os.system patch\n", "1:11", "cannot carry the tag"),
    "a deep nest": ("template: " + "[" * 60 + "\n", "1:50", "nested deeper than 40"),
    "a control character": ('template: "a\\u001b[2J"\n', "1:11", "U+001B cannot be shown honestly"),
    "a reordered text": ('template: "a\\u202eb"\n', "1:11", "U+202E cannot be shown honestly"),
    "a lone surrogate": ('template: "a\\ud800b"\n', "1:11", "U+D800 cannot be shown honestly"),
    "a key twice": (REQUEST + "  production: db\n", "4:3", "'production' is given twice, first in line 3"),
    "braces without quotes": ("template: {{ patch }}\n", "1:12", "has to stand in quotes"),
    "no template": ("parameters: {}\n", "1:1", "template is missing"),
    "template is a list": ("template: [patch]\n", "1:11", "template: must be a text, not a list"),
    "template unknown": (
        "template: pacth\n",
        "1:11",
        "there is no template 'pacth' (did you mean 'patch'?); there are",
    ),
    "template outside": ("template: ../patch\n", "1:11", "there is no template '../patch'"),
    "key unknown": ("tempalte: patch\n" + REQUEST, "1:1", "the key 'tempalte' is unknown (did you mean 'template'?"),
    "reference a list": (REQUEST + "reference: [1]\n", "4:12", "reference: must be a text, not a list"),
    "parameters a text": ("template: patch\nparameters: web\n", "2:13", "parameters: must be a mapping"),
    "parameter unknown": (
        REQUEST + "  cannary: 1\n",
        "4:3",
        "the parameter 'cannary' is unknown (did you mean 'canary'",
    ),
    "parameter missing": (
        "template: patch\nparameters: {}\n",
        "2:1",
        "the parameter 'production' (string) is missing",
    ),
    "parameter nothing": ("template: patch\nparameters:\n  production:\n", "3:3", "'production' (string) is missing"),
    "parameter empty": ("template: patch\nparameters: {production: ''}\n", "2:26", "production: must not be empty"),
    "pattern": ("template: patch\nparameters: {production: Web}\n", "2:26", "'Web' does not match the pattern [a-z]+"),
    "text is a list": ("template: patch\nparameters: {production: [a]}\n", "2:26", "must be a text, not a list"),
    "text is true": ("template: patch\nparameters: {production: true}\n", "2:26", "must be a text, not true or false"),
    "list is a text": (REQUEST + "  packages: nginx\n", "4:13", "must be a list, such as [a, b], not a text"),
    "list holds a list": (REQUEST + "  packages: [a, [b]]\n", "4:17", "must be a text, not a list"),
    "integer is a text": (REQUEST + "  count: '3'\n", "4:10", "must be a whole number, not a text"),
    "integer is a fraction": (REQUEST + "  count: 1.5\n", "4:10", "must be a whole number, not a text"),
    "boolean is yes": (REQUEST + "  reboot: yes\n", "4:11", "must be true or false, not 'yes'"),
    "duration without unit": (REQUEST + "  long: 90\n", "4:9", "90 is no duration; write a duration with its unit"),
    "duration of another unit": (REQUEST + "  long: 2y\n", "4:9", "'2y' is no duration"),
    "duration in reverse": (REQUEST + "  long: 30m2h\n", "4:9", "'30m2h' is no duration"),
    "duration of years": (REQUEST + "  long: 400d\n", "4:9", "'400d' is longer than 366 days"),
    "duration empty": (REQUEST + "  long: ''\n", "4:9", "'' is no duration"),
    "duration in other digits": (REQUEST + "  long: ٣h\n", "4:9", "is no duration"),
    "amount a fraction": (REQUEST + "  canary: 10.5%\n", "4:11", "'10.5%' is no amount"),
    "amount negative": (REQUEST + "  canary: -1\n", "4:11", "-1 is no amount"),
    "amount over all": (REQUEST + "  canary: 101%\n", "4:11", "101% is more than all of the hosts"),
    "amount true": (REQUEST + "  canary: true\n", "4:11", "true is no amount"),
    "time without minutes": (REQUEST + "  start: 2026-11-21\n", "4:10", "'2026-11-21' is no local time"),
    "time with a zone": (REQUEST + "  start: 2026-11-21T22:00+01:00\n", "4:10", "is no local time"),
    "choice": (REQUEST + "  trip: fialed\n", "4:9", "'fialed' is not one of failed, all, none (did you mean 'failed'?"),
    # These fit their parameter and are wrong in the change: the request gave them, so it is the place to correct.
    "no such day": (
        REQUEST + "  start: 2026-02-30T22:00\n",
        "4:10",
        "window.start: '2026-02-30T22:00' is no local time",
    ),
    "zone unknown": (
        REQUEST + "  zone: Europe/Berln\n",
        "4:9",
        "window.zone: the time zone 'Europe/Berln' is unknown (did",
    ),
    "zone a folder": (REQUEST + "  zone: Europe\n", "4:9", "window.zone: the time zone 'Europe' is unknown"),
    "zone a path": (REQUEST + "  zone: ../../etc/passwd\n", "4:9", "window.zone: the time zone '../../etc/passwd' is"),
    "cutoff as long as the window": (
        REQUEST + "  cutoff: 4h\n",
        "4:11",
        "window.cutoff: must be shorter than the window",
    ),
    "window of no time": (REQUEST + "  long: 0h\n", "4:9", "window.duration: must be longer than nothing"),
    "no canary": (REQUEST + "  canary: 0\n", "4:11", "rollout.canary: must be at least 1"),
    "all canaries": (REQUEST + "  canary: 100%\n", "4:11", "rollout.canary: all of the hosts cannot be the canaries"),
    "soak without canary": (REQUEST + "  soak: 5m\n", "4:9", "rollout.soak: is waited after the canaries"),
    "no seat": (REQUEST + "  seats: 0\n", "4:10", "approval.required.approver: must be a whole number from 1 to 99"),
    "nothing included": (
        REQUEST + "  packages: []\n",
        "4:13",
        "baseline.include: an empty list takes no update at all",
    ),
    "an empty name": (REQUEST + "  packages: [a, '']\n", "4:17", "parameter packages: must not be empty"),
    "page": (REQUEST + "  page: ftp://x\n", "4:9", "health[0].http.url: 'ftp://x' is no address"),
    "placeholder": (
        REQUEST + '  page: "http://{hots}/"\n',
        "4:9",
        "health[0].http.url: {hots} is unknown here; there are",
    ),
    "a password in a page": (REQUEST + '  page: "http://u:p@{address}/"\n', "4:9", "health[0].http.url: "),
    "brackets in a page": (
        REQUEST + '  page: "http://[::1/"\n',
        "4:9",
        "health[0].http.url: 'http://[::1/' is no address",
    ),
}


@pytest.mark.parametrize(("request_text", "place", "said"), IN_THE_REQUEST.values(), ids=IN_THE_REQUEST)
def test_a_mistake_in_a_request_is_told_there(tmp_path: Path, request_text: str, place: str, said: str) -> None:
    mistakes = mistakes_in(tmp_path, request_text)
    assert (places(tmp_path, mistakes), said in mistakes[0].message) == ([f"request.yml:{place}"], True), mistakes


def test_a_start_that_the_clocks_skip_is_told(tmp_path: Path) -> None:
    mistakes = mistakes_in(tmp_path, REQUEST + "  start: 2027-03-28T02:30\n  zone: Europe/Berlin\n")
    assert places(tmp_path, mistakes) == ["request.yml:4:10"]
    assert "2027-03-28T02:30 does not exist in Europe/Berlin" in mistakes[0].message


def test_a_soak_that_leaves_no_time_is_told(tmp_path: Path) -> None:
    mistakes = mistakes_in(tmp_path, REQUEST + "  canary: 1\n  soak: 3h30m\n")
    assert places(tmp_path, mistakes) == ["request.yml:5:9"]
    assert "rollout.soak: ends after the window's cutoff" in mistakes[0].message


def change(old: str, new: str) -> str:
    assert old in GOOD_CHANGE
    return GOOD_CHANGE.replace(old, new)


IN_THE_TEMPLATE = {
    "no change": ("description: x\n", "1:1", "change is missing"),
    "change a text": ("change: x\n", "1:9", "change: must be a mapping"),
    "key at the top": (
        GOOD_CHANGE + "parameter: {}\n",
        "5:1",
        "the key 'parameter' is unknown (did you mean 'parameters'",
    ),
    "not YAML": (GOOD_CHANGE + "  x: 'a\n", "6:1", "this is not YAML"),
    "no type": ("parameters: {a: {}}\n" + GOOD_CHANGE, "1:14", "parameters.a.type is missing"),
    "other type": ("parameters: {a: {type: text}}\n" + GOOD_CHANGE, "1:24", "parameters.a.type: "),
    "other key": ("parameters: {a: {type: list, defualt: 1}}\n" + GOOD_CHANGE, "1:30", "did you mean 'default'?"),
    "default of another type": ("parameters: {a: {type: integer, default: x}}\n" + GOOD_CHANGE, "1:42", "whole number"),
    "default of required": (
        "parameters: {a: {type: string, required: true, default: x}}\n" + GOOD_CHANGE,
        "1:57",
        "parameters.a.default: a required parameter has no default",
    ),
    "choice without choices": ("parameters: {a: {type: choice}}\n" + GOOD_CHANGE, "1:14", "a choice needs choices"),
    "boolean with choices": (
        "parameters: {a: {type: boolean, choices: [x]}}\n" + GOOD_CHANGE,
        "1:14",
        "choices do not go with the type boolean",
    ),
    "pattern": ('parameters: {a: {type: string, pattern: "("}}\n' + GOOD_CHANGE, "1:41", "is no regular expression"),
    "name of a parameter": (
        "parameters: {a-b: {type: string}}\n" + GOOD_CHANGE,
        "1:14",
        "'a-b' cannot name a parameter",
    ),
    "word of Jinja2": ("parameters: {loop: {type: string}}\n" + GOOD_CHANGE, "1:14", "'loop' cannot name a parameter"),
    "undeclared": (change("Patch", "Patch {{ web }}"), "2:10", "change.title: 'web' is no parameter of this template"),
    "expression": (change("Patch", "Patch {{ web"), "2:10", "change.title: this is not an expression"),
    "loop": (change("Patch", '"{% for a in [] %}{% endfor %}"'), "2:10", "change.title: a loop is not allowed here"),
    "call": (change("Patch", '"{{ range(9) }}"'), "2:10", "change.title: a call is not allowed here"),
    "attribute": (change("Patch", "\"{{ ''.__class__ }}\""), "2:10", "change.title: an attribute is not allowed here"),
    "power": (change("Patch", '"{{ 9 ** 9 ** 9 }}"'), "2:10", "change.title: ** is not allowed here"),
    "long text": (change("Patch", "\"{{ 'a' * 999999999 }}\""), "2:10", "change.title: * is not allowed here"),
    "format": (change("Patch", "\"{{ '%999999999d' % 1 }}\""), "2:10", "change.title: % is not allowed here"),
    "filter": (change("Patch", "\"{{ 'a' | center(9) }}\""), "2:10", "there is no filter 'center'"),
    "error in an expression": (change("Patch", "\"{{ 'a' + 1 }}\""), "2:10", "title: this cannot be worked out"),
    "title missing": ("change:\n" + GOOD_CHANGE.split("Patch\n")[1], "1:1", "title is missing"),
    "title of two lines": (change("Patch", '"a\\nb"'), "2:10", "title: must be one line"),
    "word unknown": (GOOD_CHANGE + "  rolout: {}\n", "5:3", "the key 'rolout' is unknown (did you mean 'rollout'?"),
    "word within": (
        GOOD_CHANGE + "  rollout: {cannary: 1}\n",
        "5:13",
        "rollout: the key 'cannary' is unknown (did you mean",
    ),
    "kind": (GOOD_CHANGE + "  kind: urgent\n", "5:9", "kind: 'urgent' is not one of standard, normal, emergency"),
    "reboot": (GOOD_CHANGE + "  reboot: maybe\n", "5:11", "reboot: 'maybe' is not one of never, if-required, always"),
    "restart": (
        GOOD_CHANGE + "  restart_services: yes\n",
        "5:21",
        "restart_services: must be true or false, not a text",
    ),
    "host pattern": (
        change("staging: web", 'staging: "@/etc/passwd"'),
        "3:39",
        "targets.staging: '@/etc/passwd' is no host",
    ),
    "option for a host pattern": (change("staging: web", "staging: -v"), "3:39", "targets.staging: '-v' is no host"),
    "classification": (
        GOOD_CHANGE + "  baseline: {classifications: [secruity]}\n",
        "5:32",
        "baseline.classifications[0]: 'secruity' is not one of security, bugfix, enhancement, unknown",
    ),
    "no classification list": (
        GOOD_CHANGE + "  baseline: {classifications: security}\n",
        "5:31",
        "baseline.classifications: must be a list, not a text",
    ),
    "wave 0": (GOOD_CHANGE + "  rollout: {wave: 0%}\n", "5:19", "rollout.wave: must be at least 1"),
    "batch over wave": (
        GOOD_CHANGE + "  rollout: {wave: 2, batch: 3}\n",
        "5:29",
        "a batch of 3 does not fit into a wave",
    ),
    "one_at_a_time_per": (
        GOOD_CHANGE + "  rollout: {one_at_a_time_per: zone}\n",
        "5:32",
        "'zone' is not one of cluster",
    ),
    "on_trip": (GOOD_CHANGE + "  rollout: {on_trip: some}\n", "5:22", "'some' is not one of failed, all, none"),
    "nobody approves": (
        GOOD_CHANGE + "  approval: {required: {}}\n",
        "5:24",
        "approval.required: is empty, and nothing runs",
    ),
    "approvers as a list": (
        GOOD_CHANGE + "  approval: {required: [a]}\n",
        "5:24",
        "approval.required: must be a mapping",
    ),
    "a role": (GOOD_CHANGE + "  approval: {required: {A B: 1}}\n", "5:30", "approval.required.A B: 'A B' is no name"),
    "no deadline": (
        GOOD_CHANGE + "  approval: {deadline: 0d}\n",
        "5:24",
        "approval.deadline: must be longer than nothing",
    ),
    "provider": (GOOD_CHANGE + "  rollback: {providers: [../x]}\n", "5:26", "rollback.providers[0]: '../x' is no name"),
    "health a mapping": (GOOD_CHANGE + "  health: {tcp: {port: 1}}\n", "5:11", "health: must be a list, not a mapping"),
    "health a text": (
        GOOD_CHANGE + "  health: [tcp]\n",
        "5:12",
        "health[0]: must be a mapping (key: value), not a text",
    ),
    "check unknown": (
        GOOD_CHANGE + "  health: [{htpt: {}}]\n",
        "5:13",
        "health[0]: the health check 'htpt' is unknown (did you mean 'http'?); there are http, tcp, command, disk",
    ),
    "check without options": (
        GOOD_CHANGE + "  health: [{tcp: }]\n",
        "5:12",
        "health[0]: names no check, or one without",
    ),
    "two checks": (
        GOOD_CHANGE + "  health: [{tcp: {port: 1}, disk: {min_free: 1G}}]\n",
        "5:12",
        "health[0]: holds disk and tcp",
    ),
    "option unknown": (
        GOOD_CHANGE + "  health: [{tcp: {prot: 1, port: 1}}]\n",
        "5:19",
        "health[0].tcp: the option 'prot' is unknown (did you mean 'port'?",
    ),
    "option missing": (GOOD_CHANGE + "  health: [{tcp: {}}]\n", "5:13", "health[0].tcp.port is missing"),
    "port": (GOOD_CHANGE + "  health: [{tcp: {port: 70000}}]\n", "5:25", "must be a whole number from 1 to 65535"),
    "redirects": (
        GOOD_CHANGE + "  health: [{http: {url: 'http://{host}', redirects: some}}]\n",
        "5:53",
        "health[0].http.redirects: 'some' is not one of same-host, anywhere, never",
    ),
    "status": (GOOD_CHANGE + "  health: [{http: {url: 'http://x', status: [200, 20]}}]\n", "5:45", "from 100 to 599"),
    "argv": (GOOD_CHANGE + "  health: [{command: {argv: []}}]\n", "5:29", "health[0].command.argv: is empty"),
    "size": (
        GOOD_CHANGE + "  health: [{disk: {min_free: 500}}]\n",
        "5:30",
        "500 is no size; write a whole number with",
    ),
    "two of a name": (
        GOOD_CHANGE + "  health: [{tcp: {port: 1}}, {tcp: {port: 1, timeout: 1s}}]\n",
        "5:30",
        "health[1]: is called 'tcp 1' like health[0]",
    ),
    "estimate": (GOOD_CHANGE + "  estimates: {patch: 10}\n", "5:22", "estimates.patch: 10 is no duration"),
    "label": (GOOD_CHANGE + "  labels: {Ä: b}\n", "5:11", "labels: 'Ä' is no name"),
}


@pytest.mark.parametrize(("template", "place", "said"), IN_THE_TEMPLATE.values(), ids=IN_THE_TEMPLATE)
def test_a_mistake_in_a_template_is_told_there(tmp_path: Path, template: str, place: str, said: str) -> None:
    mistakes = mistakes_in(tmp_path, "template: patch\n", template)
    assert (places(tmp_path, mistakes), said in mistakes[0].message) == ([f"templates/patch.yml:{place}"], True), (
        mistakes
    )


def test_a_default_that_is_wrong_in_the_change_is_told_where_it_is_declared(tmp_path: Path) -> None:
    template = TEMPLATE.replace("zone: {type: string, default: UTC}", "zone: {type: string, default: Mars}")
    mistakes = mistakes_in(tmp_path, REQUEST, template)
    assert places(tmp_path, mistakes) == ["templates/patch.yml:11:33"]


def test_every_mistake_of_both_files_is_told_at_once(tmp_path: Path) -> None:
    request = """\
template: patch
refrence: CHG1
parameters:
  produktion: web
  long: 90
  canary: ten
  start: tonight
  zone: Europe/Berln
"""
    template = TEMPLATE + "  prioritty: high\n  reboot: maybe\n"
    told = places(tmp_path, mistakes_in(tmp_path, request, template))
    assert told == [
        "request.yml:2:1",  # refrence
        "request.yml:3:1",  # production is missing
        "request.yml:4:3",  # produktion
        "request.yml:5:9",
        "request.yml:6:11",
        "request.yml:7:10",
        "request.yml:8:9",
        "templates/patch.yml:30:3",
        "templates/patch.yml:31:11",
    ]


def test_what_follows_from_a_mistake_is_not_told_again(tmp_path: Path) -> None:
    mistakes = mistakes_in(tmp_path, REQUEST + "  canary: many\n  soak: 5m\n  long: 4\n  cutoff: 9h\n")
    assert places(tmp_path, mistakes) == ["request.yml:4:11", "request.yml:6:9"]


def test_the_message_counts_and_lists_them(tmp_path: Path) -> None:
    (tmp_path / "request.yml").write_text("tempalte: x\n")
    with pytest.raises(InvalidInput) as caught:
        YamlIntake(tmp_path, StoppedClock()).read(tmp_path / "request.yml")
    assert str(caught.value).splitlines() == [
        f"{tmp_path}/request.yml cannot be used; correct 2 mistakes:",
        f"  {tmp_path}/request.yml:1:1: template is missing",
        f"  {tmp_path}/request.yml:1:1: the key 'tempalte' is unknown (did you mean 'template'?); "
        "there are template, reference, parameters",
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [(None, "there is no such file"), (b"#" * 300_000, "larger than 256 KiB"), (b"a: \xff", "this is not UTF-8")],
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, data: bytes | None, said: str) -> None:
    if data is not None:
        (tmp_path / "request.yml").write_bytes(data)
    with pytest.raises(InvalidInput, match=said):
        YamlIntake(tmp_path, StoppedClock()).read(tmp_path / "request.yml")
