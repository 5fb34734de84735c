"""The gate of costobs: budget enforcement and metering inside a model server."""

from costobs_gate.asgi import Gate

__all__ = ["Gate"]
