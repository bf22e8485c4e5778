"""Every pod has limits, probes and a restricted security context, and its references exist."""

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

import pytest
from uvicorn.middleware.proxy_headers import _TrustedHosts

from tests.unit.deploy.manifests import DATA, OVERLAYS, ROOT, Pods, of_kind, overlay, pods, ray_cluster_specs

DOCS = ROOT / "docs" / "deploy.md"
RAY_TOKEN = {"mode": "token", "secretName": "videossr-ray-token"}
EACH = list(OVERLAYS)


def containers(name: str) -> Iterator[tuple[Pods, dict[str, Any]]]:
    for kind in pods(overlay(name)):
        for container in kind.spec["containers"]:
            yield kind, container


@pytest.mark.parametrize("name", [*EACH, DATA])
def test_every_container_has_requests_and_limits(name: str) -> None:
    for kind, container in containers(name):
        for part in ("requests", "limits"):
            assert {"cpu", "memory"} <= set(container["resources"][part]), f"{kind.name}: {part}"
        gpus = [container["resources"][part].get("nvidia.com/gpu") for part in ("requests", "limits")]
        assert gpus[0] == gpus[1], kind.name
    for ray_name, spec in ray_cluster_specs(overlay(name)):
        if spec.get("enableInTreeAutoscaling"):
            assert set(spec["autoscalerOptions"]["resources"]) == {"requests", "limits"}, ray_name


@pytest.mark.parametrize("name", [*EACH, DATA])
def test_every_container_is_restricted(name: str) -> None:
    locked = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    for kind, container in containers(name):
        assert container["securityContext"] == locked, kind.name
        user = kind.spec["securityContext"]
        assert user["runAsNonRoot"] is True, kind.name
        assert user["runAsUser"] > 0, kind.name
        assert user["seccompProfile"] == {"type": "RuntimeDefault"}, kind.name
        assert not any(kind.spec.get(shared) for shared in ("hostNetwork", "hostPID", "hostIPC")), kind.name
        assert not any("hostPath" in volume for volume in kind.spec.get("volumes", ())), kind.name
        # Only the autoscaler talks to Kubernetes.
        assert kind.spec.get("automountServiceAccountToken", True) is kind.autoscaled, kind.name
    for _, spec in ray_cluster_specs(overlay(name)):
        if spec.get("enableInTreeAutoscaling"):
            assert spec["autoscalerOptions"]["securityContext"] == locked


@pytest.mark.parametrize("name", EACH)
def test_every_folder_that_is_written_to_has_a_volume(name: str) -> None:
    for kind, container in containers(name):
        mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in kind.spec["volumes"]}
        claimed = {"database"} if kind.name.startswith("StatefulSet") else set()
        assert set(mounted.values()) == set(volumes) | claimed, kind.name
        home = next((entry["value"] for entry in container["env"] if entry["name"] == "HOME"), "/tmp")
        assert {"/tmp", home} <= set(mounted), kind.name
        for volume in volumes.values():
            assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": ""}), f"{kind.name}: {volume['name']}"
        if kind.ray:
            assert volumes[mounted["/dev/shm"]]["emptyDir"]["medium"] == "Memory", kind.name


