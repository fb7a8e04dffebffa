"""Check what deploys the worker: manifests against their schemas, PromQL, and the names of settings and metrics.

python deploy/check.py      a line for each mistake; exits 1 where there is one

Everything that Python can check is checked everywhere. Where promtool and kubectl are there, they have their say as well.
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
    # It asks for the folder of its schemas in a way that Python has given up.
    warnings.simplefilter("ignore")
    import kubernetes_validate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parents[1]
KUBERNETES, PROMETHEUS = ROOT / "deploy" / "kubernetes", ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "gist-stream.json"
EXAMPLES = sorted(KUBERNETES.glob("examples/*"))
KUBERNETES_VERSION = "1.34"
# What a Prometheus knows of itself, and what every Python process may show.
_FOREIGN_METRICS = re.compile(r"up|process_\w+")
_SETTING = re.compile(rf"\b{PREFIX}[A-Z0-9_]+")
_DECLARATION = re.compile(r'\b(Counter|Gauge|Histogram)\(\s*"(gist_\w+)"')
_SUFFIXES = {"Counter": ("_total",), "Gauge": ("",), "Histogram": ("_bucket", "_sum", "_count")}


def main() -> int:
    """Check everything; return the exit code."""
    mistakes = [*manifest_mistakes(), *query_mistakes(), *name_mistakes(), *tool_mistakes()]
    for mistake in mistakes:
        sys.stdout.write(f"{mistake}\n")
    return 1 if mistakes else 0


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield where each manifest stands, and the manifest; patches and kustomizations are for kustomize."""
    for path in sorted(KUBERNETES.rglob("*.yaml")):
        if path.name not in {"kustomization.yaml", "patch.yaml"}:
            for manifest in yaml.safe_load_all(path.read_text()):
                yield str(path.relative_to(ROOT)), manifest
    for example in EXAMPLES:
        for manifest in rendered(example) or ():
            yield f"{example.relative_to(ROOT)}, rendered", manifest


def rendered(folder: Path) -> list[dict[str, Any]] | None:
    """Return what kustomize makes of a folder; None where there is no kubectl."""
    if shutil.which("kubectl") is None:
        return None
    done = subprocess.run(["kubectl", "kustomize", folder], check=True, capture_output=True, text=True)  # noqa: S603, S607
    return list(yaml.safe_load_all(done.stdout))


def manifest_mistakes() -> Iterator[str]:
    """Yield what is wrong with the manifests: unknown fields, wrong types, what is missing."""
    for where, manifest in manifests():
        schema = KUBERNETES / "schemas" / f"{manifest['kind']}.json"
        try:
            if schema.exists():
                jsonschema.Draft202012Validator(json.loads(schema.read_text())).validate(manifest)
            else:
                # The selector of one in `base` is added by kustomize.
                kubernetes_validate.validate(_selected(manifest), KUBERNETES_VERSION, strict=True)
        except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
            yield f"{where}: {manifest['kind']}: {error.message}"


def _selected(manifest: dict[str, Any]) -> dict[str, Any]:
    if manifest["kind"] != "Deployment" or "selector" in manifest["spec"]:
        return manifest
    return {**manifest, "spec": {**manifest["spec"], "selector": {"matchLabels": {"app.kubernetes.io/name": "gist-stream"}}}}


def queries() -> Iterator[tuple[str, str]]:
    """Yield where each PromQL expression stands, and the expression, Grafana's variables filled in."""
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


def query_mistakes() -> Iterator[str]:
    """Yield expressions that do not parse, and metrics that nobody declares."""
    known = metric_names()
    for where, expression in queries():
        try:
            names = set(metrics_in(promql_parser.parse(expression)))
        except ValueError as error:
            yield f"{where}: {error}"
            continue
        for name in sorted(it for it in names - known if not _FOREIGN_METRICS.fullmatch(it)):
            yield f"{where}: no metric is called {name}"


def metrics_in(expression: promql_parser.Expr) -> list[str]:
    """Return the names of the metrics that an expression reads."""
    names: list[str] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector) and node.name:
            names.append(node.name)

    promql_parser.walk(expression, visit)
    return names


def metric_names() -> set[str]:
    """Return the series that the worker's source declares."""
    source = "".join(it.read_text() for it in sorted((ROOT / "worker").rglob("*.py")))
    return {name + suffix for kind, name in _DECLARATION.findall(source) for suffix in _SUFFIXES[kind]}


def name_mistakes() -> Iterator[str]:
    """Yield variables that are no settings."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for path in documents():
        for name in sorted(set(_SETTING.findall(path.read_text())) - known):
            # A name that ends in an underscore stands for all that begin so.
            if not name.endswith("_"):
                yield f"{path.relative_to(ROOT)}: {name} is no setting"


def documents() -> Iterable[Path]:
    """Return the files that name settings: what deploys, and what explains."""
    suffixes = {".yaml", ".yml", ".md", ".json", ""}
    deployed = [it for it in (ROOT / "deploy").rglob("*") if it.is_file() and it.suffix in suffixes]
    return [*deployed, *(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "docker-compose.yml"]


def tool_mistakes() -> Iterator[str]:
    """Yield what the tools of the trade say, and note those that are not here."""
    if shutil.which("kubectl") is None:
        sys.stdout.write("kubectl is not here: the examples were not rendered, each manifest was checked as it stands\n")
    if shutil.which("promtool") is None:
        sys.stdout.write("promtool is not here: expressions were parsed, the tests of the alerts were not run\n")
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
    sys.exit(main())
