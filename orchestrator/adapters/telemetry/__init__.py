"""Traces for OpenTelemetry; imported only where a site asks for them."""
