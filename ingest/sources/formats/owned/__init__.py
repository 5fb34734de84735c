"""Charges for what a company bought itself."""
