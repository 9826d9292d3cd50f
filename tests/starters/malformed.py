"""Files that must be refused, with the field and the words that the refusal has to contain.

Every door (function, CLI, API) is tested with the same table.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Malformed:
    """One file that is refused."""

    name: str
    text: str
    path: str
    """The field that the refusal names; empty if the file cannot be read at all."""
    words: tuple[str, ...]
    """What the refusal must say: the value, and what is allowed."""
    line: int
    """The line that it names."""


def deployment(spec: str = "", *, name: str = "acme-prod", region: str = "eu-central-1", rest: str = "") -> str:
    """Return a deployment's file that is right but for what is given; `spec` begins on line 9, indented by two."""
    return (
        "apiVersion: byoc.dev/v1\n"
        "kind: Deployment\n"
        f"metadata: {{name: {name}}}\n"
        "spec:\n"
        "  account: acme-aws\n"
        f"  region: {region}\n"
        "  endpoint:\n"
        "    domain: prod.db.acme.example\n"
        f"{spec}{rest}"
    )


ACCOUNT = '  customer: acme\n  cloud: aws\n  cloudAccountId: "111122223333"\n  regions: [eu-central-1]\n'
"""What an account needs."""


def account(spec: str) -> str:
    """Return an account's file with this specification, which begins on line 5, indented by two."""
    return f"apiVersion: byoc.dev/v1\nkind: Account\nmetadata: {{name: acme-aws}}\nspec:\n{spec}"


