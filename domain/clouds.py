"""The clouds in which a data plane can live."""

from __future__ import annotations

from enum import StrEnum


class Cloud(StrEnum):
    """A cloud provider."""

    AWS = "aws"
    GCP = "gcp"
    AZURE = "azure"


class Purpose(StrEnum):
    """What a set of permissions in the customer's account is for; the customer grants each one by itself."""

    OBSERVE = "observe"
    OPERATE = "operate"
    DELETE = "delete"
