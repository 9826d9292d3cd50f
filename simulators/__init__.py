"""Stand-ins for the clouds: real servers on loopback that the official SDKs talk to, and that misbehave on request."""
