"""Write the dashboard: panels are lines of a table here, and JSON only for Grafana.

python deploy/grafana/dashboard.py            writes deploy/grafana/gist-stream.json
python deploy/grafana/dashboard.py --check    exits 1 where it is not current
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

TARGET = Path(__file__).with_name("gist-stream.json")
_WIDTH, _HEIGHT, _COLUMNS = 8, 8, 24


class Panel(NamedTuple):
    """One graph: what it shows, in which unit, what to think of it, and a query for each legend."""

    title: str
    unit: str
    description: str
    queries: dict[str, str]


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}{{{_JOB}}}[$__rate_interval]))"


def _quantile(quantile: float, metric: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({quantile}, sum by ({labels}) (rate({metric}_bucket{{{_JOB}}}[$__rate_interval])))"


def _ratio(above: str, below: str) -> str:
    return " / ".join(f"sum(rate({it}{{{_JOB}}}[$__rate_interval]))" for it in (above, below))


_JOB = 'job=~"$job"'
_SHARE_OF_DEAD_LETTERS = _ratio("gist_dead_letters_total", "gist_records_consumed_total")
ROWS: dict[str, list[Panel]] = {
    "Is it well?": [
        Panel(
            "Replicas",
            "short",
            "That answer; and the models that they serve: one.",
            {
                "up": f"sum(up{{{_JOB}}})",
                "{{model}}": f"count by (model) (gist_model_info{{{_JOB}}})",
            },
        ),
        Panel(
            "Time to drain",
            "s",
            "What the backlog takes at today's speed, by partition: one far above is hot, more replicas do not help it.",
            {
                "{{topic}}-{{partition}}": f"max by (topic, partition) (gist_backlog_drain_seconds{{{_JOB}}})",
            },
        ),
        Panel(
            "Dead letters",
            "percentunit",
            "Share of the records read. Above zero: look at the dead-letter topic.",
            {
                "share": _SHARE_OF_DEAD_LETTERS,
            },
        ),
    ],
    "Flow": [
        Panel("Records read", "cps", "By topic.", {"{{topic}}": _rate("gist_records_consumed_total", "topic")}),
        Panel(
            "Messages published",
            "cps",
            "Acknowledged, by output. Follows the records read.",
            {
                "{{output}}": _rate("gist_messages_published_total", "output"),
            },
        ),
        Panel(
            "Tokens",
            "cps",
            "Through the model, by replica: the speed that the hardware gives.",
            {
                "{{instance}}": _rate("gist_tokens_total", "instance"),
            },
        ),
        Panel(
            "Lag",
            "short",
            "Records between our position and the end, by partition.",
            {
                "{{topic}}-{{partition}}": f"max by (topic, partition) (gist_fetch_lag_records{{{_JOB}}})",
            },
        ),
        Panel(
            "Lag in tokens",
            "short",
            "The work that waits, whatever the length of the texts.",
            {
                "{{topic}}": f"sum by (topic) (gist_backlog_tokens{{{_JOB}}})",
            },
        ),
        Panel(
            "Dead letters by stage", "cps", "Which step gave records up.", {"{{stage}}": _rate("gist_dead_letters_total", "stage")}
        ),
    ],
    "Latency": [
        Panel(
            "End to end",
            "s",
            "From a record's timestamp to the acknowledgement of its outputs; grows with lag.",
            {
                "p50": _quantile(0.5, "gist_end_to_end_latency_seconds"),
                "p99": _quantile(0.99, "gist_end_to_end_latency_seconds"),
            },
        ),
        Panel(
            "Steps, p99",
            "s",
            "One call of each; wait is the oldest record's of a batch, for the model.",
            {
                "{{stage}}": _quantile(0.99, "gist_stage_duration_seconds", "stage"),
            },
        ),
        Panel(
            "Where the time goes",
            "percentunit",
            "Seconds of each step in a second, all replicas: infer near their number means that the model is the bound.",
            {
                "{{stage}}": _rate("gist_stage_duration_seconds_sum", "stage"),
            },
        ),
    ],
    "Batches": [
        Panel(
            "Fill",
            "percentunit",
            "Tokens of a batch over its budget. Low under a backlog: batches are cut by records or by waiting.",
            {
                "mean": _ratio("gist_batch_fill_ratio_sum", "gist_batch_fill_ratio_count"),
            },
        ),
        Panel(
            "Records of a batch",
            "short",
            "Mean.",
            {
                "mean": _ratio("gist_batch_records_sum", "gist_batch_records_count"),
            },
        ),
        Panel(
            "Texts cut short",
            "cps",
            "Longer than the model reads: GIST_LONG_TEXT=window reads them whole.",
            {
                "texts": f"sum(rate(gist_texts_truncated_total{{{_JOB}}}[$__rate_interval]))",
            },
        ),
    ],
    "Health": [
        Panel(
            "Tokens in flight",
            "short",
            "At the upper bound: the model or the output topics are slower than the input.",
            {
                "{{instance}}": f"gist_in_flight_tokens{{{_JOB}}}",
            },
        ),
        Panel(
            "Event loop",
            "s",
            "How late it wakes. Above a second heartbeats are late.",
            {
                "{{instance}}": f"gist_event_loop_lag_seconds{{{_JOB}}}",
            },
        ),
        Panel(
            "Rebalances",
            "short",
            "In a quarter of an hour. Rising steadily: members come and go.",
            {
                "{{kind}}": f"sum by (kind) (increase(gist_rebalances_total{{{_JOB}}}[15m]))",
            },
        ),
        Panel(
            "Doubt",
            "cps",
            "Sessions that ended, failures that are tried again, what the broker room noticed.",
            {
                "ended: {{reason}}": _rate("gist_partition_session_failures_total", "reason"),
                "retry: {{stage}} {{error}}": _rate("gist_step_retries_total", "stage, error"),
                "{{event}}": _rate("gist_broker_events_total", "event"),
            },
        ),
        Panel("Processor", "short", "Cores in use, by replica.", {"{{instance}}": _rate("process_cpu_seconds_total", "instance")}),
        Panel("Memory", "bytes", "Resident, by replica.", {"{{instance}}": f"process_resident_memory_bytes{{{_JOB}}}"}),
    ],
}


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana reads it."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    panels: list[dict[str, Any]] = []
    top = 0
    for row, its in ROWS.items():
        panels.append({"type": "row", "title": row, "gridPos": {"x": 0, "y": top, "w": _COLUMNS, "h": 1}, "panels": []})
        for number, panel in enumerate(its):
            x, y = number * _WIDTH % _COLUMNS, top + 1 + number * _WIDTH // _COLUMNS * _HEIGHT
            panels.append(_graph(panel, source, {"x": x, "y": y, "w": _WIDTH, "h": _HEIGHT}))
        top += 1 + -(-len(its) * _WIDTH // _COLUMNS) * _HEIGHT
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


def _graph(panel: Panel, source: dict[str, str], position: dict[str, int]) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": source,
        "gridPos": position,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + number), "expr": expression, "legendFormat": legend}
            for number, (legend, expression) in enumerate(panel.queries.items())
        ],
    }


def main(arguments: list[str]) -> int:
    """Write the dashboard or check it; return the exit code."""
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
