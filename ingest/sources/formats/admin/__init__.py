"""The admin APIs of OpenAI and Anthropic, and others that are read alike."""
