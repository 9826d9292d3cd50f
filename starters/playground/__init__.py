"""The whole control plane on one machine: simulated clouds, a Temporal server, workers, and a story that uses them."""
