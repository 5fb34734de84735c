"""Calls of models as logs tell them, and the tokens they count."""
