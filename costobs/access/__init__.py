"""Who may see what: roles, API tokens, and the scope every query carries."""
