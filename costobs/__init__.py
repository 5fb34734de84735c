"""costobs: one ledger for what large language models cost."""
