"""Check the deployment files: manifests against their schemas, PromQL, and the names of settings and metrics.

python deploy/check.py            prints a line for each mistake; exits 1 if there is one
python deploy/check.py --write    writes the PrometheusRule from the alert rules

kubectl and promtool check more, if they are installed.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import promql_parser
import yaml

from worker.settings import PREFIX, Settings

with warnings.catch_warnings():
    # The package finds the folder of its schemas with a deprecated call.
    warnings.simplefilter("ignore")
    import kubernetes_validate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parents[1]
KUBERNETES, PROMETHEUS = ROOT / "deploy" / "kubernetes", ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "gist-stream.json"
EXAMPLES = sorted(KUBERNETES.glob("examples/*"))
KUBERNETES_VERSION = "1.34"
_RULE = KUBERNETES / "components" / "alerts" / "prometheusrule.yaml"
_RULE_HEAD = """# From deploy/prometheus/rules.yml: python deploy/check.py --write
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: gist-stream
  labels:
    app.kubernetes.io/name: gist-stream
spec:
"""
# Metrics of Prometheus itself and of every process.
_FOREIGN_METRICS = re.compile(r"up|process_\w+")
_SETTING = re.compile(rf"\b{PREFIX}[A-Z0-9_]+")
_DECLARATION = re.compile(r'\b(Counter|Gauge|Histogram)(?:MetricFamily)?\(\s*"(gist_\w+)"')
_METRIC_OF_PAGE = re.compile(r"`(gist_\w+)(?:\{[\w,]*\})?`")
_SUFFIXES = {"Counter": ("_total",), "Gauge": ("",), "Histogram": ("_bucket", "_sum", "_count")}


def main(arguments: list[str]) -> int:
    """Check everything, or write the generated file; return the exit code."""
    if arguments == ["--write"]:
        _RULE.write_text(prometheus_rule())
        return 0
    mistakes = [*manifest_mistakes(), *query_mistakes(), *name_mistakes(), *metric_mistakes(), *tool_mistakes()]
    for mistake in mistakes:
        sys.stdout.write(f"{mistake}\n")
    return 1 if mistakes else 0


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each manifest with its location; kustomize checks patches and kustomizations."""
    for path in sorted(KUBERNETES.rglob("*.yaml")):
        if path.name not in {"kustomization.yaml", "patch.yaml"}:
            for manifest in yaml.safe_load_all(path.read_text()):
                yield str(path.relative_to(ROOT)), manifest
    for example in EXAMPLES:
        for manifest in render(example) or ():
            yield f"{example.relative_to(ROOT)}, rendered", manifest


def render(folder: Path) -> list[dict[str, Any]] | None:
    """Return the manifests that kustomize builds from a folder; None without kubectl."""
    if shutil.which("kubectl") is None:
        return None
    done = subprocess.run(["kubectl", "kustomize", folder], check=True, capture_output=True, text=True)  # noqa: S603, S607
    return list(yaml.safe_load_all(done.stdout))


def manifest_mistakes() -> Iterator[str]:
    """Yield the mistakes in manifests: unknown or missing fields, wrong types, an outdated PrometheusRule."""
    if _RULE.read_text() != prometheus_rule():
        yield f"{_RULE.name} is not current: run python deploy/check.py --write"
    for where, manifest in manifests():
        schema = KUBERNETES / "schemas" / f"{manifest['kind']}.json"
        try:
            if schema.exists():
                jsonschema.Draft202012Validator(json.loads(schema.read_text())).validate(manifest)
            else:
                kubernetes_validate.validate(_with_selector(manifest), KUBERNETES_VERSION, strict=True)
        except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
            yield f"{where}: {manifest['kind']}: {error.message}"


