"""Who the site's people are, who is calling, and what a person signs with an SSH key."""

from orchestrator.adapters.identity.caller import Caller, calling_account
from orchestrator.adapters.identity.people_file import read_people
from orchestrator.adapters.identity.signers import SiteSigners

__all__ = ["Caller", "SiteSigners", "calling_account", "read_people"]
