"""What a good request becomes, and when two requests are the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.adapters.health import service_checks
from orchestrator.adapters.intake.yaml_intake import YamlIntake
from orchestrator.domain.approval import ApprovalPolicy
from orchestrator.domain.baseline import Classification, PatchBaseline
from orchestrator.domain.calendar import MaintenanceWindow
from orchestrator.domain.canonical import digest
from orchestrator.domain.change import ChangeKind, RebootPolicy
from orchestrator.domain.health import CheckKind, HealthCheck
from orchestrator.domain.rollback import NO_WAY_BACK
from orchestrator.domain.rollout import Amount, OneAtATimePer, OnTrip, RolloutPolicy
from orchestrator.errors import NotFound
from orchestrator.ports import Intake, RenderedRequest

NIGHT = datetime(2026, 11, 21, 21, 7, 42, tzinfo=UTC)


class StoppedClock:
    def __init__(self, now: datetime = NIGHT) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


EVERYTHING = """\
description: Every word there is.
parameters:
  production: {type: string, required: true}
  canary: {type: amount, default: 2}
  percent: {type: amount, default: 10%}
  long: {type: duration, default: 2h30m}
  start: {type: local-time, default: 2026-11-21T22:00}
  zone: {type: string, default: Europe/Berlin}
  packages: {type: list, default: [openssl, libssl3]}
  seats: {type: integer, default: 2}
  authors: {type: boolean, default: true}
  page: {type: string}
change:
  title: Patch {{ production }} with {{ packages }}
  kind: standard
  reason: >
    Because of {{ packages | join(' and ') }}.
  priority: high
  targets: {production: "{{ production }}", staging: "{{ production }}-staging"}
  baseline:
    classifications: [security, bugfix]
    severities: [critical]
    delay: 1w
    include: "{{ packages }}"
    exclude: [kernel*]
  reboot: never
  restart_services: false
  rollout:
    canary: "{{ canary }}"
    wave: "{{ percent }}"
    batch: 5
    soak: 10m
    max_failures: 1
    max_unfit: 20%
    on_trip: all
    one_at_a_time_per: cluster
  window: {start: "{{ start }}", zone: "{{ zone }}", duration: "{{ long }}", cutoff: 30m}
  approval: {required: {approver: "{{ seats }}", cab: 1}, deadline: 2d, exclude_authors: "{{ authors }}"}
  rollback: {providers: [packages, lab], hold: 5d, no_way_back: [mydb*]}
  health:
    - http: {url: "http://{address}:8080/health", status: 204, contains: fine, timeout: 3s, verify: false}
    - when: "{{ page }}"
      http: {name: page, url: "{{ page }}"}
    - tcp: {port: 22}
    - command: {argv: [curl, -f, "http://{host}/", "{}"], name: curl, rc: [0, 22], retries: 0, delay: 1s}
    - disk: {min_free: 500M}
  ignored_units: [cron.service]
  estimates: {patch: 20m, reboot: 1m}
  labels: {team: web, ticket-of: ops}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "everything.yml").write_text(EVERYTHING)
    return templates


def submit(folder: Path, text: str, clock: StoppedClock | None = None) -> RenderedRequest:
    file = folder.parent / "request.yml"
    file.write_text(text)
    intake: Intake = YamlIntake(folder, clock or StoppedClock())
    return intake.read(file)


def asked(parameters: str, reference: str = "") -> str:
    return f"template: everything\nreference: {reference}\nparameters: {{{parameters}}}\n"


def test_every_word_becomes_part_of_the_spec(folder: Path) -> None:
    spec = submit(folder, asked("production: web", "CHG0012345")).spec
    assert spec.title == "Patch web with openssl, libssl3"
    assert (spec.kind, spec.priority, spec.reference) == (ChangeKind.STANDARD, "high", "CHG0012345")
    assert spec.reason == "Because of openssl and libssl3."
    assert (spec.template, spec.production, spec.staging) == ("everything", "web", "web-staging")
    assert spec.baseline == PatchBaseline(
        classifications=(Classification.SECURITY, Classification.BUGFIX),
        severities=("critical",),
        delay=timedelta(weeks=1),
        include=("openssl", "libssl3"),
        exclude=("kernel*",),
    )
    assert (spec.reboot, spec.restart_services) == (RebootPolicy.NEVER, False)
    assert spec.rollout == RolloutPolicy(
        canary=Amount(value=2),
        wave=Amount(value=10, percent=True),
        batch=Amount(value=5),
        soak=timedelta(minutes=10),
        max_failures=Amount(value=1),
        max_unfit=Amount(value=20, percent=True),
        on_trip=OnTrip.ALL,
        one_at_a_time_per=OneAtATimePer.CLUSTER,
    )
    assert spec.window == MaintenanceWindow(
        start="2026-11-21T22:00",
        zone="Europe/Berlin",
        duration=timedelta(hours=2, minutes=30),
        cutoff=timedelta(minutes=30),
    )
    assert spec.approval == ApprovalPolicy(
        required={"approver": 2, "cab": 1}, deadline=timedelta(days=2), exclude_authors=True
    )
    assert spec.rollback.providers == ("packages", "lab")
    assert spec.rollback.hold == timedelta(days=5)
    assert set(spec.rollback.no_way_back) == {*NO_WAY_BACK, "mydb*"}
    assert spec.ignored_units == ("cron.service",)
    assert spec.min_free == 500 * 1024 * 1024
    assert (spec.estimates.patch, spec.estimates.verify) == (timedelta(minutes=20), timedelta(minutes=1))
    assert spec.labels == {"team": "web", "ticket-of": "ops"}


