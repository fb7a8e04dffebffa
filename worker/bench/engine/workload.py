"""What everybody reads: a model directory of GIST's shape, and texts whose lengths are those of a stream. Needs no torch."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

MIXTURE = "mixture"
REAL = "real"
# The ordinary words of the vocabulary; below stand special tokens and single characters.
_WORD_IDS = range(1000, 29_000)
_NUM_SPECIAL_TOKENS = 2
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


@dataclass(frozen=True, slots=True)
class Corpus:
    """Texts in order of arrival."""

    name: str
    texts: tuple[str, ...]
    #: Whether turning texts into tokens is part of the work; it is not where the texts are made up.
    is_tokenizing: bool

    def write(self, path: Path) -> None:
        """Write it for the contestants."""
        path.write_text(json.dumps({"name": self.name, "texts": self.texts, "is_tokenizing": self.is_tokenizing}))

    @classmethod
    def read(cls, path: Path) -> Corpus:
        """Read what `write` wrote."""
        written = json.loads(path.read_bytes())
        return cls(written["name"], tuple(written["texts"]), written["is_tokenizing"])

    def part(self, first: int, num_messages: int) -> list[int]:
        """Return the places of so many texts from `first` on, in order of arrival, round and round."""
        return [(first + number) % len(self.texts) for number in range(num_messages)]

    def sorted_part(self, first: int, num_messages: int, batch_size: int) -> list[int]:
        """Return a part for who sorts by length: whole batches of the sorted corpus, drawn from all lengths alike.

        Who sorts a few texts pads more than who sorts many; this way a part is padded as the whole corpus would be.
        """
        order = sorted(range(len(self.texts)), key=lambda place: len(self.texts[place]))
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        drawn = np.random.default_rng(0).permutation(len(batches))
        line = [place for number in drawn for place in batches[number]]
        return [line[(first + number) % len(line)] for number in range(num_messages)]


def lengths(num_messages: int) -> NDArray[np.int64]:
    """Return the tokens of each text of the mixture, special tokens included: log-normal, mean 28, from 5 to 256."""
    np.random.seed(0)  # noqa: NPY002  the lengths of all earlier measurements
    found: NDArray[np.int64] = np.clip(np.random.lognormal(3.2, 0.6, num_messages).astype(int), 5, 256)  # noqa: NPY002
    return found


def mixture(vocabulary: Path, num_messages: int) -> Corpus:
    """Return texts of these lengths, of words that are one token each in `vocabulary`, a `tokenizer.json` of WordPiece."""
    ids: dict[str, int] = json.loads(vocabulary.read_bytes())["model"]["vocab"]
    ordinary = (word for word, number in ids.items() if number in _WORD_IDS)
    words = sorted(word for word in ordinary if word.isascii() and word.isalpha() and word.islower())
    random = np.random.default_rng(0)
    texts = (" ".join(random.choice(words, length - _NUM_SPECIAL_TOKENS)) for length in lengths(num_messages))
    return Corpus(MIXTURE, tuple(texts), is_tokenizing=False)


def spread_over(texts: Sequence[str], num_messages: int) -> list[str]:
    """Return so many of the texts, from every section, mixed: neighbours in a corpus are alike, those in a stream are not."""
    chosen = np.random.default_rng(0).permutation(len(texts))[:num_messages]
    return [texts[number] for number in chosen]


def write_gist_shaped(directory: Path, tokenizer: Path) -> None:
    """Write a directory as GIST-small-Embedding-v0 is published (12 layers of 384, CLS pooling), with random weights.

    The tokenizer's files come from the directory `tokenizer`: its vocabulary is the same.
    """
    config = {
        "architectures": ["BertModel"], "model_type": "bert", "vocab_size": 30_522, "hidden_size": 384, "num_hidden_layers": 12,
        "num_attention_heads": 12, "intermediate_size": 1536, "max_position_embeddings": 512, "type_vocab_size": 2,
        "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0,
    }  # fmt: skip
    (directory / "1_Pooling").mkdir(parents=True)
    save_file(_random_weights(config), directory / "model.safetensors", metadata={"format": "pt"})
    for file in _TOKENIZER_FILES:
        if (tokenizer / file).exists():
            shutil.copy(tokenizer / file, directory)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    contents: dict[str, Any] = {
        "config.json": config,
        "modules.json": [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for number, (path, kind) in enumerate(modules)
        ],
        "1_Pooling/config.json": {
            "word_embedding_dimension": 384, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False
        },
        "sentence_bert_config.json": {"max_seq_length": 512, "do_lower_case": False},
    }  # fmt: skip
    for file, content in contents.items():
        (directory / file).write_text(json.dumps(content))


def _random_weights(config: dict[str, Any]) -> dict[str, NDArray[np.float32]]:
    """Return weights as an untrained BERT has them: normal, of deviation 0.02; biases 0, norms 1."""
    random = np.random.default_rng(0)
    hidden, wide = config["hidden_size"], config["intermediate_size"]

    def linear(name: str, outputs: int, inputs: int) -> dict[str, NDArray[np.float32]]:
        weight = random.standard_normal((outputs, inputs), dtype=np.float32) * np.float32(0.02)
        return {f"{name}.weight": weight, f"{name}.bias": np.zeros(outputs, np.float32)}

    def norm(name: str) -> dict[str, NDArray[np.float32]]:
        return {f"{name}.weight": np.ones(hidden, np.float32), f"{name}.bias": np.zeros(hidden, np.float32)}

    weights = norm("embeddings.LayerNorm")
    tables = {"word": "vocab_size", "position": "max_position_embeddings", "token_type": "type_vocab_size"}
    for table, size in tables.items():
        name = f"embeddings.{table}_embeddings"
        weights[f"{name}.weight"] = linear(name, config[size], hidden)[f"{name}.weight"]
    for number in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{number}"
        for part in ("query", "key", "value"):
            weights |= linear(f"{layer}.attention.self.{part}", hidden, hidden)
        weights |= linear(f"{layer}.attention.output.dense", hidden, hidden) | norm(f"{layer}.attention.output.LayerNorm")
        weights |= linear(f"{layer}.intermediate.dense", wide, hidden)
        weights |= linear(f"{layer}.output.dense", hidden, wide) | norm(f"{layer}.output.LayerNorm")
    return weights
