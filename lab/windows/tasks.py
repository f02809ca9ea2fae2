"""Modules of ansible.windows as the lab simulates them: one function each, registered with what it knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lab.windows import arguments
from lab.windows.arguments import ModuleFailed
from lab.windows.manifest import ModuleCall
from lab.windows.process import Process

if TYPE_CHECKING:
    from lab.windows.host import WindowsHost

Result = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run of a module: its checked arguments, whether it is only to look, and the process it runs in."""

    arguments: Mapping[str, Any]
    check: bool
    process: Process

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str) -> Any:
        return self.arguments.get(name)


Simulated = Callable[["WindowsHost", Task], Result]


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A simulated module: the options that it knows, and those that only Ansible's own action plugin gives."""

    name: str
    function: Simulated
    options: frozenset[str]
    private: frozenset[str]


MODULES: dict[str, Module] = {}


def simulates(name: str, options: str = "", *, private: str = "") -> Callable[[Simulated], Simulated]:
    """Register a module of ansible.windows; an option that is not named here may only be left at its default."""

    def register(function: Simulated) -> Simulated:
        MODULES[name] = Module(
            name=name,
            function=function,
            options=frozenset(options.split()),
            private=frozenset(private.split()),
        )
        return function

    return register


def carry_out(host: WindowsHost, call: ModuleCall, process: Process) -> Result:
    """Run a module; one that the lab does not simulate fails and says so."""
    given: Mapping[str, Any] = call.arguments
    try:
        module = _find(call.name)
        given = arguments.check(module.name, given, module.options, module.private)
        result = module.function(host, Task(arguments=given, check=call.check, process=process))
    except ModuleFailed as failed:
        result = {"failed": True, "msg": str(failed), **failed.result}
    if result.get("failed"):
        host.journal.add("module-failed", name=call.name, message=str(result.get("msg", "")))
    return {"changed": False, "invocation": {"module_args": dict(given)}, **result}


def _find(name: str) -> Module:
    import lab.windows.modules  # noqa: F401  (registers them)

    collection, _, short = name.rpartition(".")
    if collection not in ("ansible.windows", "ansible.legacy", "ansible.builtin", "") or short not in MODULES:
        known = ", ".join(sorted(MODULES))
        raise ModuleFailed(f"lab: the module {name} is not simulated; simulated are, of ansible.windows: {known}")
    return MODULES[short]
