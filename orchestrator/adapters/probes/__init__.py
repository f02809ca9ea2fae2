"""Direct looks at hosts over SSH, without Ansible, and the host keys that are pinned for both."""

from orchestrator.adapters.probes.host_keys import OfferedKeys, fetch_host_keys
from orchestrator.adapters.probes.known_hosts import HostKey, KnownHosts, PinnedKey
from orchestrator.adapters.probes.ssh import SshProbe

__all__ = ["HostKey", "KnownHosts", "OfferedKeys", "PinnedKey", "SshProbe", "fetch_host_keys"]
