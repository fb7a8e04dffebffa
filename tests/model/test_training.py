"""Training: heads learn, the same seed gives the same head, and the scores are those of the model as served."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from tests.model.conftest import MINILM
from worker.errors import BadSettings
from worker.model import checkpoint
from worker.model.engine import Engine
from worker.model.heads import Head, HeadConfig
from worker.model.references import locate
from worker.settings import DEFAULT_MODEL
from worker.training import train as module
from worker.training.card import card
from worker.training.corpora import RatedSentence
from worker.training.data.examples import Span, TaggedText
from worker.training.features import Features
from worker.training.fit import FitOptions, Rows, fit
from worker.training.train import TrainOptions, tagged_texts, train, word_labels_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.model

GOOD = [
    "I love it",
    "what a wonderful day",
    "great, thank you",
    "the best film of the year",
    "so happy with this",
    "delicious and kind",
]
BAD = [
    "I hate it",
    "what an awful day",
    "broken, never again",
    "the worst film of the year",
    "so angry about this",
    "disgusting and rude",
]
NAMES = ["Ada", "Grace", "Marie", "Alan", "Kurt", "Emmy", "Carl", "Lise"]
PLACES = ["Paris", "London", "Zürich", "Oslo", "Rome", "Vienna", "Berlin", "Madrid"]


def silent(_line: str) -> None:
    """Say nothing."""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Give a corpus of small sentences."""
    lines = [f"{name}\tB-PER\nlives\tO\nin\tO\n{place}\tB-LOC\n" for name in NAMES for place in PLACES]
    path = tmp_path / "small" / "people.conll"
    path.parent.mkdir()
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def _sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put small sentences in the place of the corpus that is fetched."""
    rated = [
        RatedSentence("movies", f"{text}, number {n}", rating)
        for texts, rating in ((GOOD, 2.0), (BAD, -2.0))
        for text in texts
        for n in range(12)
    ]
    monkeypatch.setattr(module, "rated_sentences", lambda _cache: rated)


@pytest.mark.usefixtures("_sentences")
def test_from_texts_to_a_checkpoint_that_serves(tmp_path: Path, corpus: Path) -> None:
    """Both heads learn what is easy, the scores are in the manifest and on the card, and a second run encodes nothing again."""
    options = TrainOptions(
        encoder=MINILM,
        output=tmp_path / "out",
        cache=tmp_path / "cache",
        ner_train=(corpus,),
        ner_test=(corpus,),
        layers=(3, 6),
        hidden_size=0,
        fit=FitOptions(epochs=30, learning_rate=1e-2, batch_rows=32),
    )
    scores = train(options, silent)
    assert scores["float32"]["sentiment accuracy"]["movies"]["accuracy"] > 0.9
    assert scores["float32"]["entities, small/people.conll"]["all"]["f1"] > 0.9
    manifest = json.loads((options.output / "manifest.json").read_text())
    assert manifest["training"]["scores"] == scores
    text = (options.output / "README.md").read_text()
    assert f"| all | {scores['float32']['entities, small/people.conll']['all']['precision']:.3f} |" in text
    temperatures = [it["temperature"] for it in manifest["heads"]]
    assert 1 not in temperatures
    assert all(f"{it:.3f} (" in text for it in temperatures)
    assert str(tmp_path) not in text + json.dumps(manifest)
    first = (options.output / "heads.safetensors").read_bytes()
    told: list[str] = []
    train(replace(options, output=tmp_path / "again"), told.append)
    assert not [line for line in told if line.startswith("encoding")]
    assert (tmp_path / "again" / "heads.safetensors").read_bytes() == first
    assert Engine.load(str(options.output), device="cpu").tasks == {"embed", "classify", "ner"}


@pytest.mark.usefixtures("_sentences")
def test_without_tagged_texts_there_is_no_entity_head(tmp_path: Path) -> None:
    """The sentiment head is trained alone."""
    options = TrainOptions(encoder=MINILM, output=tmp_path / "out", cache=tmp_path / "cache", layers=(6,), fit=FitOptions(epochs=1))
    train(options, silent)
    assert list(checkpoint.load(str(options.output)).heads.heads) == ["sentiment"]


def test_a_corpus_that_is_not_there_stops_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named."""
    monkeypatch.setattr(
        module, "rated_sentences", lambda _cache: [RatedSentence("movies", f"text {n}", n - 50.5) for n in range(100)]
    )
    options = TrainOptions(
        encoder=MINILM,
        output=tmp_path / "out",
        cache=tmp_path / "cache",
        ner_train=(tmp_path / "none.conll",),
        fit=FitOptions(epochs=1),
    )
    with pytest.raises(BadSettings, match=r"none\.conll"):
        train(options, silent)


