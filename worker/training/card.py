"""The model card of a checkpoint: heads, data, purpose, limits and scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from worker.model.head_config import HeadConfig

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
    yield from ("| head | task | labels | reads layers | hidden |", "| --- | --- | --- | --- | --- |")
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
    labels = {title: own_title for title, own_title in titles.items() if "accuracy" in own_title}
    if labels:
        yield from (f"| {head} | accuracy | majority class | texts |", "| --- | --- | --- | --- |")
        for title, label in labels.items():
            yield f"| {title} | {label['accuracy']:.3f} | {label['majority']:.3f} | {label['texts']} |"
        yield ""
    several = {title: own_title for title, own_title in titles.items() if "f1" in own_title}
    if several:
        yield from (f"| {head} | F1 over all labels | texts |", "| --- | --- | --- |")
        for title, scores in several.items():
            yield f"| {title} | {scores['f1']:.3f} | {scores['texts']} |"
        yield ""
    for title, kinds in titles.items():
        if title not in labels and title not in several:
            yield from (f"| {head}, {title} | precision | recall | F1 | entities |", "| --- | --- | --- | --- | --- |")
            for kind, score in kinds.items():
                figures = " | ".join(f"{score[name]:.3f}" for name in ("precision", "recall", "f1"))
                yield f"| {kind} | {figures} | {score['num_gold']} |"
            yield ""