def test_health_checks_keep_their_own_words(folder: Path) -> None:
    spec = submit(folder, asked("production: web")).spec
    assert spec.health == (
        HealthCheck(
            name="http :8080/health",
            kind=CheckKind.HTTP,
            options={
                "url": "http://{address}:8080/health",
                "status": "204",
                "contains": "fine",
                "timeout": "3",
                "verify": "false",
            },
        ),
        HealthCheck(name="tcp 22", kind=CheckKind.TCP, options={"port": "22"}),
        HealthCheck(
            name="curl",
            kind=CheckKind.COMMAND,
            options={
                "argv": '["curl", "-f", "http://{host}/", "{}"]',
                "rc": "0,22",
                "retries": "0",
                "delay": "1",
            },
        ),
    )


def test_the_checks_are_understood_by_those_who_carry_them_out(folder: Path) -> None:
    carriers = service_checks()
    for check in submit(folder, asked("production: web")).spec.health:
        assert carriers[check.kind].check([], check) == []


def test_an_item_with_when_is_there_only_then(folder: Path) -> None:
    spec = submit(folder, asked('production: web, page: "http://{address}/"')).spec
    assert [check.name for check in spec.health] == ["http :8080/health", "page", "tcp 22", "curl"]


def test_a_text_that_looks_like_something_else_stays_a_text(folder: Path) -> None:
    assert submit(folder, asked('production: "2026"')).spec.production == "2026"
    assert submit(folder, asked("production: no")).spec.production == "no"
    assert submit(folder, asked('production: "[1]"')).spec.production == "[1]"


def test_jinja_in_a_parameter_is_text_and_nothing_else(folder: Path) -> None:
    spec = submit(folder, asked("""production: "{{7-1}}" """)).spec
    assert spec.production == "{{7-1}}"


def test_the_digest_is_that_of_the_spec(folder: Path) -> None:
    request = submit(folder, asked("production: web"))
    assert request.digest == digest(request.spec)


SAME_SOURCE = [
    asked("production: web"),
    "# a comment\n" + asked("production: web"),
    "parameters:\n    production: 'web'\n    page:\ntemplate: everything\n",
]


@pytest.mark.parametrize("text", SAME_SOURCE)
def test_the_same_source_written_otherwise_is_the_same_change(folder: Path, text: str) -> None:
    assert submit(folder, text).source_key == submit(folder, SAME_SOURCE[0]).source_key


@pytest.mark.parametrize(
    "text", [asked("production: db"), asked("production: web", "CHG1"), asked("production: web, canary: 3")]
)
def test_another_source_is_another_change(folder: Path, text: str) -> None:
    assert submit(folder, text).source_key != submit(folder, SAME_SOURCE[0]).source_key


def test_a_change_of_the_template_does_not_make_the_request_another_one(folder: Path) -> None:
    before = submit(folder, asked("production: web"))
    (folder / "everything.yml").write_text(EVERYTHING.replace("priority: high", "priority: low"))
    after = submit(folder, asked("production: web"))
    assert (after.source_key, after.digest != before.digest) == (before.source_key, True)


def test_now_is_this_minute_in_the_zone(folder: Path) -> None:
    window = submit(folder, asked("production: web, start: now")).spec.window
    assert (window.start, window.zone) == ("2026-11-21T22:07", "Europe/Berlin")


def test_now_is_the_same_source_an_hour_later(folder: Path) -> None:
    clock = StoppedClock()
    first = submit(folder, asked("production: web, start: now"), clock)
    clock.sleep(3600)
    second = submit(folder, asked("production: web, start: now"), clock)
    assert first.source_key == second.source_key
    assert first.spec.window.start != second.spec.window.start


def test_now_in_the_hour_that_comes_twice_is_told_in_utc(folder: Path) -> None:
    first_time = StoppedClock(datetime(2026, 10, 25, 0, 30, tzinfo=UTC))
    second_time = StoppedClock(datetime(2026, 10, 25, 1, 30, tzinfo=UTC))
    request = asked("production: web, start: now")
    assert submit(folder, request, first_time).spec.window.start == "2026-10-25T02:30"
    window = submit(folder, request, second_time).spec.window
    assert (window.start, window.zone) == ("2026-10-25T01:30", "UTC")


def test_the_templates_are_named_and_described(folder: Path) -> None:
    intake = YamlIntake(folder, StoppedClock())
    assert intake.names() == ("everything",)
    described = intake.describe("everything")
    assert (described.description, described.file) == ("Every word there is.", folder / "everything.yml")
    parameters = {parameter.name: parameter for parameter in described.parameters}
    assert (parameters["production"].required, parameters["production"].default) == (True, None)
    assert (parameters["percent"].type, parameters["percent"].default) == ("amount", "10%")
    assert parameters["packages"].default == ["openssl", "libssl3"]


def test_a_template_that_is_not_there_is_not_found(folder: Path) -> None:
    with pytest.raises(NotFound, match="did you mean 'everything'"):
        YamlIntake(folder, StoppedClock()).describe("everythin")
    assert YamlIntake(folder / "nowhere", StoppedClock()).names() == ()


def test_a_rendered_change_shows_its_values(folder: Path) -> None:
    file = folder.parent / "request.yml"
    file.write_text(asked("production: web, start: now"))
    change = YamlIntake(folder, StoppedClock()).render(file)
    assert change["title"] == "Patch web with openssl, libssl3"
    assert change["window"] == {"start": "now", "zone": "Europe/Berlin", "duration": "2h30m", "cutoff": "30m"}
