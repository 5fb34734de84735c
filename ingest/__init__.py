"""The room of what vendors deliver, loaded exactly once."""
