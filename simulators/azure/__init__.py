"""A simulated Azure: the official SDKs talk to it over HTTP on one loopback port, which tells hosts apart by `Host`.

Every call takes the same way (`front`): its plane (`api.Plane`) understands what it is, it meets the faults of its
world, is authenticated and authorized, is answered, and is written into the journal. The planes are Resource Manager
(`resource_manager`), Entra (`entra`).

Resource Manager is generic: a `kinds.Kind` says of a type of resource how long its changes take, with which statuses
they are answered, what is valid, and what becomes of it. It gives each kind what Azure gives all of them: permissions
on the resource and on those that it links to, registration of the namespace, entity tags, locks, tags, long-running
operations, and refusal to delete what is in use. To simulate a further type, register a kind in `simulator`.

Clusters of AKS are such kinds too (`container`). They run in the Kubernetes simulator; what they ask of Azure is
answered by `kubernetes_provider`, and public names lead into them by `names`.
"""
