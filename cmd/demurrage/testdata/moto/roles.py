"""Deploys deploy/member-roles.yaml to moto, as stacks of the accounts and as a self-managed StackSet, and prints as JSON
what came of it. Arguments: moto's endpoint, the template, and the accounts by name, as JSON.
"""

import ast
import json
import sys

import boto3
from botocore.config import Config

ENDPOINT, ACCOUNTS = sys.argv[1], json.loads(sys.argv[3])
TEMPLATE = open(sys.argv[2]).read()
EAST, TOKYO = "us-east-1", "ap-northeast-1"
NAMES = ("platform", "shop", "pay", "hub")


def client(account, service, region):
    keys = {"aws_access_key_id": "AKIAHUB0000000000000", "aws_secret_access_key": "secret"}
    config = Config(retries={"total_max_attempts": 1})
    if account != "hub":
        sts = boto3.client("sts", region_name=region, endpoint_url=ENDPOINT, config=config, **keys)
        arn = f"arn:aws:iam::{ACCOUNTS[account]}:role/Seed"
        c = sts.assume_role(RoleArn=arn, RoleSessionName="seed")["Credentials"]
        keys = {
            "aws_access_key_id": c["AccessKeyId"],
            "aws_secret_access_key": c["SecretAccessKey"],
            "aws_session_token": c["SessionToken"],
        }
    return boto3.client(service, region_name=region, endpoint_url=ENDPOINT, config=config, **keys)


def parameters(**more):
    values = {
        "HubPrincipalArn": f"arn:aws:iam::{ACCOUNTS['hub']}:role/DemurrageHub",
        "ExternalId": "of-the-tests",
        "OrganizationId": "o-exampleorgid",
        "HomeRegion": EAST,
        "SweepRole": "yes",
    } | more
    return [{"ParameterKey": k, "ParameterValue": v} for k, v in values.items()]


def found(account, region, stack):
    """What a stack has, with the roles as IAM tells them."""
    cloudformation, iam = client(account, "cloudformation", region), client(account, "iam", EAST)
    described = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    out = {"status": described["StackStatus"], "outputs": {}, "types": [], "roles": {}}
    out["outputs"] = {o["OutputKey"]: o["OutputValue"] for o in described.get("Outputs", [])}
    for resource in cloudformation.describe_stack_resources(StackName=stack)["StackResources"]:
        kind = resource.get("ResourceType", "")  # none of what moto does not know: cloudformation-exclusion in moto_test.go
        out["types"].append(kind)
        if kind == "AWS::IAM::Role":
            name = resource["PhysicalResourceId"]
            policy = iam.list_role_policies(RoleName=name)["PolicyNames"][0]
            document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
            if isinstance(document, str):  # cloudformation-policy
                document = ast.literal_eval(document)
            out["roles"][name] = {
                "trust": iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"],
                "policy": document,
            }
    return out


for name in NAMES:  # those of the seed, so that only the stacks' are left
    for role in ("DemurrageRead", "DemurrageSweep"):
        client(name, "iam", EAST).delete_role(RoleName=role)

stacks = {}
for name in NAMES:
    for region in (EAST, TOKYO):
        client(name, "cloudformation", region).create_stack(
            StackName="roles", TemplateBody=TEMPLATE, Capabilities=["CAPABILITY_NAMED_IAM"], Parameters=parameters()
        )
        stacks[f"{name}/{region}"] = found(name, region, "roles")

# The same by a StackSet, beside them: other names, and no sweep role.
hub = client("hub", "cloudformation", EAST)
hub.create_stack_set(
    StackSetName="roles",
    TemplateBody=TEMPLATE,
    Capabilities=["CAPABILITY_NAMED_IAM"],
    PermissionModel="SELF_MANAGED",
    Parameters=parameters(SweepRole="no", ReadRoleName="OfTheSet"),
)
hub.create_stack_instances(StackSetName="roles", Accounts=[ACCOUNTS[n] for n in NAMES], Regions=[EAST])
instances = {}
for name in NAMES:
    for stack in client(name, "cloudformation", EAST).describe_stacks()["Stacks"]:
        if stack["StackName"] != "roles":
            instances[name] = found(name, EAST, stack["StackName"])

json.dump({"stacks": stacks, "instances": instances}, sys.stdout, indent=1)
