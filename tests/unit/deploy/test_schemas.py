"""Every manifest matches the schemas of Kubernetes and KubeRay, including every field."""

import copy
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.unit.deploy.manifests import (
    DATA,
    K8S,
    LOADER,
    OVERLAYS,
    ROOT,
    Manifest,
    of_kind,
    overlay,
    pods,
    render,
)
from tests.unit.deploy.test_pods import documented_secrets

KUBERAY = ROOT.parent / "shared" / "kuberay"
KUBERNETES = "1.32"


def strict(schema: Any) -> Any:
    """Make a schema refuse unknown fields, which Kubernetes refuses or drops with a warning."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: strict(value) for name, value in schema.items()}
    is_object = isinstance(made.get("properties"), dict) and made.get("type") == "object"
    if is_object and not made.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


@pytest.fixture(scope="module")
def ray_schemas() -> dict[str, Any]:
    """Return KubeRay's schema of each of its kinds; skip the test if they are not available."""
    if not KUBERAY.is_dir():
        pytest.skip(f"{KUBERAY} does not exist: these tests need KubeRay's own definitions")
    found = {}
    for path in KUBERAY.glob("ray.io_*.yaml"):
        definition = yaml.load(path.read_text(), Loader=LOADER)
        (version,) = [each for each in definition["spec"]["versions"] if each["name"] == "v1"]
        schema = strict(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}  # defined by Kubernetes
        found[definition["spec"]["names"]["kind"]] = schema
    return found


def check_ray(manifest: Manifest, ray_schemas: dict[str, Any]) -> None:
    schema = ray_schemas[manifest["kind"]]
    jsonschema.validators.validator_for(schema)(schema).validate(
        manifest
    )  # without checking the schema first


def check_kubernetes(manifest: Manifest) -> None:
    validate = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate has the schemas of Kubernetes"
    )
    validate.validate(manifest, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", [*OVERLAYS, DATA])
def test_manifests_of_kubernetes_kinds_are_valid(name: str) -> None:
    own = [manifest for manifest in overlay(name) if not manifest["apiVersion"].startswith("ray.io/")]
    assert len(own) >= (3 if name == DATA else 9)
    for manifest in own:
        check_kubernetes(manifest)


@pytest.mark.parametrize("name", OVERLAYS)
def test_manifests_of_kuberay_kinds_are_valid(name: str, ray_schemas: dict[str, Any]) -> None:
    rays = [manifest for manifest in overlay(name) if manifest["apiVersion"].startswith("ray.io/")]
    assert len(rays) == 1
    for manifest in rays:
        assert manifest["apiVersion"] == "ray.io/v1"
        check_ray(manifest, ray_schemas)


def test_a_misspelt_field_is_found(ray_schemas: dict[str, Any]) -> None:
    (job,) = copy.deepcopy(of_kind(overlay("cpu-demo"), "RayJob"))
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["resource"] = {}
    with pytest.raises(jsonschema.ValidationError, match="'resource' was unexpected"):
        check_ray(job, ray_schemas)
    (deployment,) = copy.deepcopy(of_kind(overlay("cpu-demo"), "Deployment"))
    deployment["spec"]["replica"] = 1
    with pytest.raises(jsonschema.ValidationError, match="'replica' was unexpected"):
        check_kubernetes(deployment)


def copied(tmp_path: Path) -> Path:
    """Copy deploy/k8s, to change it. Kustomize requires relative paths under one root."""
    return Path(shutil.copytree(K8S, tmp_path / "k8s"))


def test_an_external_database_replaces_ours(tmp_path: Path) -> None:
    chosen = copied(tmp_path) / "overlays" / "multi-node" / "kustomization.yaml"
    chosen.write_text(chosen.read_text() + "components: [../../components/external-database]\n")
    before, after = overlay("multi-node"), render(chosen.parent)
    names = [
        {(each["kind"], each["metadata"]["name"]) for each in manifests} for manifests in (before, after)
    ]
    gone = {"StatefulSet", "Service", "NetworkPolicy"}
    assert names[0] - names[1] == {(kind, "videossr-postgres") for kind in gone}
    assert names[1] < names[0]
    (policy,) = [
        each for each in after if each["kind"] == "NetworkPolicy" and "database" in each["metadata"]["name"]
    ]
    assert policy["spec"]["egress"] == [{"ports": [{"port": 5432}]}]
    check_kubernetes(policy)


@pytest.mark.parametrize("name", OVERLAYS)
def test_with_a_bucket_runs_write_to_it_and_the_page_reads_from_it(
    name: str, tmp_path: Path, ray_schemas: dict[str, Any]
) -> None:
    folder = copied(tmp_path) / "overlays" / "mine"
    folder.mkdir()
    (folder / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
        f"resources: [../{name}]\ncomponents: [../../components/bucket]\n"
    )
    before, after = overlay(name), render(folder)
    (policy,) = [each for each in after if each["metadata"]["name"] == "videossr-bucket-readers"]
    assert len(after) == len(before) + 1
    asked: dict[str, dict[str, str]] = {}
    for kind in pods(after):
        (container,) = kind.spec["containers"]
        found = {
            entry["name"]: entry["valueFrom"]["secretKeyRef"]["key"]
            for entry in container.get("env", ())
            if entry.get("valueFrom", {}).get("secretKeyRef", {}).get("name") == "videossr-bucket"
        }
        if found:
            asked[kind.name.rpartition("/")[2]] = found
    common = {"AWS_REGION": "region", "AWS_ENDPOINT_URL": "endpoint"}
    writes = common | {"AWS_ACCESS_KEY_ID": "access_key_id", "AWS_SECRET_ACCESS_KEY": "secret_access_key"}
    reads = {key: value if key in common else f"read_{value}" for key, value in writes.items()}
    learner_group = {"single-node-8gpu": "gpu", "multi-node": "learner", "cpu-demo": "cpu"}[name]
    head = writes | {"VIDEOSSR_BUCKET": "address"}
    assert asked == {"videossr-dashboard": reads, "head": head, learner_group: writes}
    assert policy["metadata"]["namespace"] == "videossr"
    documented = {key for secret, key in documented_secrets() if secret == "videossr-bucket"}
    assert documented == set(head.values()) | set(reads.values())
    for manifest in after:
        if manifest["apiVersion"].startswith("ray.io/"):
            check_ray(manifest, ray_schemas)
        else:
            check_kubernetes(manifest)
