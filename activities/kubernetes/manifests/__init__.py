"""What we apply to a cluster, as pure functions of release, shape, specification and facts of the site.

The functions return plain objects. They look at nothing else: the same arguments give the same manifests, byte for
byte, and golden files under tests/activities/kubernetes show all of them.
"""
