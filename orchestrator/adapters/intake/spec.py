"""The validated words of a request as the domain's ChangeSpec."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from orchestrator.adapters.intake.body import Baseline, Body, Rollout, Window
from orchestrator.adapters.intake.values import NOW
from orchestrator.domain.approval import ApprovalPolicy
from orchestrator.domain.baseline import PatchBaseline
from orchestrator.domain.calendar import MaintenanceWindow, to_utc
from orchestrator.domain.change import ChangeSpec, RollbackPolicy
from orchestrator.domain.rollback import NO_WAY_BACK
from orchestrator.domain.rollout import RolloutPolicy


def to_spec(body: Body, *, template: str, reference: str, now: datetime) -> ChangeSpec:
    """Return what the body asks for; ``now`` is the moment for which the word ``now`` stands."""
    tightest = [check.disk.min_free for check in body.health if check.disk]
    more = {"min_free": max(tightest)} if tightest else {}
    return ChangeSpec(
        title=body.title,
        kind=body.kind,
        reason=body.reason,
        priority=body.priority,
        reference=reference,
        template=template,
        production=body.targets.production,
        staging=body.targets.staging,
        baseline=_baseline(body.baseline),
        rollout=_rollout(body.rollout),
        window=_window(body.window, now),
        approval=ApprovalPolicy(
            required=dict(body.approval.required),
            deadline=body.approval.deadline,
            exclude_authors=body.approval.exclude_authors,
        ),
        rollback=RollbackPolicy(
            providers=body.rollback.providers,
            hold=body.rollback.hold,
            no_way_back=tuple(sorted({*NO_WAY_BACK, *body.rollback.no_way_back})),
        ),
        reboot=body.reboot,
        restart_services=body.restart_services,
        health=tuple(item.service.domain() for item in body.health if item.service),
        ignored_units=body.ignored_units,
        estimates=body.estimates.durations(),
        labels=dict(body.labels),
        **more,
    )


def _baseline(baseline: Baseline) -> PatchBaseline:
    return PatchBaseline(
        classifications=baseline.classifications,
        severities=baseline.severities,
        delay=baseline.delay,
        include=baseline.include,
        exclude=baseline.exclude,
    )


def _rollout(rollout: Rollout) -> RolloutPolicy:
    return RolloutPolicy(
        canary=rollout.canary,
        wave=rollout.wave,
        batch=rollout.batch,
        soak=rollout.soak,
        max_failures=rollout.max_failures,
        max_unfit=rollout.max_unfit,
        on_trip=rollout.on_trip,
        one_at_a_time_per=rollout.one_at_a_time_per,
        order=rollout.order,
    )


def _window(window: Window, now: datetime) -> MaintenanceWindow:
    start, zone = window.start, window.zone
    if start == NOW:
        start, zone = _this_minute(now, zone)
    return MaintenanceWindow(start=start, zone=zone, duration=window.duration, cutoff=window.cutoff)


def _this_minute(now: datetime, zone: str) -> tuple[str, str]:
    """Return the wall-clock minute in the zone; in UTC where the zone's clock shows that minute a second time.

    A wall-clock time that comes twice means the first in a window, which would be an hour ago.
    """
    minute = now.astimezone(UTC).replace(second=0, microsecond=0)
    local = f"{minute.astimezone(ZoneInfo(zone)):%Y-%m-%dT%H:%M}"
    return (local, zone) if to_utc(local, zone) == minute else (f"{minute:%Y-%m-%dT%H:%M}", "UTC")
