"""Change-controlled patching for mixed fleets, from request to audit record."""

__version__ = "0.1.0"
