"""Which site a command is about, opened when it is needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import typer

from orchestrator import logs
from orchestrator.domain.identity import Action, Actor
from orchestrator.flow.acting import permitted
from orchestrator.logs import LogLevel
from orchestrator.settings import find_site
from orchestrator.wiring import Site


@dataclass
class Opened:
    """The site that was named, or is around the current folder."""

    folder: Path | None
    _site: Site | None = field(default=None)

    @property
    def site(self) -> Site:
        """Return the site. Raises NotFound where there is none."""
        if self._site is None:
            self._site = Site(self.folder.absolute() if self.folder else find_site(Path.cwd()))
            # What a command has to say is its answer; a log is heard beside it when something is wrong.
            logs.begin(self._site.settings.log, least=LogLevel.WARNING)
        return self._site


def site_of(context: typer.Context) -> Site:
    """Return the site that a command is about."""
    return cast(Opened, context.find_root().obj).site


def actor_for(site: Site, action: Action) -> Actor:
    """Return who acts, by the operating-system account. Raises NotPermitted."""
    return permitted(site.signers.people(), site.caller(), action)
