"""What Prometheus and exporters tell of GPUs and model servers."""
