"""Seeds moto with a small organization, and prints as JSON what is where.

It is a foreign client on purpose: boto3 and moto share nothing with demurrage, so what they agree upon is AWS's, and
not our own idea of AWS. Everything is named by labels that the test knows; the ids, ARNs and digests behind them go to
stdout. The only argument is moto's endpoint.
"""

import hashlib
import json
import sys
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT = sys.argv[1]
EAST, TOKYO = "us-east-1", "ap-northeast-1"
ONCE = Config(retries={"total_max_attempts": 1})  # an error of moto's does not get better

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"

accounts = {}  # name -> id
images = {}  # "account/region/repository:label" -> digest
arns = {}  # label -> ARN
functions = {}  # ARN of a version -> what AWS would answer for its code
seen = {}  # deviation -> whether moto still has it; see the table in moto_test.go
sessions = {}


def session(name):
    """A session in an account: the hub's own credentials, or a role of the account."""
    if name not in sessions:
        keys = {"aws_access_key_id": "AKIAHUB0000000000000", "aws_secret_access_key": "secret"}
        if name != "hub":
            role = f"arn:aws:iam::{accounts.get(name, name)}:role/Seed"
            c = client("hub", "sts", EAST).assume_role(RoleArn=role, RoleSessionName="seed")["Credentials"]
            keys = {
                "aws_access_key_id": c["AccessKeyId"],
                "aws_secret_access_key": c["SecretAccessKey"],
                "aws_session_token": c["SessionToken"],
            }
        sessions[name] = boto3.Session(**keys)
    return sessions[name]


def client(account, service, region):
    return session(account).client(service, region_name=region, endpoint_url=ENDPOINT, config=ONCE)


# ---- ECR ------------------------------------------------------------------------------------------------------------


def sha256(text):
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def manifest(label, platform="linux/amd64"):
    """An OCI manifest as a build tool writes it: a config, a base layer that is everybody's, and one of its own."""
    layer = "application/vnd.oci.image.layer.v1.tar+gzip"
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": sha256(f"config of {label} for {platform}"),
                "size": 7023,
            },
            "layers": [
                {"mediaType": layer, "digest": sha256("base layer"), "size": 32654},
                {"mediaType": layer, "digest": sha256(f"layer of {label} for {platform}"), "size": 16724},
            ],
        }
    )


def index(children):
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [
                {
                    "mediaType": OCI_MANIFEST,
                    "digest": sha256(text),
                    "size": len(text),
                    "platform": {"os": "linux", "architecture": arch},
                }
                for arch, text in children.items()
            ],
        }
    )


def repository(account, region, name, readers=()):
    ecr = client(account, "ecr", region)
    ecr.create_repository(repositoryName=name, tags=[{"Key": "team", "Value": account}])
    if readers:
        statement = {
            "Sid": "pull",
            "Effect": "Allow",
            "Principal": {"AWS": [f"arn:aws:iam::{accounts[r]}:root" for r in readers]},
            "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        ecr.set_repository_policy(repositoryName=name, policyText=policy)

    def push(label, *tags, text=None, media_type=OCI_MANIFEST):
        text = text or manifest(f"{name}:{label}")
        digest = sha256(text)
        for tag in tags or [None]:
            named = {"imageTag": tag} if tag else {}
            # Without imageDigest moto makes up a digest that is not the manifest's.
            ecr.put_image(
                repositoryName=name, imageManifest=text, imageManifestMediaType=media_type, imageDigest=digest, **named
            )
        images[f"{account}/{region}/{name}:{label}"] = digest
        return digest

    return push


def uri(account, region, name, ref):
    host = f"{accounts[account]}.dkr.ecr.{region}.amazonaws.com"
    return f"{host}/{name}{'@' if ref.startswith('sha256:') else ':'}{ref}"


# ---- ECS ------------------------------------------------------------------------------------------------------------


def define(account, region, label, family, *refs, **more):
    """Registers a revision with a container for each reference."""
    containers = [
        {"name": f"c{i}", "image": ref, "cpu": 128, "memory": 256, "essential": i == 0} for i, ref in enumerate(refs)
    ]
    out = client(account, "ecs", region).register_task_definition(
        family=family, containerDefinitions=containers, **more
    )
    arns[label] = out["taskDefinition"]["taskDefinitionArn"]
    return arns[label]


def serve(account, region, name, definition, **more):
    if definition:
        more["taskDefinition"] = definition
    out = client(account, "ecs", region).create_service(
        cluster="main", serviceName=name, desiredCount=1, launchType="EC2", **more
    )
    arns[f"{account}-{name}"] = out["service"]["serviceArn"]


def run_task(account, region, label, ref):
    """Runs a task on Fargate."""
    ecs, ec2 = client(account, "ecs", region), client(account, "ec2", region)
    definition = define(
        account, region, label + "-definition", label, ref,
        networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
    )  # fmt: skip
    network = {"subnets": [ec2.describe_subnets()["Subnets"][0]["SubnetId"]]}
    request = {"cluster": "main", "taskDefinition": definition, "launchType": "FARGATE"}
    try:
        ecs.run_task(networkConfiguration={"awsvpcConfiguration": network}, **request)
        seen.setdefault("run-task-security-groups", False)
    except ClientError:
        seen["run-task-security-groups"] = True
    network["securityGroups"] = [ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]]
    out = ecs.run_task(networkConfiguration={"awsvpcConfiguration": network}, **request)
    arns[label] = out["tasks"][0]["taskArn"]
    return arns[label]


