"""Compute Engine: networks, load balancers, disks, and the machines that clusters put into a project."""