def test_the_best_epoch_counts_and_the_seed_decides() -> None:
    """Training ends when the development rows no longer gain; the same seed gives the same numbers."""
    generator = np.random.default_rng(0)
    states = generator.normal(size=(400, 1, 8)).astype(np.float16)
    rows = Rows(states, (states[:, 0, 0] > 0).astype(np.int64))
    config = HeadConfig(name="h", task="classify", labels=("a", "b"), layers=(0,), hidden_size=4, dropout=0.1)
    told: list[str] = []
    options = FitOptions(epochs=50, patience=2, seed=3, learning_rate=1e-2)
    heads = [fit(config, rows, rows, options=it, progress=told.append) for it in (options, options, replace(options, seed=4))]
    first, second, other = (torch.cat([it.flatten() for it in head.state_dict().values()]) for head in heads)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert "development loss" in told[0]


def test_features_are_cached_by_what_they_depend_on(tmp_path: Path) -> None:
    """Other texts or other layers are other files."""
    features = Features(checkpoint.load(MINILM), tmp_path, silent)
    once = features.sentences(["a", "b c"], [3, 6])
    assert once.shape == (2, 2, 384)
    assert features.words(["a", "b c"], [6]).shape == (3, 1, 384)
    features.sentences(["a", "b c"], [6])
    features.sentences(["a", "other"], [3, 6])
    np.testing.assert_array_equal(features.sentences(["a", "b c"], [3, 6]), once)
    assert len(list(tmp_path.iterdir())) == 4


def test_entities_of_published_corpora_become_ours(tmp_path: Path) -> None:
    """Types are mapped to ours, what is not ours is nothing, and a handle that was cut in two is one."""
    corpus = tmp_path / "corpus.conll"
    corpus.write_text("Nokia B-corporation\nN95 B-product\nEspoo B-location\n@ O\nada B-person\n")
    (only,) = tagged_texts(corpus)
    assert only == TaggedText("Nokia N95 Espoo @ada", (Span("ORG", 0, 5), Span("LOC", 10, 15), Span("PER", 16, 20)))


def test_a_file_without_entities_is_refused(tmp_path: Path) -> None:
    """It says what it is instead."""
    (tmp_path / "reviews.csv").write_text("text,label\ngood,pos\n")
    with pytest.raises(BadSettings, match=r"reviews\.csv: binary, where entities are needed"):
        tagged_texts(tmp_path / "reviews.csv")


def test_words_are_labelled_by_where_they_start() -> None:
    """The first word of an entity begins it, those inside follow; a span may hold several words of the tokenizer."""
    text = TaggedText("hey @ada b", (Span("PER", 4, 10),))
    assert word_labels_of(text, [0, 4, 5, 9]) == ["O", "B-PER", "I-PER", "I-PER"]


def test_the_shipped_card_says_what_its_manifest_says() -> None:
    """Every figure on it is one that was measured, and the floors hold in both number formats."""
    directory = locate(DEFAULT_MODEL).directory
    manifest = json.loads((directory / "manifest.json").read_text())
    heads = [head.config for head in checkpoint.load(DEFAULT_MODEL).heads.heads.values() if isinstance(head, Head)]
    expected = card(manifest["name"], manifest["encoder"]["reference"], heads, manifest["training"])
    assert (directory / "README.md").read_text() == expected
    for scores in manifest["training"]["scores"].values():
        assert scores["sentiment accuracy"]["movies"]["accuracy"] >= 0.78
        assert scores["entities, broad-twitter-corpus/f.conll"]["all"]["f1"] >= 0.58
