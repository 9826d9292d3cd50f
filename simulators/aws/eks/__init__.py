"""EKS: control planes, node groups, add-ons, access and pod identities; the clusters are in the Kubernetes simulator."""
