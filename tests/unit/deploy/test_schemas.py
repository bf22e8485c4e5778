"""Every manifest is what Kubernetes and KubeRay say it has to be, to the last field."""

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.unit.deploy.manifests import DATA, K8S, OVERLAYS, ROOT, Manifest, of_kind, overlay, render

KUBERAY = ROOT.parent / "shared" / "kuberay"
KUBERNETES = "1.32"


def strict(schema: Any) -> Any:
    """The schema, refusing fields it does not know: Kubernetes refuses them too, or drops them with a warning."""
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
    """KubeRay's schema of each of its kinds; a test that asks for them is skipped where they are not."""
    if not KUBERAY.is_dir():
        pytest.skip(f"{KUBERAY} is not here: these tests want KubeRay's own definitions")
    found = {}
    for path in KUBERAY.glob("ray.io_*.yaml"):
        definition = yaml.safe_load(path.read_text())
        (version,) = [each for each in definition["spec"]["versions"] if each["name"] == "v1"]
        schema = strict(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}  # is Kubernetes' own
        found[definition["spec"]["names"]["kind"]] = schema
    return found


def check_kubernetes(manifest: Manifest) -> None:
    validate = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate brings Kubernetes' schemas"
    )
    validate.validate(manifest, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", [*OVERLAYS, DATA])
def test_kubernetes_own_kinds_are_valid(name: str) -> None:
    own = [manifest for manifest in overlay(name) if not manifest["apiVersion"].startswith("ray.io/")]
    assert len(own) >= (3 if name == DATA else 9)
    for manifest in own:
        check_kubernetes(manifest)


@pytest.mark.parametrize("name", OVERLAYS)
def test_rays_kinds_are_valid(name: str, ray_schemas: dict[str, Any]) -> None:
    rays = [manifest for manifest in overlay(name) if manifest["apiVersion"].startswith("ray.io/")]
    assert len(rays) == 1
    for manifest in rays:
        assert manifest["apiVersion"] == "ray.io/v1"
        jsonschema.validate(manifest, ray_schemas[manifest["kind"]])


def test_what_is_misspelt_is_seen(ray_schemas: dict[str, Any]) -> None:
    (job,) = copy.deepcopy(of_kind(overlay("cpu-demo"), "RayJob"))
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["resource"] = {}
    with pytest.raises(jsonschema.ValidationError, match="'resource' was unexpected"):
        jsonschema.validate(job, ray_schemas["RayJob"])
    (deployment,) = copy.deepcopy(of_kind(overlay("cpu-demo"), "Deployment"))
    deployment["spec"]["replica"] = 1
    with pytest.raises(jsonschema.ValidationError, match="'replica' was unexpected"):
        check_kubernetes(deployment)


def test_a_database_elsewhere_takes_the_place_of_ours(tmp_path: Path) -> None:
    # Kustomize wants relative paths, below one root.
    folder = tmp_path / "k8s"
    for path in K8S.rglob("*.yaml"):
        target = folder / path.relative_to(K8S)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(path.read_text())
    chosen = folder / "overlays" / "multi-node" / "kustomization.yaml"
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
