"""The command line: thin commands over the same steps and queries as the pages."""
