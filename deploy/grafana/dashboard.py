"""Write the Grafana dashboard from a table of panels.

python deploy/grafana/dashboard.py            writes deploy/grafana/gist-stream.json
python deploy/grafana/dashboard.py --check    exits 1 if the file is not current
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

TARGET = Path(__file__).with_name("gist-stream.json")
_COLUMNS = 24
# Width and height in cells of Grafana's grid.
_GRAPH, _STAT = (8, 8), (4, 4)


class Panel(NamedTuple):
    """A graph or a single number: title, unit, how to read it, and a query for each legend."""

    title: str
    unit: str
    description: str
    queries: dict[str, str]
    #: A single number; it turns red at this value. None: a graph.
    red_from: float | None = None


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}{{{_JOB}}}[$__rate_interval]))"


def _quantile(quantile: float, metric: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({quantile}, sum by ({labels}) (rate({metric}_bucket{{{_JOB}}}[$__rate_interval])))"


def _ratio(above: str, below: str) -> str:
    return " / ".join(f"sum(rate({metric}{{{_JOB}}}[$__rate_interval]))" for metric in (above, below))


_JOB = 'job=~"$job"'
# A threshold that no value reaches.
_NEVER = 1e18
ROWS: dict[str, list[Panel]] = {
    "Overview": [
        Panel("Replicas up", "short", "Workers that Prometheus reaches.", {"up": f"sum(up{{{_JOB}}})"}, _NEVER),
        Panel("Records per second", "cps", "Records read.", {"records": _rate("gist_records_consumed_total", "job")}, _NEVER),
        Panel("Fetch lag", "short", "Records that are not read yet.", {"lag": f"sum(gist_fetch_lag_records{{{_JOB}}})"}, _NEVER),
        Panel(
            "Backlog drain time",
            "s",
            "Time until the slowest partition is drained at its present speed.",
            {"time": f"max(gist_backlog_drain_seconds{{{_JOB}}})"},
            600,
        ),
        Panel(
            "Dead letters in one hour",
            "short",
            "Records that could not be processed.",
            {"dead letters": f"sum(increase(gist_dead_letters_total{{{_JOB}}}[1h]))"},
            1,
        ),
        Panel(
            "Models",
            "short",
            "Models that the replicas serve. More than one: a rollout or a mistake.",
            {"models": f"count(count by (model) (gist_model_info{{{_JOB}}}))"},
            2,
        ),
    ],
    "Throughput and lag": [
        Panel("Records read", "cps", "By topic.", {"{{topic}}": _rate("gist_records_consumed_total", "topic")}),
        Panel(
            "Messages published",
            "cps",
            "Acknowledged messages by output topic. They follow the records read.",
            {"{{output}}": _rate("gist_messages_published_total", "output")},
        ),
        Panel(
            "Tokens processed",
            "cps",
            "Tokens that the model processes, by replica.",
            {"{{instance}}": _rate("gist_tokens_total", "instance")},
        ),
        Panel(
            "Fetch lag",
            "short",
            "Records between the read position and the end, by partition.",
            {"{{topic}}-{{partition}}": f"max by (topic, partition) (gist_fetch_lag_records{{{_JOB}}})"},
        ),
        Panel(
            "Backlog",
            "short",
            "Tokens between the last published record and the end.",
            {"{{topic}}": f"sum by (topic) (gist_backlog_tokens{{{_JOB}}})"},
        ),
        Panel(
            "Backlog drain time",
            "s",
            "By partition, at its present speed. One far above the others has a hot key: more replicas do not help.",
            {"{{topic}}-{{partition}}": f"max by (topic, partition) (gist_backlog_drain_seconds{{{_JOB}}})"},
        ),
    ],
    "Dead letters": [
        Panel(
            "Share of records",
            "percentunit",
            "Dead letters divided by records read. Above zero: gist-stream dlq list.",
            {"share": _ratio("gist_dead_letters_total", "gist_records_consumed_total")},
        ),
        Panel(
            "Dead letters by stage",
            "cps",
            "The stage that failed.",
            {"{{stage}}": _rate("gist_dead_letters_total", "stage")},
        ),
        Panel(
            "Truncated texts",
            "cps",
            "Texts longer than the maximum of the model. GIST_LONG_TEXT=window processes them whole.",
            {"texts": f"sum(rate(gist_texts_truncated_total{{{_JOB}}}[$__rate_interval]))"},
        ),
    ],
    "Latency": [
        Panel(
            "End to end",
            "s",
            "From a record's timestamp to the acknowledgement of its outputs. Grows with the lag.",
            {
                "p50": _quantile(0.5, "gist_end_to_end_latency_seconds"),
                "p99": _quantile(0.99, "gist_end_to_end_latency_seconds"),
            },
        ),
        Panel(
            "Stages, p99",
            "s",
            "Duration of one call. `wait`: the time that the oldest record of a batch has waited for the model.",
            {"{{stage}}": _quantile(0.99, "gist_stage_duration_seconds", "stage")},
        ),
        Panel(
            "Time per stage",
            "short",
            "Seconds that all replicas spend in a stage, per second. infer near the number of replicas: the model is the limit.",
            {"{{stage}}": _rate("gist_stage_duration_seconds_sum", "stage")},
        ),
    ],
    "Batches": [
        Panel(
            "Batch fill",
            "percentunit",
            "Tokens of a batch divided by its maximum. Low under a backlog: the number of records limits the batches.",
            {"mean": _ratio("gist_batch_fill_ratio_sum", "gist_batch_fill_ratio_count")},
        ),
        Panel(
            "Records per batch",
            "short",
            "Mean.",
            {"mean": _ratio("gist_batch_records_sum", "gist_batch_records_count")},
        ),
        Panel(
            "Tokens in flight",
            "short",
            "At GIST_MAX_IN_FLIGHT_TOKENS: the model or the output topics are slower than the input.",
            {"{{instance}}": f"gist_in_flight_tokens{{{_JOB}}}"},
        ),
    ],
    "Health": [
        Panel(
            "Session failures and retries",
            "cps",
            "Work that is dropped and repeated, steps that are retried, and events of the Kafka client.",
            {
                "session: {{reason}}": _rate("gist_partition_session_failures_total", "reason"),
                "retry: {{stage}} {{error}}": _rate("gist_step_retries_total", "stage, error"),
                "{{event}}": _rate("gist_broker_events_total", "event"),
            },
        ),
        Panel(
            "Rebalances in 15 minutes",
            "short",
            "Rising steadily: members join and leave, or miss heartbeats.",
            {"{{kind}}": f"sum by (kind) (increase(gist_rebalances_total{{{_JOB}}}[15m]))"},
        ),
        Panel(
            "Replicas and models",
            "short",
            "Replicas up, and replicas by model.",
            {"up": f"sum(up{{{_JOB}}})", "{{model}}": f"count by (model) (gist_model_info{{{_JOB}}})"},
        ),
        Panel(
            "Event loop lag",
            "s",
            "How late the event loop wakes up. Above one second heartbeats are late.",
            {"{{instance}}": f"gist_event_loop_lag_seconds{{{_JOB}}}"},
        ),
        Panel("CPU", "short", "Cores in use, by replica.", {"{{instance}}": _rate("process_cpu_seconds_total", "instance")}),
        Panel("Memory", "bytes", "Resident memory, by replica.", {"{{instance}}": f"process_resident_memory_bytes{{{_JOB}}}"}),
    ],
}


def dashboard() -> dict[str, Any]:
    """Return the dashboard in Grafana's JSON model."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS.items():
        panels.append({"type": "row", "title": title, "gridPos": {"x": 0, "y": top, "w": _COLUMNS, "h": 1}, "panels": []})
        width, height = _GRAPH if row[0].red_from is None else _STAT
        for number, panel in enumerate(row):
            x, y = number * width % _COLUMNS, top + 1 + number * width // _COLUMNS * height
            panels.append(_panel(panel, source, {"x": x, "y": y, "w": width, "h": height}))
        top += 1 + -(-len(row) * width // _COLUMNS) * height
    return {
        "uid": "gist-stream",
        "title": "GIST Stream",
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                {
                    "name": "job",
                    "type": "query",
                    "datasource": source,
                    "query": "label_values(gist_build_info, job)",
                    "refresh": 2,
                    "multi": True,
                    "includeAll": True,
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "panels": [{"id": number, **panel} for number, panel in enumerate(panels, start=1)],
    }


def _panel(panel: Panel, source: dict[str, str], position: dict[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    kind: dict[str, Any] = {"type": "timeseries"}
    if panel.red_from is not None:
        steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
        defaults["thresholds"] = {"mode": "absolute", "steps": [*steps, {"color": "red", "value": panel.red_from}]}
        kind = {"type": "stat", "options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}}
    return {
        **kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": source,
        "gridPos": position,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + number), "expr": expression, "legendFormat": legend}
            for number, (legend, expression) in enumerate(panel.queries.items())
        ],
    }


def main(arguments: list[str]) -> int:
    """Write or check the dashboard; return the exit code."""
    text = json.dumps(dashboard(), indent=1) + "\n"
    if arguments == ["--check"]:
        is_current = TARGET.exists() and TARGET.read_text() == text
        if not is_current:
            sys.stderr.write(f"{TARGET.name} is not current: run make generate\n")
        return 0 if is_current else 1
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
