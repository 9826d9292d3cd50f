"""The vendor's own project, from which the control plane impersonates the customers' service accounts."""

from __future__ import annotations

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from simulators.gcp.documents import VENDOR_ACCOUNT, VENDOR_PROJECT, GcpVendor
from simulators.gcp.simulator import GoogleCloud
from simulators.secrets import SecretKind

_KEY_ID = "simulated"


def make_vendor(google: GoogleCloud) -> GcpVendor:
    """Make the vendor's service account with a key, whose tokens come from this cloud's own token endpoint."""
    project = google.cloud.project(VENDOR_PROJECT)
    project.services |= {"iam.googleapis.com", "iamcredentials.googleapis.com"}
    account = google.cloud.identities.add_account(VENDOR_PROJECT, VENDOR_ACCOUNT.partition("@")[0], {})
    google.cloud.identities.settle_now([VENDOR_ACCOUNT])
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    google.cloud.identities.trust_key(VENDOR_ACCOUNT, public.decode())
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    # One line of it tells it from everything else, however the text around it is written.
    google.cloud.world.secrets.note(SecretKind.PRIVATE_KEY, pem.decode().splitlines()[1])
    key = {
        "type": "service_account",
        "project_id": VENDOR_PROJECT,
        "private_key_id": _KEY_ID,
        "private_key": pem.decode(),
        "client_email": VENDOR_ACCOUNT,
        "client_id": account["uniqueId"],
        "token_uri": f"{google.url}/token",
    }
    return GcpVendor(project=VENDOR_PROJECT, principal=VENDOR_ACCOUNT, key=key)
