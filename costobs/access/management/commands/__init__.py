"""Commands that hand out access."""
