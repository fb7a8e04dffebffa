"""Train a sentiment head and an entity head on a frozen encoder, save them, and score them as they are served."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from worker.errors import BadSettings
from worker.model import bio, checkpoint
from worker.model.engine import Engine
from worker.model.heads import HeadConfig
from worker.training.card import card
from worker.training.corpora import rated_sentences
from worker.training.data.examples import TaggedData
from worker.training.data.labels import LabelMap
from worker.training.data.layout import Layout
from worker.training.data.read import read
from worker.training.evaluation import accuracy, entity_scores
from worker.training.features import Features, first_pieces
from worker.training.fit import FitOptions, Rows, fit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from worker.model.heads import Head
    from worker.training.corpora import RatedSentence
    from worker.training.data.examples import TaggedText

SENTIMENT = "sentiment"
NER = "ner"
_SENTIMENT_LABELS = ("negative", "positive")
# What published corpora call the three types that we know; whatever is not named here is not an entity to us.
TYPES = LabelMap(
    {"PER": "PER", "ORG": "ORG", "LOC": "LOC", "person": "PER", "corporation": "ORG", "group": "ORG", "location": "LOC"},
    drops_others=True,
)
# The log-odds of "positive" that one point of rating stands for.
_CERTAINTY = 1.5
# Of a hundred parts of the sentences, chosen by their words: these many test, these many choose the best epoch.
_TEST_PARTS, _DEV_PARTS = 20, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """What is trained, on what, and where it goes."""

    encoder: str
    output: Path
    cache: Path
    name: str = "minilm-sentiment-ner"
    #: Files to learn entities from; without any, only the sentiment head is trained.
    ner_train: tuple[Path, ...] = ()
    #: Files to score the entities on.
    ner_test: tuple[Path, ...] = ()
    layers: tuple[int, ...] = (2, 3, 4, 5, 6)
    hidden_size: int = 128
    dropout: float = 0.2
    fit: FitOptions = field(default_factory=FitOptions)


def train(options: TrainOptions, progress: Callable[[str], None]) -> dict[str, Any]:
    """Train, save and score; return the scores. Raises `BadSettings` for the data and `BadModel` for the encoder."""
    loaded = checkpoint.load(options.encoder)
    loaded.encoder.to(torch.bfloat16)
    features = Features(loaded, options.cache, progress)
    sentences = [it for it in rated_sentences(options.cache) if it.rating]
    heads = [_train_sentiment(options, features, sentences, progress)]
    tagged = [it for path in options.ner_train for it in tagged_texts(path)]
    if tagged:
        heads.append(_train_ner(options, features, tagged, progress))
    training: dict[str, Any] = {
        "options": {"layers": options.layers, "hidden_size": options.hidden_size, "dropout": options.dropout} | asdict(options.fit),
        "data": {"vaderSentiment 3.3.2": "sentences by people, rated by people"} | _described(options.ner_train + options.ner_test),
        "scores": {},
    }
    _save(options, heads, training)
    for dtype in ("float32", "bfloat16"):
        progress(f"scoring as served, {dtype}")
        engine = Engine.load(str(options.output), device="cpu", dtype=dtype)
        training["scores"][dtype] = _scores(engine, sentences, options.ner_test)
    _save(options, heads, training)
    scores: dict[str, Any] = training["scores"]
    return scores


def _train_sentiment(
    options: TrainOptions, features: Features, sentences: Sequence[RatedSentence], progress: Callable[[str], None]
) -> Head:
    config = HeadConfig(
        name=SENTIMENT,
        task="classify",
        labels=_SENTIMENT_LABELS,
        layers=options.layers,
        hidden_size=options.hidden_size,
        dropout=options.dropout,
    )
    states = features.sentences([it.text for it in sentences], options.layers)
    # People disagree most where they feel least: a rating says how sure to be, not only which way.
    ratings = np.array([it.rating for it in sentences])
    rows = Rows(states, (1 / (1 + np.exp(-_CERTAINTY * ratings))).astype(np.float32))
    parts = np.array([it.split for it in sentences])
    is_dev = (parts >= _TEST_PARTS) & (parts < _TEST_PARTS + _DEV_PARTS)
    train_rows = rows.where(parts >= _TEST_PARTS + _DEV_PARTS)
    return fit(config, train_rows, rows.where(is_dev), options=options.fit, progress=progress)


def _train_ner(options: TrainOptions, features: Features, tagged: Sequence[TaggedText], progress: Callable[[str], None]) -> Head:
    labels = bio.labels_of(sorted({span.type for it in tagged for span in it.spans}))
    config = HeadConfig(
        name=NER,
        task="ner",
        labels=labels,
        layers=options.layers,
        hidden_size=options.hidden_size,
        dropout=options.dropout,
    )
    texts = [it.text for it in tagged]
    starts = _word_starts(features, texts)
    word_labels = [word_labels_of(it, firsts) for it, firsts in zip(tagged, starts, strict=True)]
    index = {label: number for number, label in enumerate(labels)}
    rows = Rows(
        features.words(texts, options.layers),
        np.array([index[label] for path in word_labels for label in path], dtype=np.int64),
    )
    parts = np.concatenate([np.full(len(path), _part(text)) for path, text in zip(word_labels, texts, strict=True)])
    is_dev = parts < _DEV_PARTS
    # Corpora disagree on whether an @handle is a name: where one says that it is none, nothing is learned from it.
    is_told = ~(np.concatenate([_in_handle(text, it) for text, it in zip(texts, starts, strict=True)]) & (rows.labels == 0))
    return fit(config, rows.where(~is_dev & is_told), rows.where(is_dev & is_told), options=options.fit, progress=progress)


def tagged_texts(path: Path) -> tuple[TaggedText, ...]:
    """Read texts with entities of the types that we know; raises `BadSettings` with file, line and reason."""
    data = read(path, Layout(joins_handles=True))
    if not isinstance(data, TaggedData):
        raise BadSettings(f"{path}: {data.kind}, where entities are needed")
    return TYPES.tagged(data).texts


def _in_handle(text: str, starts: Sequence[int]) -> NDArray[np.bool_]:
    """Tell of each word whether it is the `@` or the name of a handle."""
    return np.array(["@" in text[max(0, start - 1) : start + 1] for start in starts], dtype=bool)


def _word_starts(features: Features, texts: Sequence[str]) -> list[list[int]]:
    """Return for each text the first character of each word that the tokenizer sees."""
    return [tokens.spans[first_pieces(tokens), 0].tolist() for tokens in features.tokenize(texts)]


def word_labels_of(tagged: TaggedText, starts: Sequence[int]) -> list[str]:
    """Return the BIO label of each word, given the character that each starts at."""
    labels = [bio.OUTSIDE] * len(starts)
    for span in tagged.spans:
        inside = [number for number, start in enumerate(starts) if span.start <= start < span.end]
        for number in inside:
            labels[number] = f"{'B' if number == inside[0] else 'I'}-{span.type}"
    return labels


def _part(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.lower().encode()).digest()[:4]) % 100


def _scores(engine: Engine, sentences: Sequence[RatedSentence], ner_test: Sequence[Path]) -> dict[str, Any]:
    scores: dict[str, Any] = {"sentiment accuracy": {}}
    for section in dict.fromkeys(it.section for it in sentences):
        held_out = [it for it in sentences if it.section == section and it.split < _TEST_PARTS]
        labels = [_SENTIMENT_LABELS[it.rating > 0] for it in held_out]
        found = accuracy(engine, SENTIMENT, [it.text for it in held_out], labels)
        scores["sentiment accuracy"][section] = {
            "accuracy": round(found, 4),
            "majority": round(max(labels.count(it) for it in _SENTIMENT_LABELS) / len(labels), 4),
            "texts": len(labels),
        }
    for path in ner_test:
        by_kind = entity_scores(engine, tagged_texts(path))
        scores[f"entities, {_titled(path)}"] = {
            kind: {name: round(value, 4) for name, value in asdict(it).items()} for kind, it in by_kind.items()
        }
    return scores


def _described(paths: Sequence[Path]) -> dict[str, str]:
    """Name each file by its folder and its sha256: what was read, not where it lay."""
    return {_titled(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in dict.fromkeys(paths)}


def _titled(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _save(options: TrainOptions, heads: Sequence[Head], training: dict[str, Any]) -> None:
    checkpoint.save(
        options.output,
        name=options.name,
        encoder_reference=options.encoder,
        heads=heads,
        training=training,
        card=card(options.name, options.encoder, [head.config for head in heads], training),
    )
