"""EKS: control planes, node groups, add-ons, access and pod identities, whose clusters live in the Kubernetes simulator."""
