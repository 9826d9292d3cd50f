"""A Kubernetes API server with its controllers: one HTTPS endpoint, every simulated cluster under its own path."""