# ---- Lambda ---------------------------------------------------------------------------------------------------------


class Function:
    """A function made of images, that notes what Lambda resolves them to when a version is made.

    versions holds what AWS would tell of each version: moto knows neither images of other accounts nor digests.
    """

    def __init__(self, account, region, name, ref, digest):
        iam = client(account, "iam", EAST)
        trust = {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
            ],
        }
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
        self.client, self.name = client(account, "lambda", region), name
        out = self.client.create_function(FunctionName=name, Role=role, PackageType="Image", Code={"ImageUri": ref})
        self.latest = out["FunctionArn"] + ":$LATEST"
        self.note(self.latest, ref, digest)
        arns[f"{account}-{name}:$LATEST"] = self.latest
        self.label = f"{account}-{name}"

    def note(self, arn, ref, digest):
        host, _, path = ref.partition("/")
        path = path.partition("@")[0].partition(":")[0]
        functions[arn] = {"ImageUri": ref, "ResolvedImageUri": f"{host}/{path}@{digest}"}

    def update(self, ref, digest):
        self.client.update_function_code(FunctionName=self.name, ImageUri=ref)
        self.note(self.latest, ref, digest)

    def publish(self):
        out = self.client.publish_version(FunctionName=self.name)
        functions[out["FunctionArn"]] = dict(functions[self.latest])
        arns[f"{self.label}:{out['Version']}"] = out["FunctionArn"]
        return out["Version"]


# ---- The organization -----------------------------------------------------------------------------------------------


def organization():
    org = client("hub", "organizations", EAST)
    org.create_organization(FeatureSet="ALL")
    accounts["hub"] = org.describe_organization()["Organization"]["MasterAccountId"]
    for name in ("platform", "shop", "pay", "closed"):
        out = org.create_account(AccountName=name, Email=f"{name}@example.com")
        accounts[name] = out["CreateAccountStatus"]["AccountId"]
    org.close_account(AccountId=accounts["closed"])
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{accounts['hub']}:root"}, "Action": "sts:AssumeRole"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    for name in ("hub", "platform", "shop", "pay"):
        for role in ("DemurrageRead", "DemurrageSweep"):
            client(name, "iam", EAST).create_role(RoleName=role, AssumeRolePolicyDocument=policy)


def platform():
    """The shared registry: what the other accounts pull."""
    push = repository("platform", EAST, "base/envoy", readers=("shop", "pay"))
    for v in ("v1", "v2", "v3", "v5", "v6", "v7"):
        push(v, v)
    push("v4", "v4", "live")

    push = repository("platform", EAST, "base/multi", readers=("shop",))
    for label in ("m1", "m2"):
        children = {arch: manifest(f"base/multi:{label}", f"linux/{arch}") for arch in ("amd64", "arm64")}
        for arch, text in children.items():
            push(f"{label}-{arch}", text=text)
        push(label, label, text=index(children), media_type=OCI_INDEX)

    # A registry of its own in another region, and no policy: nobody else can pull from it.
    push = repository("platform", TOKYO, "base/agent")
    push("a1", "a1")
    push("a2", "a2")
    client("platform", "ecs", TOKYO).create_cluster(clusterName="main")
    # A service under an external controller has no task definition and no deployments, only task sets.
    definition = define("platform", TOKYO, "agent-definition", "agent", uri("platform", TOKYO, "base/agent", "a1"))
    serve("platform", TOKYO, "agent", None, deploymentController={"type": "EXTERNAL"})
    ecs = client("platform", "ecs", TOKYO)
    ecs.create_task_set(cluster="main", service="agent", taskDefinition=definition, launchType="EC2")
    # … and is not held by its revision alone, since that is not active any more.
    ecs.deregister_task_definition(taskDefinition=definition)


