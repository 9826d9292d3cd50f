"""The vendor's product as the simulated containers run it: a database server of five components."""

from simulators.kubernetes.applications.components import Component
from simulators.kubernetes.applications.monitoring import monitored
from simulators.kubernetes.applications.public import Request, Response, answer

__all__ = ["Component", "Request", "Response", "answer", "monitored"]
