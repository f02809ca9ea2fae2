"""Find plugins by entry point, and say plainly why one cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Generic, TypeAlias, TypeVar

from orchestrator import ports
from orchestrator.errors import NotFound, OrchestratorError, Unavailable

T = TypeVar("T")

#: What an entry point names: it is called with the site's name for the plugin and its table of settings.
Factory: TypeAlias = Callable[[str, Mapping[str, object]], T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """One plugin as installed; ``problem`` says why it cannot be used, "" where it can."""

    group: str
    name: str
    distribution: str
    version: str
    problem: str = ""


class Registry(Generic[T]):
    """The plugins of one kind, by name.

    A factory may have an attribute ``unusable_because``, a function without arguments that returns what is missing on
    this machine (a program, a library, a licence), or an empty text.
    """

    def __init__(self, group: str) -> None:
        self.group = group

    def names(self) -> tuple[str, ...]:
        """Return the names of all plugins, usable or not."""
        return tuple(sorted(metadata.entry_points(group=self.group).names))

    def plugins(self) -> Sequence[Plugin]:
        """Return every plugin with where it comes from, and why it cannot be used, if so."""
        entries = sorted(metadata.entry_points(group=self.group), key=lambda entry: entry.name)
        return tuple(self._plugin(entry) for entry in entries)

    def create(self, plugin: str, name: str, options: Mapping[str, object]) -> T:
        """Make one with its settings.

        Raises NotFound where there is no such plugin, Unavailable where it cannot be used, InvalidInput where its
        settings are wrong.
        """
        factory = self._factory(self._entry(plugin))
        try:
            return factory(name, options)
        except OrchestratorError:
            raise
        except Exception as error:
            told = f"the plugin {plugin!r} of {self.group} failed while it was set up as {name!r}: {_told(error)}"
            raise Unavailable(told) from error

    def _entry(self, plugin: str) -> metadata.EntryPoint:
        found = tuple(metadata.entry_points(group=self.group, name=plugin))
        if not found:
            known = ", ".join(self.names()) or "none"
            raise NotFound(f"there is no plugin {plugin!r} of {self.group}; installed are: {known}.")
        if len(found) > 1:
            owners = ", ".join(sorted(_distribution(entry)[0] for entry in found))
            raise Unavailable(f"several plugins of {self.group} are called {plugin!r} ({owners}). Remove all but one.")
        return found[0]

    def _factory(self, entry: metadata.EntryPoint) -> Factory[T]:
        try:
            factory: Factory[T] = entry.load()
        except Exception as error:
            raise Unavailable(
                f"the plugin {entry.name!r} of {self.group} ({entry.value}) cannot be loaded: {_told(error)}. "
                f"Install what it needs, or remove {_distribution(entry)[0]}."
            ) from error
        reason = getattr(factory, "unusable_because", str)()
        if reason:
            raise Unavailable(f"the plugin {entry.name!r} of {self.group} cannot be used here: {reason}")
        return factory

    def _plugin(self, entry: metadata.EntryPoint) -> Plugin:
        distribution, version = _distribution(entry)
        problem = ""
        try:
            self._factory(self._entry(entry.name))
        except OrchestratorError as error:
            problem = str(error)
        return Plugin(
            group=self.group, name=entry.name, distribution=distribution, version=version, problem=problem
        )  # fmt: skip


def _distribution(entry: metadata.EntryPoint) -> tuple[str, str]:
    return (entry.dist.name, entry.dist.version) if entry.dist else ("an unknown package", "")


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


rollback_providers = Registry[ports.RollbackProvider]("orchestrator.rollback_providers")
health_checks = Registry[ports.ServiceCheck]("orchestrator.health_checks")
notifiers = Registry[ports.Notifier]("orchestrator.notifiers")

#: Every kind there is.
REGISTRIES = (rollback_providers, health_checks, notifiers)
