"""The words under ``change:``, and what must hold between them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from pydantic import Field, StrictBool, ValidationInfo, field_validator

from orchestrator.adapters.intake.checks import Health
from orchestrator.adapters.intake.fields import (
    AnyHosts,
    Classifications,
    Duration,
    Filled,
    HostPattern,
    Labels,
    Line,
    LocalTime,
    Name,
    Part,
    Seats,
    SomeHosts,
    SomeTime,
    Text,
    Zone,
)
from orchestrator.adapters.intake.mistakes import contradiction
from orchestrator.adapters.intake.values import NOW, Unfit
from orchestrator.domain.admission import Durations
from orchestrator.domain.baseline import Classification
from orchestrator.domain.calendar import to_utc
from orchestrator.domain.change import TEMPLATE_ESTIMATES, ChangeKind, RebootPolicy
from orchestrator.domain.rollout import Amount, OneAtATimePer, OnTrip
from orchestrator.errors import InvalidInput


class Targets(Part):
    """Where: an Ansible host pattern for each inventory."""

    production: HostPattern
    staging: HostPattern


class Baseline(Part):
    """Which of the updates on offer."""

    classifications: Classifications = (Classification.SECURITY,)
    severities: tuple[Filled, ...] = ()
    delay: Duration = timedelta(0)
    include: tuple[Filled, ...] = ("*",)
    exclude: tuple[Filled, ...] = ()

    @field_validator("include")
    @classmethod
    def _includes_something(cls, include: tuple[str, ...]) -> tuple[str, ...]:
        if not include:
            raise Unfit('an empty list takes no update at all; leave the key out, or write ["*"], for every name')
        return include


class Window(Part):
    """When. Zone and duration stand before start and cutoff, because they decide about them."""

    zone: Zone
    start: LocalTime
    duration: SomeTime
    cutoff: Duration = timedelta(0)

    @field_validator("start")
    @classmethod
    def _exists(cls, start: str, info: ValidationInfo) -> str:
        if start != NOW:
            try:
                to_utc(start, info.data.get("zone", "UTC"))
            except InvalidInput as error:
                raise contradiction(str(error), against=("zone",)) from error
        return start

    @field_validator("cutoff")
    @classmethod
    def _leaves_time(cls, cutoff: timedelta, info: ValidationInfo) -> timedelta:
        duration = info.data.get("duration")
        if duration is not None and cutoff >= duration:
            raise contradiction(
                "must be shorter than the window's duration, or nothing could run", against=("duration",)
            )
        return cutoff


class Rollout(Part):
    """How it spreads."""

    canary: SomeHosts | None = None
    wave: SomeHosts = Amount(value=100, percent=True)
    batch: SomeHosts = Amount(value=100, percent=True)
    soak: Duration = timedelta(0)
    max_failures: AnyHosts = Amount(value=0)
    max_unfit: AnyHosts = Amount(value=10, percent=True)
    on_trip: OnTrip = OnTrip.FAILED
    one_at_a_time_per: OneAtATimePer | None = None
    order: tuple[Name, ...] = ()

    @field_validator("canary")
    @classmethod
    def _leaves_hosts(cls, canary: Amount | None) -> Amount | None:
        if canary is not None and canary.percent and canary.value == 100:
            raise Unfit("all of the hosts cannot be the canaries of the others")
        return canary

    @field_validator("batch")
    @classmethod
    def _fits_a_wave(cls, batch: Amount, info: ValidationInfo) -> Amount:
        wave = info.data.get("wave")
        if wave is not None and wave.percent == batch.percent is False and batch.value > wave.value:
            raise contradiction(f"a batch of {batch} does not fit into a wave of {wave}", against=("wave",))
        return batch

    @field_validator("soak")
    @classmethod
    def _has_canaries(cls, soak: timedelta, info: ValidationInfo) -> timedelta:
        if soak and "canary" in info.data and info.data["canary"] is None:
            raise contradiction("is waited after the canaries, and rollout.canary names none", against=("canary",))
        return soak


class Approval(Part):
    """Who has to agree."""

    required: dict[Name, Seats] = Field(default_factory=lambda: {"approver": 1})
    deadline: SomeTime = timedelta(days=7)
    exclude_authors: StrictBool = False

    @field_validator("required")
    @classmethod
    def _asks_somebody(cls, required: Mapping[str, int]) -> Mapping[str, int]:
        if not required:
            raise Unfit("is empty, and nothing runs that nobody agreed to; write {approver: 1} or the like")
        return required


class Rollback(Part):
    """The way back. ``no_way_back`` adds to the names that the product already refuses to promise."""

    providers: tuple[Name, ...] = ()
    hold: SomeTime = timedelta(days=3)
    no_way_back: tuple[Filled, ...] = ()


class Estimates(Part):
    """What the work takes, as long as nothing was measured."""

    patch: SomeTime = TEMPLATE_ESTIMATES.patch
    reboot: SomeTime = TEMPLATE_ESTIMATES.reboot
    verify: SomeTime = TEMPLATE_ESTIMATES.verify
    rollback: SomeTime = TEMPLATE_ESTIMATES.rollback

    def durations(self) -> Durations:
        """Return them as the domain knows them."""
        return Durations(patch=self.patch, reboot=self.reboot, verify=self.verify, rollback=self.rollback)


class Body(Part):
    """All of it. The window comes before the rollout, because a soak has to fit into it."""

    title: Line
    kind: ChangeKind = ChangeKind.NORMAL
    reason: Text = ""
    priority: Text = ""
    targets: Targets
    baseline: Baseline = Baseline()
    reboot: RebootPolicy = RebootPolicy.IF_REQUIRED
    restart_services: StrictBool = True
    window: Window
    rollout: Rollout = Rollout()
    approval: Approval = Approval()
    rollback: Rollback = Rollback()
    health: tuple[Health, ...] = ()
    ignored_units: tuple[Filled, ...] = ()
    estimates: Estimates = Estimates()
    labels: Labels = Field(default_factory=dict)

    @field_validator("rollout")
    @classmethod
    def _soaks_within_the_window(cls, rollout: Rollout, info: ValidationInfo) -> Rollout:
        window = info.data.get("window")
        if window is not None and rollout.soak >= window.duration - window.cutoff:
            said = "ends after the window's cutoff, so no host after the canaries could begin"
            raise contradiction(said, at=("soak",), against=("window",))
        return rollout

    @field_validator("health")
    @classmethod
    def _are_told_apart(cls, health: tuple[Health, ...]) -> tuple[Health, ...]:
        seen: dict[str, int] = {}
        for index, check in enumerate(health):
            if check.service is None:
                continue
            name = check.service.domain().name
            if seen.setdefault(name, index) != index:
                said = f"is called {name!r} like health[{seen[name]}]; give one of them a name of its own"
                raise contradiction(said, at=(index,), against=("health", seen[name]))
        return health
