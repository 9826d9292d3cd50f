"""Which versions of Kubernetes and of the add-ons EKS offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from simulators.aws.eks.records import Document

KUBERNETES_VERSIONS = ("1.31", "1.32", "1.33", "1.34", "1.35", "1.36")
"""The oldest first."""
DEFAULT_VERSION = "1.34"
EXTENDED_SUPPORT = frozenset({"1.31"})
PLATFORM_VERSION = "eks.9"
_PATCHES = MappingProxyType({"1.31": 14, "1.32": 11, "1.33": 8, "1.34": 4, "1.35": 1, "1.36": 0})
_IMAGE_DATE = "20261101"
_FIRST_SUPPORT_ENDS = 1_795_996_800.0
"""26 November 2026, in seconds since the epoch."""
_FOUR_MONTHS = 120 * 86_400.0
_YEAR = 365 * 86_400.0


def patch_of(version: str) -> str:
    """Return the newest patch of a minor version, `1.34.4`."""
    return f"{version}.{_PATCHES.get(version, 0)}"


def release_of(version: str) -> str:
    """Return the newest machine image's release for a minor version."""
    return f"{patch_of(version)}-{_IMAGE_DATE}"


def distance(older: str, newer: str) -> int:
    """Return by how many minor versions `newer` is ahead of `older`."""
    return KUBERNETES_VERSIONS.index(newer) - KUBERNETES_VERSIONS.index(older)


def describe_version(version: str) -> Document:
    """Return what DescribeClusterVersions says about a version."""
    support_ends = _FIRST_SUPPORT_ENDS + distance("1.31", version) * _FOUR_MONTHS - _YEAR
    extended = version in EXTENDED_SUPPORT
    return {
        "clusterVersion": version,
        "clusterType": "eks",
        "defaultPlatformVersion": PLATFORM_VERSION,
        "defaultVersion": version == DEFAULT_VERSION,
        "releaseDate": support_ends - _YEAR - 60 * 86_400.0,
        "endOfStandardSupportDate": support_ends + _YEAR,
        "endOfExtendedSupportDate": support_ends + 2 * _YEAR,
        "status": "extended-support" if extended else "standard-support",
        "versionStatus": "EXTENDED_SUPPORT" if extended else "STANDARD_SUPPORT",
        "kubernetesPatchVersion": patch_of(version),
    }


@dataclass(frozen=True)
class AddOnRelease:
    """One add-on of the marketplace's AWS section."""

    name: str
    kind: str
    namespace: str
    versions: tuple[str, ...]
    """The newest first; `{minor}` stands for the Kubernetes minor, for add-ons that follow it."""
    default: int = 0
    """Index of the default version."""
    needs_nodes: bool = False
    """Its pods are a Deployment: without nodes it cannot become healthy."""
    service_account: str = ""
    """The service account that needs permissions of AWS, if one does."""
    managed_policies: tuple[str, ...] = ()

    def versions_for(self, kubernetes: str) -> tuple[str, ...]:
        """Return its versions for one Kubernetes version, the newest first."""
        minor = kubernetes.partition(".")[2]
        return tuple(version.replace("{minor}", minor) for version in self.versions)

    def default_for(self, kubernetes: str) -> str:
        """Return the version that is installed when none is asked for."""
        return self.versions_for(kubernetes)[self.default]


ADD_ONS: Mapping[str, AddOnRelease] = MappingProxyType(
    {
        release.name: release
        for release in (
            AddOnRelease(
                "vpc-cni", "networking", "kube-system", ("v1.20.4-eksbuild.2", "v1.20.3-eksbuild.1"), 1,
                service_account="aws-node", managed_policies=("arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy",),
            ),
            AddOnRelease(
                "coredns", "networking", "kube-system", ("v1.12.4-eksbuild.1", "v1.12.1-eksbuild.2"), needs_nodes=True,
            ),
            AddOnRelease(
                "kube-proxy", "networking", "kube-system", ("v1.{minor}.2-eksbuild.4", "v1.{minor}.0-eksbuild.2"), 1,
            ),
            AddOnRelease(
                "aws-ebs-csi-driver", "storage", "kube-system", ("v1.52.1-eksbuild.1", "v1.51.1-eksbuild.1"),
                needs_nodes=True, service_account="ebs-csi-controller-sa",
                managed_policies=("arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy",),
            ),
            AddOnRelease(
                "eks-pod-identity-agent", "security", "kube-system", ("v1.3.9-eksbuild.3", "v1.3.8-eksbuild.2"),
            ),
            AddOnRelease(
                "metrics-server", "observability", "kube-system", ("v0.8.0-eksbuild.3", "v0.8.0-eksbuild.2"),
                needs_nodes=True,
            ),
        )
    }
)  # fmt: skip
"""Keyed by name."""