MALFORMED = (
    Malformed("not YAML", "spec: [1, 2\nkind: x\n", "", ("not YAML",), 2),
    Malformed("empty file", "# nothing here\n", "", ("no document", "Deployment"), 0),
    Malformed("a list", "- apiVersion: byoc.dev/v1\n", "", ("must be a mapping", "apiVersion"), 1),
    Malformed(
        "another API's version",
        deployment().replace("byoc.dev/v1", "byoc.dev/v2"),
        "apiVersion",
        ('"byoc.dev/v2"', "byoc.dev/v1"),
        1,
    ),
    Malformed(
        "misspelt kind", deployment().replace("Deployment", "Deploiment"), "kind", ('did you mean "Deployment"?',), 2
    ),
    Malformed(
        "name with capitals", deployment(name="Acme_Prod"), "metadata.name", ('"Acme_Prod"', "lower-case letters"), 3
    ),
    Malformed("name too long", deployment(name="a" * 31), "metadata.name", ("too long", "at most 30"), 3),
    Malformed(
        "missing field",
        deployment().replace("  account: acme-aws\n", ""),
        "spec.account",
        ("is required", "connected account"),
        4,
    ),
    Malformed(
        "misspelt field",
        deployment("  highAvailabilty: true\n"),
        "spec.highAvailabilty",
        ("no field", 'did you mean "highAvailability"?'),
        9,
    ),
    Malformed(
        "Python's spelling of a field",
        deployment("  high_availability: true\n"),
        "spec.high_availability",
        ("no field", 'did you mean "highAvailability"?'),
        9,
    ),
    Malformed(
        "duplicate key",
        deployment("  region: eu-west-1\n"),
        "spec.region",
        ("given twice", "first on line 6"),
        9,
    ),
    Malformed("unknown shape", deployment("  shape: v1-tiny\n"), "spec.shape", ('"v1-tiny"', "v1-small"), 9),
    Malformed(
        "high availability of the small shape",
        deployment("  shape: v1-small\n  highAvailability: true\n"),
        "spec.highAvailability",
        ("v1-small", "v1-medium or v1-large"),
        10,
    ),
    Malformed(
        "text for a truth value",
        deployment('  highAvailability: "yes"\n'),
        "spec.highAvailability",
        ('"yes"', "true or false"),
        9,
    ),
    Malformed(
        "misspelt region",
        deployment(region="eu-centrl-1"),
        "spec.region",
        ('"eu-centrl-1"', 'did you mean "eu-central-1"?'),
        6,
    ),
    Malformed(
        "region with two zones for high availability",
        deployment("  shape: v1-medium\n  highAvailability: true\n", region="us-west-1"),
        "spec.region",
        ("2 zones", "needs 3"),
        6,
    ),
    Malformed(
        "unknown release", deployment("  release: 4.12.9\n"), "spec.release", ('"4.12.9" is not a release', "4.12.1"), 9
    ),
    Malformed(
        "withdrawn release",
        deployment("  release: 4.12.0\n"),
        "spec.release",
        ("is withdrawn: Change data", "4.12.1"),
        9,
    ),
    Malformed(
        "version that YAML reads as a number",
        deployment("  kubernetes: 1.30\n"),
        "spec.kubernetes",
        ("1.30 is a number", 'quotes: "1.30"'),
        9,
    ),
    Malformed(
        "deprecated Kubernetes version",
        deployment('  release: 4.11.0\n  kubernetes: "1.33"\n'),
        "spec.kubernetes",
        ('"1.33" is deprecated on aws', "1.34, 1.35"),
        10,
    ),
    Malformed(
        "Kubernetes version that the release does not run on",
        deployment('  release: 4.10.2\n  kubernetes: "1.35"\n'),
        "spec.kubernetes",
        ("release 4.10.2 does not run on", "Allowed: 1.34"),
        10,
    ),
    Malformed(
        "public range",
        deployment("  network: {cidr: 8.8.0.0/16}\n"),
        "spec.network.cidr",
        ('"8.8.0.0/16"', "RFC 1918", "10.0.0.0/8"),
        9,
    ),
    Malformed(
        "range too small",
        deployment("  network: {cidr: 10.1.0.0/24}\n"),
        "spec.network.cidr",
        ("too small", "/16 to /20"),
        9,
    ),
    Malformed(
        "range with host bits",
        deployment("  network: {cidr: 10.64.0.1/16}\n"),
        "spec.network.cidr",
        ('"10.64.0.1/16"', "10.64.0.0/16"),
        9,
    ),
    Malformed(
        "range beside an existing network",
        deployment(
            "  network:\n"
            "    cidr: 10.64.0.0/16\n"
            "    existing: {networkId: vpc-0a1b2c3d, privateSubnetIds: [subnet-0a1b2c3d, subnet-1a1b2c3d]}\n"
        ),
        "spec.network.cidr",
        ("beside an existing network", "either cidr or existing"),
        10,
    ),
    Malformed(
        "one private subnet",
        deployment("  network:\n    existing: {networkId: vpc-0a1b2c3d, privateSubnetIds: [subnet-0a1b2c3d]}\n"),
        "spec.network.existing.privateSubnetIds",
        ("1 private subnets", "at least 2"),
        10,
    ),
    Malformed(
        "domain that is an address",
        deployment().replace("prod.db.acme.example", "10.1.2.3"),
        "spec.endpoint.domain",
        ('"10.1.2.3"', "DNS name"),
        8,
    ),
    Malformed(
        "webhook without TLS",
        deployment("  authWebhook: {url: http://login.acme.example/}\n"),
        "spec.authWebhook.url",
        ("does not start with https://",),
        9,
    ),
    Malformed(
        "webhook with credentials",
        deployment("  authWebhook: {url: https://ada:hunter2@login.acme.example/}\n"),
        "spec.authWebhook.url",
        ("credentials", "***@login.acme.example"),
        9,
    ),
    Malformed(
        "webhook to an address",
        deployment("  authWebhook: {url: https://169.254.169.254/latest}\n"),
        "spec.authWebhook.url",
        ("leads to an address",),
        9,
    ),
    Malformed(
        "limits of what cannot be scaled",
        deployment("  scaling:\n    cdc: {minimum: 1, maximum: 2}\n"),
        "spec.scaling.cdc",
        ('"cdc" cannot be set', "store, api, subscription"),
        10,
    ),
    Malformed(
        "minimum above maximum",
        deployment("  scaling:\n    api: {minimum: 5, maximum: 2}\n"),
        "spec.scaling.api",
        ("minimum 5 is greater than maximum 2",),
        10,
    ),
    Malformed(
        "limits beyond the shape",
        deployment("  scaling:\n    api: {minimum: 1, maximum: 99}\n"),
        "spec.scaling.api.maximum",
        ("99", "v1-small", "1 to 8"),
        10,
    ),
    Malformed(
        "account id without quotes",
        account("  customer: acme\n  cloud: aws\n  cloudAccountId: 012345670123\n  regions: [eu-central-1]\n"),
        "spec.cloudAccountId",
        ("is a number", '"012345670123"'),
        7,
    ),
    Malformed(
        "region of another cloud",
        account('  customer: acme\n  cloud: aws\n  cloudAccountId: "111122223333"\n  regions: [europe-west3]\n'),
        "spec.regions[0]",
        ('"europe-west3" is not a region of aws',),
        8,
    ),
    Malformed(
        "a side that there is not",
        account(ACCOUNT + "  approvals:\n    destructive: [vender]\n"),
        "spec.approvals.destructive[0]",
        ('"vender"', 'did you mean "vendor"', "vendor, customer"),
        10,
    ),
    Malformed(
        "an approval's life as a number",
        account(ACCOUNT + "  approvals:\n    expiresAfter: 72\n"),
        "spec.approvals.expiresAfter",
        ('"72" is not a duration', "PT72H"),
        10,
    ),
    Malformed(
        "one person for both sides",
        account(
            ACCOUNT
            + "  approvals:\n    destructive: [vendor, customer]\n    approvers: {vendor: [ada], customer: [Ada]}\n"
        ),
        "spec.approvals.destructive",
        ("both sides", "two persons", "two different approvers"),
        10,
    ),
)
