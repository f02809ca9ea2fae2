"""The modules of ansible.windows that the simulated hosts know."""

from lab.windows.modules import background, basics, files, registry, scripting, services, software, updating

__all__ = ["background", "basics", "files", "registry", "scripting", "services", "software", "updating"]