def shop():
    envoy = uri("platform", EAST, "base/envoy", "v1")
    push = repository("shop", TOKYO, "shop/web")
    for label in ("r1", "r2", "r3", "w1"):
        push(label, label)
    push("s1", "stable-1")
    push("r0")  # no tag

    ecs = client("shop", "ecs", TOKYO)
    ecs.create_cluster(clusterName="main")
    for label in ("r1", "r2", "r3"):
        definition = define("shop", TOKYO, f"web-{label}", "web", uri("shop", TOKYO, "shop/web", label), envoy)
    serve("shop", TOKYO, "web", definition)
    # A service on a revision that nobody could deploy any more.
    definition = define("shop", TOKYO, "worker-w1", "worker", uri("shop", TOKYO, "shop/web", "w1"), "docker.io/nginx:1")
    serve("shop", TOKYO, "worker", definition)
    ecs.deregister_task_definition(taskDefinition=definition)

    # An index by its tag, in a definition that nothing runs; and an image that is gone, in another.
    define("shop", EAST, "batch", "batch", uri("platform", EAST, "base/multi", "m1"))
    define("shop", EAST, "lost", "lost", uri("platform", EAST, "base/envoy", "sha256:" + "0" * 64))

    repository("shop", EAST, "legacy/thing")("x1", "x1")


def pay():
    push = repository("pay", EAST, "pay/api")
    push("p1", "p1")
    push("p2", "p2")
    for region in (EAST, TOKYO):
        client("pay", "ecs", region).create_cluster(clusterName="main")

    # A task that has stopped just now. And a running one, by digest, across accounts and regions.
    ecs = client("pay", "ecs", EAST)
    task = run_task("pay", EAST, "stopped", uri("pay", EAST, "pay/api", "p1"))
    seen["ecs-task-state"] = ecs.describe_tasks(cluster="main", tasks=[task])["tasks"][0]["lastStatus"] != "RUNNING"
    ecs.stop_task(cluster="main", task=task, reason="done")
    keep_tasks_running()
    run_task("pay", TOKYO, "runner", uri("platform", EAST, "base/envoy", images[f"platform/{EAST}/base/envoy:v2"]))
    for label in ("runner", "stopped"):  # the revisions alone keep nothing
        region = arns[label + "-definition"].split(":")[3]
        client("pay", "ecs", region).deregister_task_definition(taskDefinition=arns[label + "-definition"])

    # A service whose image is gone.
    definition = define("pay", EAST, "ghost-definition", "ghost", uri("platform", EAST, "base/envoy", "gone"))
    serve("pay", EAST, "ghost", definition)

    # A function of another account's images. Its tag moves between two versions.
    digest = lambda label: images[f"platform/{EAST}/base/envoy:{label}"]  # noqa: E731
    envoy = lambda ref: uri("platform", EAST, "base/envoy", ref)  # noqa: E731
    f = Function("pay", EAST, "settle", envoy("live"), digest("v4"))
    f.client.create_alias(FunctionName="settle", Name="prod", FunctionVersion=f.publish())
    f.update(envoy("v7"), digest("v7"))
    f.publish()
    ecr = client("platform", "ecr", EAST)
    # The image that loses the tag has another one: moto deletes an image that loses its last tag.
    ecr.put_image(
        repositoryName="base/envoy", imageManifest=manifest("base/envoy:v5"), imageManifestMediaType=OCI_MANIFEST,
        imageDigest=digest("v5"), imageTag="live",
    )  # fmt: skip
    f.update(envoy("live"), digest("v5"))
    f.publish()
    f.update(envoy(digest("v6")), digest("v6"))


