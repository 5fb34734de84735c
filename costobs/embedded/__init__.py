"""The one-command stack: the servers a single machine needs, started, watched and stopped together."""
