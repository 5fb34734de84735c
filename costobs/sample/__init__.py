"""The sample organisation in an installation: loaded through the real path, topped up, judged by budgets, removed."""
