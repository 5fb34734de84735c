"""`make test-gcp`: the billing export read from an emulated BigQuery. Not collected by pytest: its file is no test_*.py."""
