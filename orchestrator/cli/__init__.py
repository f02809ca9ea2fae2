"""The ``orchestrator`` command: parse, ask the flow, show."""
