"""An encoder so small that it learns in seconds, as a published directory, and small texts of our own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import tokenizers
import torch
from safetensors.torch import save_file
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import BertProcessing

from worker.model.architectures import bert
from worker.model.encoder.encoder import Encoder, published
from worker.model.encoder.encoder_config import EncoderConfig

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["ada", "grace", "marie", "alan", "kurt", "emmy", "carl", "lise"]
PLACES = ["paris", "london", "oslo", "rome", "vienna", "berlin", "madrid", "bern"]
GOOD = ["love", "great", "best", "happy", "kind", "lovely"]
BAD = ["hate", "awful", "worst", "angry", "rude", "ugly"]
THINGS = ["film", "day", "book", "song", "trip", "meal", "game", "talk"]
_OTHERS = ["lives", "in", "a", "the", "was", "it", "so", ",", "."]
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
CONFIG = EncoderConfig(
    vocab_size=64,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=32,
)


def build_words(number: int) -> str:
    """Return words that no other number has: digits count for nothing where near-duplicates are looked for."""
    word = "".join(chr(ord("a") + int(digit)) for digit in f"{number:03d}")
    return f"{word} {word}s {word}ly"


def encoder_in(directory: Path, *, config: EncoderConfig = CONFIG, seed: int = 0) -> Path:
    """Write a tiny encoder of random weights as encoders are published."""
    directory.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    save_file(published(Encoder(config)), directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(bert.publish(config)))
    words = [*_SPECIAL, *NAMES, *PLACES, *GOOD, *BAD, *THINGS, *_OTHERS]
    tokenizer = tokenizers.Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory


def moods_in(path: Path) -> Path:
    """Write 96 texts that are good or bad."""
    lines = [
        json.dumps({"text": f"the {thing} was {word}", "label": label})
        for words, label in ((GOOD, "good"), (BAD, "bad"))
        for word in words
        for thing in THINGS
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))
    return path


def people_in(path: Path) -> Path:
    """Write 64 sentences with a person and a place."""
    lines = [f"{name}\tB-PER\nlives\tO\nin\tO\n{place}\tB-LOC\n" for name in NAMES for place in PLACES]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))
    return path