def _with_selector(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a Deployment with the selector that kustomize adds; other manifests unchanged."""
    if manifest["kind"] != "Deployment" or "selector" in manifest["spec"]:
        return manifest
    return {**manifest, "spec": {**manifest["spec"], "selector": {"matchLabels": {"app.kubernetes.io/name": "gist-stream"}}}}


def queries() -> Iterator[tuple[str, str]]:
    """Yield each PromQL expression with its location, without Grafana's variables."""
    for rule in rules():
        yield f"rules.yml: {rule['alert']}", rule["expr"]
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield f"{DASHBOARD.name}: {panel['title']}", re.sub(r"\$__rate_interval", "5m", target["expr"])
    for where, manifest in manifests():
        for trigger in manifest["spec"].get("triggers", ()) if manifest["kind"] == "ScaledObject" else ():
            if "query" in trigger["metadata"]:
                yield where, trigger["metadata"]["query"]


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def prometheus_rule() -> str:
    """Return the manifest for the Prometheus Operator that has the alert rules."""
    lines = (PROMETHEUS / "rules.yml").read_text().splitlines()
    return _RULE_HEAD + "".join(f"  {line}\n" if line else "\n" for line in lines[lines.index("groups:") :])


def query_mistakes() -> Iterator[str]:
    """Yield expressions that do not parse, and metrics that the worker does not declare."""
    known = metric_names()
    for where, expression in queries():
        try:
            names = set(metrics_in(promql_parser.parse(expression)))
        except ValueError as error:
            yield f"{where}: {error}"
            continue
        for name in sorted(name for name in names - known if not _FOREIGN_METRICS.fullmatch(name)):
            yield f"{where}: there is no metric {name}"


def metrics_in(expression: promql_parser.Expr) -> list[str]:
    """Return the names of the metrics that an expression reads."""
    names: list[str] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector) and node.name:
            names.append(node.name)

    promql_parser.walk(expression, visit)
    return names


def metric_names() -> set[str]:
    """Return the names of the series that the source of the worker declares."""
    source = "".join(path.read_text() for path in sorted((ROOT / "worker").rglob("*.py")))
    return {name + suffix for kind, name in _DECLARATION.findall(source) for suffix in _SUFFIXES[kind]}


def metric_mistakes() -> Iterator[str]:
    """Yield metrics of pages that do not exist, and metrics that the page of all metrics lacks."""
    known = metric_names()
    declared = {re.sub("_(bucket|sum|count)$", "", name) for name in known}
    pages = {page: set(_METRIC_OF_PAGE.findall(page.read_text())) for page in sorted((ROOT / "docs").rglob("*.md"))}
    for page, names in pages.items():
        for name in sorted(names - known - declared):
            yield f"{page.relative_to(ROOT)}: there is no metric {name}"
    for name in sorted(declared - pages.get(ROOT / "docs" / "operate" / "observability.md", set())):
        yield f"docs/operate/observability.md: {name} is missing"


def name_mistakes() -> Iterator[str]:
    """Yield variables that are not settings."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for path in documents():
        for name in sorted(set(_SETTING.findall(path.read_text())) - known):
            # A name with an underscore at its end is a prefix.
            if not name.endswith("_"):
                yield f"{path.relative_to(ROOT)}: {name} is not a setting"


def documents() -> Iterable[Path]:
    """Return the files that name settings: deployment files and pages."""
    suffixes = {".yaml", ".yml", ".md", ".json", ""}
    deployed = [path for path in (ROOT / "deploy").rglob("*") if path.is_file() and path.suffix in suffixes]
    return [*deployed, *(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "docker-compose.yml"]


def tool_mistakes() -> Iterator[str]:
    """Yield the mistakes that promtool finds, and print which tools are missing."""
    if shutil.which("kubectl") is None:
        sys.stdout.write("kubectl is not installed: the manifests are checked, the examples are not rendered\n")
    if shutil.which("promtool") is None:
        sys.stdout.write("promtool is not installed: the expressions are parsed, the tests of the alerts do not run\n")
        return
    for command in (["check", "config", "prometheus.yml"], ["test", "rules", "rules_test.yml"]):
        done = subprocess.run(  # noqa: S603
            ["promtool", *command],  # noqa: S607
            check=False,
            capture_output=True,
            text=True,
            cwd=PROMETHEUS,
        )
        if done.returncode:
            yield f"promtool {' '.join(command)}: {done.stdout}{done.stderr}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