def hub():
    push = repository("hub", EAST, "security/scanner")
    push("k1", "k1")
    push("k2", "k2")
    define("hub", EAST, "scanner", "scanner", uri("hub", EAST, "security/scanner", "k1"))
    client("hub", "s3", EAST).create_bucket(Bucket="demurrage-runs")

    # One image for each of the other services that moto has.
    push = repository("hub", EAST, "security/jobs")
    for label in ("batch", "codebuild", "sagemaker", "states", "events", "scheduler", "unused"):
        push(label, label)

    def image(label):
        return uri("hub", EAST, "security/jobs", label)

    role = f"arn:aws:iam::{accounts['hub']}:role/service"
    client("hub", "iam", EAST).create_role(RoleName="service", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": []}))
    arns["hub-batch"] = client("hub", "batch", EAST).register_job_definition(
        jobDefinitionName="scan", type="container", containerProperties={"image": image("batch"), "vcpus": 1, "memory": 128}
    )["jobDefinitionArn"]
    arns["hub-codebuild"] = client("hub", "codebuild", EAST).create_project(
        name="scan",
        source={"type": "S3", "location": "sources/scan.zip"},
        artifacts={"type": "S3", "location": "artifacts"},
        environment={"type": "LINUX_CONTAINER", "image": image("codebuild"), "computeType": "BUILD_GENERAL1_SMALL"},
        serviceRole=role,
    )["project"]["arn"]
    arns["hub-sagemaker"] = client("hub", "sagemaker", EAST).create_model(
        ModelName="scan", PrimaryContainer={"Image": image("sagemaker")}, ExecutionRoleArn=role
    )["ModelArn"]
    definition = {"StartAt": "run", "States": {"run": {"Type": "Pass", "Parameters": {"Image": image("states")}, "End": True}}}
    arns["hub-states"] = client("hub", "stepfunctions", EAST).create_state_machine(
        name="scan", definition=json.dumps(definition), roleArn=role
    )["stateMachineArn"]
    events = client("hub", "events", EAST)
    arns["hub-events"] = events.put_rule(Name="scan", ScheduleExpression="rate(1 day)")["RuleArn"]
    queue = f"arn:aws:sqs:{EAST}:{accounts['hub']}:scans"
    events.put_targets(Rule="scan", Targets=[{"Id": "1", "Arn": queue, "Input": json.dumps({"image": image("events")})}])
    arns["hub-scheduler"] = client("hub", "scheduler", EAST).create_schedule(
        Name="scan",
        ScheduleExpression="rate(1 day)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": queue, "RoleArn": role, "Input": json.dumps({"image": image("scheduler")})},
    )["ScheduleArn"]


def deviations():
    """Sees whether moto still needs what this script does around it, in an account that is not of the organization."""
    ecr = client("000000000001", "ecr", EAST)
    ecr.create_repository(repositoryName="probe")
    texts = manifest("probe:1"), manifest("probe:2")
    for text in texts:
        out = ecr.put_image(
            repositoryName="probe", imageManifest=text, imageManifestMediaType=OCI_MANIFEST, imageTag="moving"
        )
        seen["put-image-digest"] = out["image"]["imageId"]["imageDigest"] != sha256(text)
    seen["put-image-moved-tag"] = len(ecr.describe_images(repositoryName="probe")["imageDetails"]) == 1

    def put(text, media_type=OCI_MANIFEST, **more):
        ecr.put_image(
            repositoryName="probe", imageManifest=text, imageManifestMediaType=media_type, imageDigest=sha256(text), **more
        )

    child = manifest("probe:child")
    parent = index({"amd64": child})
    put(child)
    put(parent, OCI_INDEX, imageTag="index")
    out = ecr.batch_delete_image(repositoryName="probe", imageIds=[{"imageDigest": sha256(child)}])
    left = {i["imageDigest"] for i in ecr.describe_images(repositoryName="probe")["imageDetails"]}
    seen["delete-child"] = sha256(child) not in left
    seen["delete-untagged"] = not out["imageIds"] and not out["failures"]


def keep_tasks_running():
    """A look at a task brings it a step nearer to its end, unless moto is told to take its time."""
    body = json.dumps({"model_name": "ecs::task", "transition": {"progression": "manual", "times": 1_000_000}})
    request = urllib.request.Request(
        ENDPOINT + "/moto-api/state-manager/set-transition", body.encode(), {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request).read()


organization()
platform()
shop()
pay()
hub()
deviations()
json.dump({"accounts": accounts, "images": images, "arns": arns, "functions": functions, "seen": seen}, sys.stdout, indent=1)
