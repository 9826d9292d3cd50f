"""The vendor's own AWS account, from which the control plane assumes roles in the customers' accounts."""

from __future__ import annotations

import json

import boto3
from botocore.config import Config
from pydantic import BaseModel, ConfigDict

VENDOR_ACCOUNT = "111111111111"
VENDOR_USER = "control-plane"

UNCHECKED = "unchecked"
"""What goes with an account's root key: the simulated AWS does not check it."""

_POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "arn:aws:iam::*:role/byoc/*"}],
}


class Vendor(BaseModel):
    """The credentials that the control plane runs with; the simulator made them up, they open nothing else."""

    model_config = ConfigDict(frozen=True)

    account: str
    principal: str
    """ARN that the customers' roles trust."""
    access_key_id: str
    secret_access_key: str

    @classmethod
    def make(cls, endpoint: str) -> Vendor:
        """Make the vendor's user with its policy and an access key, in the simulated AWS at `endpoint`."""
        iam = boto3.client(
            "iam",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id=VENDOR_ACCOUNT,
            aws_secret_access_key=UNCHECKED,
            config=Config(user_agent_extra="vendor-administrator"),
        )
        arn = iam.create_user(UserName=VENDOR_USER)["User"]["Arn"]
        iam.put_user_policy(UserName=VENDOR_USER, PolicyName="assume-byoc-roles", PolicyDocument=json.dumps(_POLICY))
        key = iam.create_access_key(UserName=VENDOR_USER)["AccessKey"]
        return cls(
            account=VENDOR_ACCOUNT,
            principal=arn,
            access_key_id=key["AccessKeyId"],
            secret_access_key=key["SecretAccessKey"],
        )
