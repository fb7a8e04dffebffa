"""The end of the demo: results, dead letters, throughput and the audit of delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from worker.commands import result_view
from worker.commands.output_encoding import escape_controls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from worker.commands.demo.observer import DemoObserver, ObservedRecord

_NUM_SHOWN = 12


def format_progress(observer: DemoObserver) -> str:
    """Return the progress in one line."""
    messages_per_s, tokens_per_s = observer.rates
    audit = observer.audit
    return (
        f"{audit.num_accounted:6} of {audit.num_produced} records  {messages_per_s:6.0f} records/s  "
        f"{tokens_per_s:7.0f} tokens/s  {audit.num_dead_letters} dead letters"
    )


def print_report(console: Console, observer: DemoObserver, *, num_bad: int, may_repeat: bool) -> bool:
    """Print results, neighbours, dead letters and the audit; return whether every record was delivered as promised."""
    complete = [record for record in observer.kept.values() if record.is_complete]
    if not complete:
        console.print("no results arrived", style="red")
        return False
    console.print(_build_table(complete))
    _print_neighbours(console, complete)
    console.print("\ndead letters", style="bold")
    for dead_letter in observer.dead_letters[:_NUM_SHOWN]:
        console.print("  ", result_view.dead_letter(dead_letter))
    return _print_audit(console, observer, num_bad=num_bad, may_repeat=may_repeat)


def _build_table(records: Sequence[ObservedRecord]) -> Table:
    table = Table(title="a dozen results", title_justify="left", show_lines=False, expand=True)
    table.add_column("label", no_wrap=True)
    table.add_column("text, with its entities", ratio=1)
    with_entities = [record for record in records if record.entities and len(record.text) < 160][:8]  # noqa: PLR2004  one or two lines
    without = [record for record in records if not record.entities and 20 < len(record.text) < 120]  # noqa: PLR2004
    for record in [*with_entities, *without][:_NUM_SHOWN]:
        table.add_row(result_view.labelled(record.labels or {}), result_view.highlighted(record.text, record.entities or []))
    return table


def _print_neighbours(console: Console, records: Sequence[ObservedRecord]) -> None:
    """Print the nearest neighbours of three sentences by the published vectors."""
    vectors = np.stack([record.vector for record in records if record.vector is not None])
    console.print("\nnearest neighbours by the published vectors", style="bold")
    candidates = [index for index, record in enumerate(records) if 40 < len(record.text) < 120]  # noqa: PLR2004
    for index in candidates[:: max(1, len(candidates) // 3)][:3]:
        console.print(f"  {escape_controls(records[index].text)}", markup=False)
        similarity = vectors @ vectors[index]
        nearest = [other for other in np.argsort(-similarity) if records[other].text != records[index].text][:2]
        for other in nearest:
            console.print(f"    {similarity[other]:.2f}  {escape_controls(records[other].text)}", markup=False, style="dim")


def _print_audit(console: Console, observer: DemoObserver, *, num_bad: int, may_repeat: bool) -> bool:
    audit = observer.audit
    messages_per_s, tokens_per_s = observer.rates
    p50, p99 = np.percentile(observer.latencies_ms, [50, 99]) if observer.latencies_ms else (float("nan"),) * 2
    is_good = audit.num_missing == 0 and audit.num_dead_letters == num_bad and (may_repeat or audit.num_duplicates == 0)
    repeated = (
        f" outputs of {audit.num_repeated_records} records after {observer.num_kills} kill -9; consumers deduplicate by id"
        if may_repeat
        else ""
    )
    console.print("\naudit", style="bold")
    for line in (
        f"records in     {audit.num_produced}",
        f"accounted for  {audit.num_accounted}, of them {audit.num_dead_letters} dead letters ({num_bad} bad records were sent)",
        f"lost           {audit.num_missing}",
        f"duplicated     {audit.num_duplicates}{repeated}",
        f"backlog        {messages_per_s:.0f} records/s, {tokens_per_s:.0f} tokens/s",
        f"single record  p50 {p50:.0f} ms, p99 {p99:.0f} ms from the timestamp of the input to that of the embedding",
    ):
        console.print(f"  {line}", soft_wrap=True)
    words = "every record is accounted for" if is_good else "some records are lost, repeated or unexpected dead letters"
    console.print(words, style="green" if is_good else "red")
    return is_good
