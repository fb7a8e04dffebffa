"""Models and texts for all candidates: a directory with GIST's architecture, and texts with the lengths of a stream."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

MIXTURE = "mixture"
REAL = "real"
# Ordinary words of the vocabulary; smaller ids are special tokens and single characters.
_WORD_IDS = range(1000, 29_000)
_NUM_SPECIAL_TOKENS = 2
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


@dataclass(frozen=True, slots=True)
class Corpus:
    """Texts in order of arrival."""

    name: str
    texts: tuple[str, ...]
    #: Whether tokenizing is measured; not for generated texts.
    is_tokenizing: bool

    def write(self, path: Path) -> None:
        """Write a file for the candidates."""
        path.write_text(json.dumps({"name": self.name, "texts": self.texts, "is_tokenizing": self.is_tokenizing}))

    @classmethod
    def read(cls, path: Path) -> Corpus:
        """Return the corpus of a file."""
        written = json.loads(path.read_bytes())
        return cls(written["name"], tuple(written["texts"]), written["is_tokenizing"])

    def part(self, first: int, num_messages: int) -> list[int]:
        """Return the indices of `num_messages` texts from `first` on, in order of arrival, cyclically."""
        return [(first + number) % len(self.texts) for number in range(num_messages)]

    def sorted_part(self, first: int, num_messages: int, batch_size: int) -> list[int]:
        """Return indices for a candidate that sorts by length: whole batches of the sorted corpus, in random order.

        Sorting few texts pads more than sorting many. Batches of the sorted corpus need the padding of the whole corpus.
        """
        order = sorted(range(len(self.texts)), key=lambda index: len(self.texts[index]))
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        drawn = np.random.default_rng(0).permutation(len(batches))
        indices = [index for number in drawn for index in batches[number]]
        return [indices[(first + number) % len(indices)] for number in range(num_messages)]


def lengths(num_messages: int) -> NDArray[np.int64]:
    """Return the number of tokens of each text of the mixture, special tokens included: log-normal, mean 28, from 5 to 256."""
    np.random.seed(0)  # noqa: NPY002  keeps figures comparable with earlier ones
    drawn: NDArray[np.int64] = np.clip(np.random.lognormal(3.2, 0.6, num_messages).astype(int), 5, 256)  # noqa: NPY002
    return drawn


def mixture(vocabulary: Path, num_messages: int) -> Corpus:
    """Return texts of these lengths; each word is one token of `vocabulary`, a WordPiece `tokenizer.json`."""
    ids: dict[str, int] = json.loads(vocabulary.read_bytes())["model"]["vocab"]
    ordinary = (word for word, number in ids.items() if number in _WORD_IDS)
    words = sorted(word for word in ordinary if word.isascii() and word.isalpha() and word.islower())
    random = np.random.default_rng(0)
    texts = (" ".join(random.choice(words, length - _NUM_SPECIAL_TOKENS)) for length in lengths(num_messages))
    return Corpus(MIXTURE, tuple(texts), is_tokenizing=False)


def spread_over(texts: Sequence[str], num_messages: int) -> list[str]:
    """Return `num_messages` texts of all sections in random order: neighbours in a corpus are similar, in a stream they are not."""
    chosen = np.random.default_rng(0).permutation(len(texts))[:num_messages]
    return [texts[number] for number in chosen]


def write_gist_shaped(directory: Path, tokenizer: Path) -> None:
    """Write a directory like the published GIST-small-Embedding-v0 (12 layers of 384, CLS pooling), with random weights.

    Copies the tokenizer from the directory `tokenizer`, which has the same vocabulary.
    """
    import torch  # noqa: PLC0415  slow to import, and the candidates read texts without it
    from transformers import BertConfig, BertModel  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    logging.disable_progress_bar()
    torch.manual_seed(0)
    config = BertConfig(hidden_size=384, num_hidden_layers=12, num_attention_heads=12, intermediate_size=1536)
    BertModel(config, add_pooling_layer=False).save_pretrained(directory)
    for file in _TOKENIZER_FILES:
        if (tokenizer / file).exists():
            shutil.copy(tokenizer / file, directory)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    contents: dict[str, Any] = {
        "modules.json": [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for number, (path, kind) in enumerate(modules)
        ],
        "1_Pooling/config.json": {
            "word_embedding_dimension": 384, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False
        },
        "sentence_bert_config.json": {"max_seq_length": 512, "do_lower_case": False},
    }  # fmt: skip
    (directory / "1_Pooling").mkdir()
    for file, content in contents.items():
        (directory / file).write_text(json.dumps(content))
