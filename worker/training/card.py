"""The model card of a checkpoint: heads, data, purpose, limits and scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.training.evaluation.bootstrap import wilson

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from worker.model.heads.head_config import HeadConfig

_DIGEST_CHARS = 64


def card(name: str, encoder: str, heads: Sequence[HeadConfig], training: Mapping[str, Any]) -> str:
    """Return the card as Markdown; `training` has all figures and paragraphs."""
    paragraphs = training["configuration"].get("card", {})
    return "\n".join(
        [
            *_head_lines(name, encoder, heads, training),
            "",
            *_paragraphs(paragraphs, "purpose", "limits"),
            *_data_lines(training),
            "",
            *_paragraphs(paragraphs, "data"),
            *_score_lines(training),
            "",
        ]
    )


def _head_lines(name: str, encoder: str, heads: Sequence[HeadConfig], training: Mapping[str, Any]) -> Iterator[str]:
    strategy = training["configuration"]["training"]["strategy"]
    yield from (f"# {name}", "", f"Heads on the encoder `{encoder}`, made by `gist-stream train`, strategy `{strategy}`.", "")
    yield from ("| head | task | labels | reads layers | hidden |", "|" + " --- |" * 5)
    for head in heads:
        layers = ", ".join(map(str, head.layers)) + (" (learned mix)" if len(head.layers) > 1 else "")
        yield f"| {head.name} | {head.task} | {', '.join(head.labels)} | {layers} | {head.hidden_size or 'linear'} |"
    if any(head.temperature != 1 for head in heads):
        temperatures = ", ".join(f"{head.temperature:.3f} ({head.name})" for head in heads)
        yield from ("", f"Scores are calibrated: divided by a temperature that was fitted on development texts, {temperatures}.")


def _paragraphs(paragraphs: Mapping[str, str], *names: str) -> Iterator[str]:
    for name in names:
        if paragraphs.get(name):
            yield from (paragraphs[name].strip(), "")


def _data_lines(training: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Data", "", "The parameters are the only thing of it that is kept here; none of its text is.", "")
    for title, digest in training["data"].items():
        yield f"* {title}: {'sha256 ' if len(digest) == _DIGEST_CHARS else ''}{digest}"


def _score_lines(training: Mapping[str, Any]) -> Iterator[str]:
    """Yield the scores of heads with held-out texts, and the names of the other heads."""
    every = training["scores"]
    scored = {dtype: {head: titles for head, titles in heads.items() if titles} for dtype, heads in every.items()}
    if any(scored.values()):
        yield from ("## Scores on held-out texts, as served", "")
    for dtype, heads in scored.items():
        if heads:
            yield from (f"### {dtype}", "")
        for head, titles in heads.items():
            yield from _head_scores(head, titles)
    if unscored := dict.fromkeys(head for heads in every.values() for head, titles in heads.items() if not titles):
        yield f"Without a score, because no text was held out: {', '.join(unscored)}. `gist-stream evaluate` scores a checkpoint."


def _head_scores(head: str, titles: Mapping[str, Any]) -> Iterator[str]:
    labels = {title: scores for title, scores in titles.items() if "accuracy" in scores}
    several = {title: scores for title, scores in titles.items() if "f1" in scores}
    if labels:
        rows = {title: {**scores, "interval": _format_interval(scores)} for title, scores in labels.items()}
        columns = [head, "accuracy", "95 %", "majority class", "texts"]
        yield from _format_table(columns, rows, ["accuracy", "interval", "majority", "texts"])
    if several:
        yield from _format_table([head, "F1 over all labels", "texts"], several, ["f1", "texts"])
    for title, kinds in titles.items():
        if title not in labels and title not in several:
            columns = [f"{head}, {title}", "precision", "recall", "F1", "entities"]
            yield from _format_table(columns, kinds, ["precision", "recall", "f1", "num_gold"])


def _format_interval(scores: Mapping[str, Any]) -> str:
    """Return Wilson's interval of an accuracy, which is wide for a small number of texts, even without an error."""
    low, high = wilson(scores["accuracy"], scores["texts"])
    return f"[{low:.3f}, {high:.3f}]"


def _format_table(columns: Sequence[str], rows: Mapping[str, Mapping[str, Any]], keys: Sequence[str]) -> Iterator[str]:
    yield from (f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns))
    for name, row in rows.items():
        figures = (f"{row[key]:.3f}" if isinstance(row[key], float) else f"{row[key]}" for key in keys)
        yield f"| {name} | {' | '.join(figures)} |"
    yield ""
