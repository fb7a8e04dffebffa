"""The end of the demo: what came out, how fast, and whether everything is accounted for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from worker.commands import result_view as show
from worker.commands.output_encoding import escape_controls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from worker.commands.demo.observer import Kept, Observer

_NUM_SHOWN = 12


def progress_line(observer: Observer) -> str:
    """Return where the demo stands, in one line."""
    messages_per_s, tokens_per_s = observer.rates
    account = observer.account
    return (
        f"{account.num_accounted:6} of {account.num_produced} messages  {messages_per_s:6.0f} messages/s  "
        f"{tokens_per_s:7.0f} tokens/s  {account.num_dead_letters} dead letters"
    )


def report(console: Console, observer: Observer, *, num_bad: int, may_repeat: bool) -> bool:
    """Print the summary; return whether everything is as it should be."""
    kept = [it for it in observer.kept.values() if it.vector is not None and it.labels is not None and it.entities is not None]
    if not kept:
        console.print("nothing came out", style="red")
        return False
    console.print(_results(kept))
    _print_neighbours(console, kept)
    console.print("\ndead letters", style="bold")
    for letter in observer.dead_letters[:_NUM_SHOWN]:
        console.print("  ", show.dead_letter(letter))
    return _print_account(console, observer, num_bad=num_bad, may_repeat=may_repeat)


def _results(kept: Sequence[Kept]) -> Table:
    table = Table(title="a dozen results", title_justify="left", show_lines=False, expand=True)
    table.add_column("label", no_wrap=True)
    table.add_column("text, with its entities", ratio=1)
    interesting = [it for it in kept if it.entities and len(it.text) < 160][:8]  # noqa: PLR2004  what fits in a line or two
    plain = [it for it in kept if not it.entities and 20 < len(it.text) < 120]  # noqa: PLR2004
    for it in [*interesting, *plain][:_NUM_SHOWN]:
        table.add_row(show.labelled(it.labels or {}), show.highlighted(it.text, it.entities or []))
    return table


def _print_neighbours(console: Console, kept: Sequence[Kept]) -> None:
    """Search among the published vectors: the nearest sentences to three of them."""
    vectors = np.stack([it.vector for it in kept if it.vector is not None])
    console.print("\nnearest neighbours, found with the published vectors", style="bold")
    candidates = [number for number, it in enumerate(kept) if 40 < len(it.text) < 120]  # noqa: PLR2004
    for number in candidates[:: max(1, len(candidates) // 3)][:3]:
        console.print(f"  {escape_controls(kept[number].text)}", markup=False)
        similarity = vectors @ vectors[number]
        order = [it for it in np.argsort(-similarity) if kept[it].text != kept[number].text][:2]
        for other in order:
            console.print(f"    {similarity[other]:.2f}  {escape_controls(kept[other].text)}", markup=False, style="dim")


def _print_account(console: Console, observer: Observer, *, num_bad: int, may_repeat: bool) -> bool:
    account = observer.account
    messages_per_s, tokens_per_s = observer.rates
    p50, p99 = np.percentile(observer.latencies_ms, [50, 99]) if observer.latencies_ms else (float("nan"),) * 2
    is_good = account.num_missing == 0 and account.num_dead_letters == num_bad and (may_repeat or account.num_duplicates == 0)
    console.print("\naccount", style="bold")
    console.print(f"  messages in    {account.num_produced}")
    console.print(
        f"  accounted for  {account.num_accounted}, of them {account.num_dead_letters} dead letters ({num_bad} were sent bad)"
    )
    console.print(f"  lost           {account.num_missing}")
    repeated = (
        f" (of {account.num_repeated_records} records, recognisable by id; {observer.num_kills} kill -9)" if may_repeat else ""
    )
    console.print(f"  duplicated     {account.num_duplicates}{repeated}")
    console.print(f"  backlog        {messages_per_s:.0f} messages/s, {tokens_per_s:.0f} tokens/s")
    console.print(f"  one at a time  p50 {p50:.0f} ms, p99 {p99:.0f} ms from the message's timestamp to its embedding's")
    words = "everything is accounted for" if is_good else "not everything is as it should be"
    console.print(words, style="green" if is_good else "red")
    console.print(
        "\nnext: your own texts (`gist-stream produce`, `gist-stream tail`), your own Kafka (GIST_BOOTSTRAP_SERVERS),\n"
        "your own heads (`gist-stream train`); `make demo KEEP=1` leaves Kafka and the worker running for that.",
        soft_wrap=True,
    )
    return is_good
