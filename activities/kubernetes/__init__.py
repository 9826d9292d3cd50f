"""The server inside the customer's Kubernetes cluster; the same for every cloud."""
