"""EKS: control planes, node groups, add-ons, access, pod identities; the clusters are in the Kubernetes simulator."""
