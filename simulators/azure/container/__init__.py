"""Azure Kubernetes Service: clusters, node pools, and the machines in the resource groups of their nodes."""
