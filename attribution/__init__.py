"""The room of who owns spend, and what one unit costs."""
