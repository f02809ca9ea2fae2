"""The arguments that all patch modules share."""


class ModuleDocFragment:
    """`extends_documentation_fragment: patch_job`."""

    DOCUMENTATION = r"""
options:
  job:
    description:
      - What is to be done on this host, as the orchestrator writes it into the host variable C(patch_job).
      - Its keys are described in docs/playbook-interface.md; C(change) is always needed, C(token) by all that acts.
    type: dict
    required: true
  family:
    description: Which package manager the host has; empty finds out.
    type: str
    default: ""
requirements:
  - Python 3.6 or newer on the host; Linux with systemd
"""
