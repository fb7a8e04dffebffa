"""The model card: what a checkpoint is, what it was made of, how good it is, and what it is not for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from worker.model.heads import HeadConfig


def card(name: str, encoder: str, heads: Sequence[HeadConfig], training: Mapping[str, Any]) -> str:
    """Return the card as Markdown, every figure taken from `training`."""
    return "\n".join([*_head_lines(name, encoder, heads), "", *_data_lines(training), "", *_score_lines(training), ""])


def _head_lines(name: str, encoder: str, heads: Sequence[HeadConfig]) -> Iterator[str]:
    yield from (f"# {name}", "", f"Heads on the frozen encoder `{encoder}`, made by `gist-stream train`.", "")
    yield from ("| head | task | labels | reads layers | hidden |", "| --- | --- | --- | --- | --- |")
    for head in heads:
        layers = ", ".join(map(str, head.layers))
        yield f"| {head.name} | {head.task} | {', '.join(head.labels)} | {layers} (learned mix) | {head.hidden_size or 'linear'} |"
    if any(it.temperature != 1 for it in heads):
        temperatures = ", ".join(f"{it.temperature:.3f} ({it.name})" for it in heads)
        yield from ("", f"Scores are calibrated: divided by a temperature that was fitted on development texts, {temperatures}.")
    yield from (
        "",
        "Meant for short English texts: reviews, posts, messages. Not meant for decisions about people, other languages, or texts",
        "unlike those below; entities are lower-cased for the encoder, so names that are common words are often missed.",
    )


def _data_lines(training: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Data", "")
    yield "The heads' parameters are the only thing of it that is kept here; none of its text is."
    yield ""
    for title, digest in training["data"].items():
        yield f"* {title}: {'sha256 ' if len(digest) == 64 else ''}{digest}"  # noqa: PLR2004
    yield from (
        "",
        "`vaderSentiment` 3.3.2 (Hutto and Gilbert, ICWSM 2014) is under the MIT licence. The Broad Twitter Corpus (Derczynski,",
        "Bontcheva, Roberts, COLING 2016) and WNUT-17 (Derczynski et al., W-NUT 2017) are under CC BY 4.0; their types were mapped",
        "to PER, ORG and LOC (person; corporation and group; location), the others dropped, and an `@` joined with its name.",
    )


def _score_lines(training: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Scores on held-out texts, as served", "")
    for dtype, scores in training["scores"].items():
        yield from (f"### {dtype}", "", "| sentiment | accuracy | majority class | texts |", "| --- | --- | --- | --- |")
        for section, it in scores["sentiment accuracy"].items():
            yield f"| {section} | {it['accuracy']:.3f} | {it['majority']:.3f} | {it['texts']} |"
        for title, kinds in scores.items():
            if title.startswith("entities"):
                yield from ("", f"| {title} | precision | recall | F1 | entities |", "| --- | --- | --- | --- | --- |")
                for kind, it in kinds.items():
                    yield f"| {kind} | {it['precision']:.3f} | {it['recall']:.3f} | {it['f1']:.3f} | {it['num_gold']} |"
        yield ""