@pytest.mark.parametrize("name", EACH)
def test_every_server_has_probes(name: str) -> None:
    for kind, container in containers(name):
        if kind.ray or kind.name.endswith("/submitter"):
            continue  # the operator adds Ray's own probes; a submitter serves nothing
        probes = {probe: container[probe] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
        ports = {port["name"] for port in container["ports"]}
        for probe in probes.values():
            assert "exec" in probe or probe["httpGet"]["port"] in ports, kind.name
        if kind.name.startswith("Deployment"):
            paths = {probe: settings["httpGet"]["path"] for probe, settings in probes.items()}
            assert paths == {
                "startupProbe": "/healthz",
                "livenessProbe": "/healthz",
                "readinessProbe": "/readyz",
            }


@pytest.mark.parametrize("name", EACH)
def test_every_ray_cluster_requires_its_token(name: str) -> None:
    for ray_name, spec in ray_cluster_specs(overlay(name)):
        assert spec["authOptions"] == RAY_TOKEN, ray_name
        major, minor, _ = map(int, spec["rayVersion"].split("."))
        assert (major, minor) >= (2, 52), "older versions have no token"
        import ray

        assert spec["rayVersion"] == ray.__version__


@pytest.mark.parametrize("name", EACH)
def test_services_and_policies_select_pods_that_exist(name: str) -> None:
    manifests = overlay(name)
    made = list(pods(manifests))
    for service in of_kind(manifests, "Service"):
        selected = [kind for kind in made if service["spec"]["selector"].items() <= kind.labels.items()]
        assert len(selected) == 1, service["metadata"]["name"]
        ports = {port["name"] for container in selected[0].spec["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for kind in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
        for manifest in of_kind(manifests, kind):
            wanted = manifest["spec"]["selector"]["matchLabels"]
            assert any(wanted.items() <= each.labels.items() for each in made), manifest["metadata"]["name"]
    for policy in of_kind(manifests, "NetworkPolicy"):
        wanted = policy["spec"]["podSelector"].get("matchLabels", {})
        if policy["metadata"]["name"] == "videossr-submitter" and name == "multi-node":
            continue  # there, runs are submitted to Ray's own port
        assert any(wanted.items() <= each.labels.items() for each in made), policy["metadata"]["name"]
    for ingress in of_kind(manifests, "Ingress"):
        services = {service["metadata"]["name"] for service in of_kind(manifests, "Service")}
        backends = {path["backend"]["service"]["name"] for rule in ingress["spec"]["rules"]
                    for path in rule["http"]["paths"]}  # fmt: skip
        assert backends <= services
        assert {host for tls in ingress["spec"]["tls"] for host in tls["hosts"]} == {
            rule["host"] for rule in ingress["spec"]["rules"]
        }


@pytest.mark.parametrize("name", EACH)
def test_pods_that_use_the_database_may_reach_it(name: str) -> None:
    for kind, container in containers(name):
        uses = any(entry["name"] == "VIDEOSSR_DB" for entry in container["env"])
        assert (kind.labels.get("videossr.io/uses-database") == "true") is uses, kind.name


@pytest.mark.parametrize("name", [*EACH, DATA])
def test_everything_is_in_one_namespace(name: str) -> None:
    for manifest in overlay(name):
        expected = None if manifest["kind"] == "Namespace" else "videossr"
        assert manifest["metadata"].get("namespace") == expected, manifest["metadata"]["name"]


@pytest.mark.parametrize("name", EACH)
def test_the_page_trusts_the_ingress_and_only_the_ingress_reaches_it(name: str) -> None:
    (found,) = (each for kind, each in containers(name) if kind.name == "Deployment/videossr-dashboard")
    proxies = {entry["name"]: entry.get("value", "") for entry in found["env"]}["FORWARDED_ALLOW_IPS"]
    for network in proxies.split(","):
        assert ipaddress.ip_network(network).is_private or network == "100.64.0.0/10"
    trusted = _TrustedHosts(proxies)
    assert "10.244.1.7" in trusted
    assert trusted.get_trusted_client_address("9.9.9.9, 203.0.113.7, 10.0.0.1")[0] == "203.0.113.7"
    policies = {each["metadata"]["name"]: each["spec"] for each in of_kind(overlay(name), "NetworkPolicy")}
    (rule,) = policies["videossr-dashboard"]["ingress"]
    assert rule["from"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}
    ]


def secret_keys(node: Any) -> Iterator[tuple[str, str]]:
    """Yield (secret, key) of every reference to a secret."""
    if isinstance(node, dict):
        if "secretKeyRef" in node:
            yield node["secretKeyRef"]["name"], node["secretKeyRef"]["key"]
        for value in node.values():
            yield from secret_keys(value)
    elif isinstance(node, list):
        for value in node:
            yield from secret_keys(value)


def documented_secrets() -> set[tuple[str, str]]:
    """Return (secret, key) of every secret that the commands in the guide create."""
    found = set()
    for command in re.findall(r"create secret \w+ ((?:[^\n]*\\\n)*[^\n]*)", DOCS.read_text(encoding="utf-8")):
        secret = command.split()[0]
        found |= {(secret, key) for key in re.findall(r"--from-literal=(\w+)=", command)}
        if "--cert" in command:
            found.add((secret, "tls.crt"))
    return found


@pytest.mark.parametrize("name", EACH)
def test_every_secret_and_claim_is_defined_or_documented(name: str) -> None:
    manifests, documented = overlay(name), documented_secrets()
    asked = set(secret_keys(manifests))
    asked |= {(spec["authOptions"]["secretName"], "auth_token") for _, spec in ray_cluster_specs(manifests)}
    asked |= {
        (tls["secretName"], "tls.crt")
        for each in of_kind(manifests, "Ingress")
        for tls in each["spec"]["tls"]
    }
    assert len(asked) >= 5
    assert asked <= documented
    claims = {claim["metadata"]["name"] for claim in of_kind(manifests, "PersistentVolumeClaim")}
    used = {
        volume["persistentVolumeClaim"]["claimName"]
        for kind in pods(manifests)
        for volume in kind.spec["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert used == claims
    assert "configMap" not in str(manifests)


@pytest.mark.parametrize("name", [*EACH, DATA])
def test_no_manifest_contains_a_secret(name: str) -> None:
    assert not of_kind(overlay(name), "Secret")
    for kind, container in containers(name):
        for entry in container.get("env", ()):
            secret = re.search(r"TOKEN|PASSWORD|SECRET|VIDEOSSR_DB|API_KEY", entry["name"])
            assert secret is None or "valueFrom" in entry, f"{kind.name}: {entry['name']}"


def test_runs_wait_in_a_queue_and_only_engines_use_spot_nodes() -> None:
    for name in ("single-node-8gpu", "cpu-demo"):
        (job,) = of_kind(overlay(name), "RayJob")
        assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
        assert job["spec"]["shutdownAfterJobFinishes"] is True  # required by Kueue
    groups = {kind.name.rpartition("/")[2]: kind for kind in pods(overlay("multi-node")) if kind.ray}
    spot = {group for group, kind in groups.items() if "spot" in str(kind.spec.get("tolerations"))}
    assert spot == {"rollout"}
    assert "preferredDuringScheduling" in str(groups["rollout"].spec["affinity"])
