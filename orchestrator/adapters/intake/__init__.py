"""Requests as people write them: YAML files, and the templates they fill in."""
