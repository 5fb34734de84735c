"""The gate of costobs: budget enforcement and metering inside a model server."""
