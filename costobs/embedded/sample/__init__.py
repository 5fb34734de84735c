"""The sample organisation: invented bills, token logs and GPU telemetry, shaped like real ones, always the same."""
