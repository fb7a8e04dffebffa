"""Prompts: what a model was trained to read before each text, such as `passage: `, and what is known of models that need one.

The published prompts are those of sentence-transformers (`config_sentence_transformers.json`). Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from worker.errors import BadModel, BadSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from worker.model.pooling.pooling import PoolingConfig

#: The value of `GIST_PROMPT` for texts without a prompt.
NO_PROMPT = "none"
_NAME = re.compile(r"[\w.-]+")
# Models that need a prompt, by their names, with the prompts that their publishers document.
_KNOWN_TO_NEED = {
    r"\be5-": "'query: ' or 'passage: '",
    r"\bnomic-embed-text": "'search_document: ', 'search_query: ', 'clustering: ' or 'classification: '",
    r"\bbge-(small|base|large)-": "none for passages, 'Represent this sentence for searching relevant passages: ' for queries",
}


def choose_prompt(model: str, wanted: str, sentence: PoolingConfig) -> str:
    """Return the characters before each text: of the prompt of a name, of a literal, or of the published default.

    `wanted` is `GIST_PROMPT`, empty where it is not set. Raises `BadSettings` for a name that is not that of a prompt of the model,
    and `BadModel` for a default that is none of the published prompts, or a prompt whose tokens do not count for the vector.
    """
    prompt = _find_prompt(model, wanted, sentence.prompts, sentence.default_prompt)
    if prompt and not sentence.includes_prompt:
        raise BadModel(f"{model}: a prompt whose tokens do not count for the vector (include_prompt) is not supported")
    return prompt


def _find_prompt(model: str, wanted: str, prompts: Mapping[str, str], default: str | None) -> str:
    name = wanted or default
    if name is None or wanted == NO_PROMPT:
        return ""
    if name in prompts:
        return prompts[name]
    if not wanted:
        raise BadModel(f"{model}: the default prompt {default!r} is not among the published prompts ({_list_names(prompts)})")
    if _NAME.fullmatch(wanted):
        raise BadSettings(
            f"GIST_PROMPT: {model} has no prompt {wanted!r} ({_list_names(prompts)}); a literal prompt has a space or a colon, "
            "such as 'passage: '"
        )
    return wanted


def find_warnings(directory: Path, model: str, wanted: str, sentence: PoolingConfig, *, has_heads: bool) -> tuple[str, ...]:
    """Return a line for a prompt that is missing or unusual, and for vectors that are cut without training for it."""
    prompts = _find_prompt_warnings(model, wanted, sentence, has_heads=has_heads)
    return (*prompts, *_find_dimension_warning(directory, sentence.dimensions or 0))


def _find_prompt_warnings(model: str, wanted: str, sentence: PoolingConfig, *, has_heads: bool) -> Iterator[str]:
    """Yield a line if the model needs a prompt and has none, or if its heads read a prompt that they were not trained with."""
    offered = {name: text for name, text in sentence.prompts.items() if text}
    if not wanted and sentence.default_prompt is None:
        known = next((texts for pattern, texts in _KNOWN_TO_NEED.items() if re.search(pattern, model, re.IGNORECASE)), None)
        if offered or known:
            texts = ", ".join(f"{name} ({text!r})" for name, text in offered.items()) or known
            yield f"{model} was trained with prompts: {texts}. Set GIST_PROMPT to one of them, or to {NO_PROMPT}"
    if wanted and wanted != NO_PROMPT and has_heads:
        yield "the prompt of GIST_PROMPT is read by the heads, too, which were not trained with it"


def _find_dimension_warning(directory: Path, dimensions: int) -> Iterator[str]:
    """Yield a line if vectors are cut that the published files do not call Matryoshka vectors."""
    files = (directory / name for name in ("config.json", "config_sentence_transformers.json", "README.md"))
    if dimensions and not any(file.exists() and b"matryoshka" in file.read_bytes().lower() for file in files):
        yield (
            f"GIST_EMBEDDING_DIMENSIONS cuts the vectors to {dimensions} dimensions, and the model does not say that it was "
            "trained for that (Matryoshka): measure the loss with `gist-stream evaluate --dimensions`"
        )


def _list_names(prompts: Mapping[str, str]) -> str:
    return f"it has {', '.join(sorted(prompts))}" if prompts else "it was published without prompts"
