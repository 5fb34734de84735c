"""The billing export of Google Cloud."""
