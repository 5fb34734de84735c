"""OpenTelemetry spans of calls of models."""
