"""The room of budgets, the ladder, and the people and gates it speaks to."""
