"""The templates that are shipped: what each asks for with as little said as it allows."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.adapters.intake.yaml_intake import YamlIntake
from orchestrator.domain.baseline import Candidate, Classification, why_not
from orchestrator.domain.change import ChangeKind, ChangeSpec, RebootPolicy
from orchestrator.domain.health import CheckKind
from orchestrator.domain.rollout import Amount, OnTrip
from orchestrator.errors import InvalidInput

SHIPPED = Path(__file__).parents[3] / "change_templates"
NOW = datetime(2026, 11, 21, 21, 7, 42, tzinfo=UTC)

#: What each template's own comment shows, and no more than it requires.
LEAST: dict[str, dict[str, Any]] = {
    "linux-emergency-patch": {"production": "all", "packages": ["libssl*"], "reason": "Exploited in the wild"},
    "linux-kernel-patch": {"production": "db", "window_start": "2026-12-13T02:00"},
    "linux-package-update": {"production": "web", "packages": ["nginx", "nginx-*"], "window_start": "now"},
    "linux-security-patch": {"production": "web", "window_start": "2026-12-12T22:00"},
    "mixed-service-patch": {"production": "shop", "tiers": ["shop_app", "shop_web"], "window_start": "now"},
    "windows-emergency-kb": {"production": "all", "kbs": ["KB5031234"], "reason": "Exploited in the wild"},
    "windows-monthly-cumulative": {"production": "windows", "window_start": "2026-12-12T22:00"},
}


class StoppedClock:
    def now(self) -> datetime:
        return NOW

    def sleep(self, seconds: float) -> None:
        raise AssertionError


INTAKE = YamlIntake(SHIPPED, StoppedClock())


def spec_of(folder: Path, template: str, **more: object) -> ChangeSpec:
    file = folder / "request.yml"
    file.write_text(yaml.safe_dump({"template": template, "parameters": LEAST[template] | more}))
    return INTAKE.read(file).spec


def takes(spec: ChangeSpec, name: str, kind: Classification = Classification.SECURITY) -> bool:
    update = Candidate(name=name, arch="amd64", from_version="1", version="2", classification=kind)
    return not why_not(update, spec.baseline, now=NOW)


def test_these_templates_are_shipped() -> None:
    assert set(INTAKE.names()) == set(LEAST)


@pytest.mark.parametrize("template", LEAST)
def test_a_template_renders_with_what_it_requires(tmp_path: Path, template: str) -> None:
    required = {parameter.name for parameter in INTAKE.describe(template).parameters if parameter.required}
    assert required <= set(LEAST[template])
    spec = spec_of(tmp_path, template)
    assert (spec.template, spec.production, spec.staging) == (template, *[LEAST[template]["production"]] * 2)
    assert spec.rollout.canary == Amount(value=1)
    assert sum(spec.approval.required.values()) >= 1


@pytest.mark.parametrize("template", LEAST)
def test_a_template_says_what_each_parameter_is_for(template: str) -> None:
    described = INTAKE.describe(template)
    assert described.description
    assert [parameter.name for parameter in described.parameters if not parameter.description] == []


@pytest.mark.parametrize("template", LEAST)
def test_the_request_in_a_templates_comment_is_good(tmp_path: Path, template: str) -> None:
    comment = re.findall(r"^#   (.*)$", (SHIPPED / f"{template}.yml").read_text(), flags=re.MULTILINE)
    (tmp_path / "request.yml").write_text("\n".join(comment))
    assert INTAKE.read(tmp_path / "request.yml").spec.template == template


@pytest.mark.parametrize("template", LEAST)
def test_a_template_misses_what_it_requires(tmp_path: Path, template: str) -> None:
    (tmp_path / "request.yml").write_text(f"template: {template}\n")
    required = [parameter.name for parameter in INTAKE.describe(template).parameters if parameter.required]
    with pytest.raises(InvalidInput) as caught:
        INTAKE.read(tmp_path / "request.yml")
    assert len(caught.value.mistakes) == len(required)


def test_the_security_patch_takes_security_updates_only(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "linux-security-patch", exclude=["postgresql*"])
    assert takes(spec, "openssl")
    assert not takes(spec, "openssl", Classification.BUGFIX)
    assert not takes(spec, "postgresql-15")
    assert (spec.rollout.wave, spec.rollout.on_trip) == (Amount(value=50, percent=True), OnTrip.FAILED)
    assert spec.rollout.soak > timedelta(0)


def test_the_package_update_takes_the_named_packages_of_any_kind(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "linux-package-update", on_trip="all")
    assert takes(spec, "nginx-common", Classification.UNKNOWN)
    assert not takes(spec, "openssl")
    assert (spec.rollout.on_trip, spec.health) == (OnTrip.ALL, ())


def test_the_package_update_asks_the_page_that_it_is_given(tmp_path: Path) -> None:
    (check,) = spec_of(tmp_path, "linux-package-update", health_url="http://{address}/", health_status=204).health
    assert check.kind is CheckKind.HTTP
    assert (check.options["url"], check.options["status"]) == ("http://{address}/", "204")


def test_the_emergency_patch_is_for_the_emergency_cab_and_opens_now(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "linux-emergency-patch", advisories=["DSA-1-1", "CVE-2026-1"])
    assert (spec.kind, dict(spec.approval.required)) == (ChangeKind.EMERGENCY, {"ecab": 1})
    assert (spec.window.start, spec.window.zone) == ("2026-11-21T21:07", "UTC")
    assert spec.reason == "Exploited in the wild (DSA-1-1, CVE-2026-1)"
    assert spec.labels == {"advisories": "DSA-1-1 CVE-2026-1"}
    assert takes(spec, "libssl3", Classification.UNKNOWN)
    assert spec.approval.deadline < spec.window.duration


def test_the_kernel_patch_always_reboots_and_takes_kernels_only(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "linux-kernel-patch", approvals=2)
    assert spec.reboot is RebootPolicy.ALWAYS
    assert takes(spec, "linux-image-amd64", Classification.BUGFIX)
    assert takes(spec, "kernel-core", Classification.UNKNOWN)
    assert not takes(spec, "openssl")
    assert dict(spec.approval.required) == {"approver": 2}
    assert not takes(spec_of(tmp_path, "linux-kernel-patch", security_only=True), "kernel", Classification.BUGFIX)
