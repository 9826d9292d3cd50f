"""A simulated Google Cloud: the official SDKs talk to it over gRPC and HTTP on loopback.

Every call takes the same way (`front`): it is authenticated, meets the faults of its world, is refused where its API is
disabled or a permission is missing, is answered by a service, and is written into the journal. The services hold
resources as the JSON documents of the public REST API; `rpc` translates for the APIs that the SDKs call by gRPC.
"""
