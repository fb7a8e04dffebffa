"""What a loaded model is and does, in one line for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.model.checkpoint.checkpoint import Checkpoint
    from worker.model.heads.head_config import HeadConfig

_MOST_LABELS = 8


def describe_abilities(loaded: Checkpoint) -> str:
    """Return family and shape of the encoder, vectors, heads, longest text and prompt; also what the model does not do."""
    return "; ".join(_describe(loaded))


def _describe(loaded: Checkpoint) -> Iterator[str]:
    config, sentence = loaded.weights.config, loaded.heads.sentence
    yield f"{config.family}, {config.num_hidden_layers} layers of {config.hidden_size}"
    if loaded.is_embedder:
        kind = "normalised" if sentence.is_normalized else "not normalised"
        width = len(sentence.dense[-1].weight) if sentence.dense else config.hidden_size
        yield f"vectors of {sentence.dimensions or width} dimensions, {kind}"
    else:
        yield "no vectors"
    heads = [_describe_head(head.config) for head in loaded.heads.heads.values()]
    yield f"heads {', '.join(heads)}" if heads else "no heads"
    yield f"texts of at most {loaded.max_tokens} tokens"
    yield f"prompt {loaded.prompt!r}" if loaded.prompt else "no prompt"


def _describe_head(head: HeadConfig) -> str:
    names = ", ".join(head.labels[:_MOST_LABELS]) + (", …" if len(head.labels) > _MOST_LABELS else "")
    return f"{head.name} ({head.task}: {names})"
