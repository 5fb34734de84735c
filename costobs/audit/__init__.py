"""The append-only record of privileged acts."""
