"""Turn labelled texts into the rows and targets of a head, on three sides.

A classification head has one row per text, or with attention one per token; an entity head has one row per word of the tokenizer.
The texts of all sides are in one sequence, so that their states are computed once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from worker.errors import BadSettings
from worker.model.heads.head_config import HeadConfig
from worker.model.outputs import bio
from worker.training.data.corpora import rated_sentences
from worker.training.data.examples import DataSource, LabelledData, LabelledText, TaggedData, TaggedText
from worker.training.data.labels import check_labels, check_map
from worker.training.data.read import read_kind
from worker.training.data.splits import Shares, Side, given, split
from worker.training.learning.losses import UNKNOWN
from worker.training.learning.word_pieces import align_word_labels, find_first_pieces, mark_handles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from worker.model.checkpoint.checkpoint import Checkpoint
    from worker.records import Tokens
    from worker.training.config import Data, HeadOptions
    from worker.training.data.examples import Data as AnyData
    from worker.training.data.examples import Example
    from worker.training.data.splits import Split

RATED = ("negative", "positive")
_RATINGS = "vaderSentiment 3.3.2"
# The log-odds of "positive" per point of rating.
_CERTAINTY = 1.5
# Percent of the rated sentences for the test side and for the dev side.
_TEST_PARTS, _DEV_PARTS = 20, 10
#: Targets of texts, or of words for an entity head: indices of labels, int64, `[n]`; of two classes also the probability of the
#: second, float32, `[n]`; of a multi-label head whether each label is present, float32, `[n, labels]`.
Targets: TypeAlias = "NDArray[np.int64] | NDArray[np.float32]"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTask:
    """A head with its texts, rows, targets and sides."""

    options: HeadOptions
    head: HeadConfig
    examples: tuple[Example, ...]
    tokens: tuple[Tokens, ...]
    #: The first row of each text, and the end of the last, `[texts + 1]`.
    starts: NDArray[np.int64]
    targets: Targets
    #: The numbers of the texts of each side.
    sides: Mapping[Side, NDArray[np.int64]]
    #: Held-out texts by title: a file, or a section.
    held_out: Mapping[str, NDArray[np.int64]]
    #: The sha256 of each source by title.
    sources: Mapping[str, str]
    #: Texts that an annotator rejected or skipped, which are left out.
    num_rejected: int = 0

    @property
    def texts(self) -> list[str]:
        """All texts."""
        return [example.text for example in self.examples]

    def rows(self, texts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows of some texts, concatenated, and the first row of each text, `[n + 1]`."""
        return concatenate_ranges(self.starts[texts], self.starts[texts + 1])

    def get_targets(self, texts: NDArray[np.int64]) -> Targets:
        """Return the targets of some texts, or of their words for an entity head."""
        return self.targets[texts if self.head.task == "classify" else self.rows(texts)[0]]


def concatenate_ranges(firsts: NDArray[np.int64], ends: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of some ranges, concatenated, and the start of each range, `[n + 1]`."""
    starts = np.concatenate([[0], np.cumsum(ends - firsts)])
    return np.arange(starts[-1]) + np.repeat(firsts - starts[:-1], ends - firsts), starts


@dataclass(frozen=True, slots=True)
class _Read:
    """The texts of three sides, before tokenization."""

    sides: Split[Example]
    #: The title of each held-out text's file, or section.
    titles: Mapping[int, str]
    #: The probability of "positive" by text, for rated sentences; else empty.
    certainties: Mapping[str, float]
    sources: Mapping[str, str]
    labels: tuple[str, ...]
    is_multi_label: bool = False
    num_rejected: int = 0


def build_task(options: HeadOptions, loaded: Checkpoint, *, directory: Path, cache: Path, seed: int) -> TrainingTask:
    """Read, split and tokenize the texts of a head, and build the targets.

    Raises `BadSettings` with file, line and reason.
    """
    data = options.data
    found = _read_rated(options, cache) if data.builtin else _read_files(options, directory, seed)
    examples: tuple[Example, ...] = (*found.sides.train, *found.sides.dev, *found.sides.test)
    num_train, num_dev = len(found.sides.train), len(found.sides.dev)
    sides = {
        Side.TRAIN: split_share(num_train, data.train_share, seed),
        Side.DEV: np.arange(num_train, num_train + num_dev),
        Side.TEST: np.arange(num_train + num_dev, len(examples)),
    }
    if not len(sides[Side.DEV]):
        raise BadSettings(f"the head {options.name!r} has no text on its dev side, by which the best epoch is chosen")
    tokens = tuple(loaded.tokenizer.encode([example.text for example in examples]))
    titles = [found.titles[id(examples[side])] for side in sides[Side.TEST]]
    starts, targets = _read_rows(options, examples, tokens, found)
    return TrainingTask(
        options=options,
        head=_build_head(options, found, loaded.heads.last_layer),
        examples=examples,
        tokens=tokens,
        starts=starts,
        targets=targets,
        sides=sides,
        held_out={fromkey: sides[Side.TEST][[title == fromkey for title in titles]] for fromkey in dict.fromkeys(titles)},
        sources=found.sources,
        num_rejected=found.num_rejected,
    )


def _build_head(options: HeadOptions, found: _Read, last_layer: int) -> HeadConfig:
    """Return the configuration of the head for the manifest of a checkpoint."""
    return HeadConfig(
        name=options.name,
        task=options.task,
        labels=bio.bio_labels(found.labels) if options.task == "ner" else found.labels,
        layers=options.layers or tuple(range(min(2, last_layer), last_layer + 1)),
        hidden_size=options.hidden_size,
        num_hidden_layers=options.num_hidden_layers,
        dropout=options.dropout,
        is_multi_label=found.is_multi_label,
        threshold=options.threshold,
        has_attention=options.has_attention,
        context_words=options.context_words,
        has_crf=options.has_crf,
    )


def split_share(count: int, share: float, seed: int) -> NDArray[np.int64]:
    """Return a share of the numbers below `count`, in order; a smaller share is part of a larger share."""
    order = np.random.default_rng([seed, count]).permutation(count)
    return np.sort(order[: max(1, round(count * share))])


def _read_rated(options: HeadOptions, cache: Path) -> _Read:
    """Read the rated sentences; the words of a sentence decide its side."""
    if options.task != "classify":
        raise BadSettings(f"the head {options.name!r}: rated sentences hold no entities")
    wanted = options.data.sections
    sentences = [sentence for sentence in rated_sentences(cache) if sentence.rating and (not wanted or sentence.section in wanted)]
    texts: list[Example] = [LabelledText(sentence.text, (RATED[sentence.rating > 0],)) for sentence in sentences]
    pairs = list(zip(texts, sentences, strict=True))
    sides = given(
        [text for text, pair in pairs if pair.split >= _TEST_PARTS + _DEV_PARTS],
        [text for text, pair in pairs if _TEST_PARTS <= pair.split < _TEST_PARTS + _DEV_PARTS],
        [text for text, pair in pairs if pair.split < _TEST_PARTS],
    )
    digest = hashlib.sha256("\n".join(sentence.text for sentence in sentences).encode()).hexdigest()
    return _Read(
        sides,
        {id(text): pair.section for text, pair in pairs},
        {sentence.text: 1 / (1 + float(np.exp(-_CERTAINTY * sentence.rating))) for sentence in sentences},
        {_RATINGS: digest},
        RATED,
    )


def _read_files(options: HeadOptions, directory: Path, seed: int) -> _Read:
    data = options.data
    sides = {side: [_read_file(directory / path, options) for path in getattr(data, side)] for side in Side}
    every = [file for files in sides.values() for file in files]
    if not data.drops_other_labels:
        # A map that drops other labels may be a map for several corpora.
        check_map(data.label_map, every)
    mapped = {side: [data.label_map.apply(file) for file in files] for side, files in sides.items()}
    train, dev, test = (_join_files(mapped[side]) for side in Side)
    held_out = [text for text in (dev, test) if text is not None]
    if train is None or not train.texts:
        raise BadSettings(f"{data.train[0]}: no text of it is left to learn from")
    labels = check_labels(train, *held_out, wanted=options.labels)
    titles = {id(text): data.source.title for data in mapped[Side.TEST] for text in data.texts}
    titles |= {id(text): "held out" for text in train.texts}
    is_several = isinstance(train, LabelledData) and train.is_multi_label
    split_off = _split(data, train.texts, dev.texts if dev else (), test.texts if test else (), seed)
    sources = {one.source.title: _compute_digest(one.source.path) for one in every}
    return _Read(split_off, titles, {}, sources, labels, is_several, sum(one.source.num_rejected for one in every))


def _split(data: Data, train: Sequence[Example], dev: Sequence[Example], test: Sequence[Example], seed: int) -> Split[Example]:
    """Return the given sides; missing sides are taken from the training texts."""
    dev_share, test_share = 0.0 if dev else data.dev_share, 0.0 if test else data.test_share
    if dev_share or test_share:
        cut = split(train, Shares(train=1 - dev_share - test_share, dev=dev_share, test=test_share), seed)
        train, dev, test = cut.train, dev or cut.dev, test or cut.test
    return given(train, dev, test)


def _read_file(path: Path, options: HeadOptions) -> AnyData:
    kind: type[AnyData] = TaggedData if options.task == "ner" else LabelledData
    return read_kind(path, options.data, kind, f"the head {options.name!r}")


def _join_files(files: Sequence[AnyData]) -> AnyData | None:
    """Return the texts of some files as one data set with the source of the first file."""
    if not files:
        return None
    first = files[0]
    if isinstance(first, TaggedData):
        return TaggedData(first.source, tuple(text for file in files if isinstance(file, TaggedData) for text in file.texts))
    labelled = [file for file in files if isinstance(file, LabelledData)]
    is_multi_label = any(data.is_multi_label for data in labelled)
    return LabelledData(DataSource(first.source.path), tuple(text for data in labelled for text in data.texts), is_multi_label)


def _read_rows(
    options: HeadOptions, examples: Sequence[Example], tokens: Sequence[Tokens], found: _Read
) -> tuple[NDArray[np.int64], Targets]:
    """Return the first row of each text, and the targets."""
    if options.task == "ner":
        return _word_rows(examples, tokens, bio.bio_labels(found.labels), skips_handles=options.data.skips_untagged_handles)
    index = {label: number for number, label in enumerate(found.labels)}
    starts = np.concatenate([[0], np.cumsum([len(own_tokens) if options.has_attention else 1 for own_tokens in tokens])])
    if found.certainties:
        return starts, np.array([found.certainties[example.text] for example in examples], dtype=np.float32)
    if found.is_multi_label:
        return starts, np.array([[label in example.labels for label in found.labels] for example in examples], dtype=np.float32)
    return starts, np.array([index[example.labels[0]] for example in examples], dtype=np.int64)


def _word_rows(
    examples: Sequence[Example], tokens: Sequence[Tokens], labels: Sequence[str], *, skips_handles: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    index = {label: number for number, label in enumerate(labels)}
    rows: list[NDArray[np.int64]] = []
    for text, own_tokenss in zip(examples, tokens, strict=True):
        firsts = own_tokenss.spans[find_first_pieces(own_tokenss), 0].tolist()
        assert isinstance(text, TaggedText)  # noqa: S101  `_file` read nothing else for a head that finds entities
        labels_ = np.array([index[label] for label in align_word_labels(text, firsts)], dtype=np.int64)
        if skips_handles:
            labels_[(labels_ == 0) & mark_handles(text.text, firsts)] = UNKNOWN
        rows.append(labels_)
    return np.concatenate([[0], np.cumsum([len(row) for row in rows])]), np.concatenate([np.empty(0, dtype=np.int64), *rows])


def add_texts(task: TrainingTask, loaded: Checkpoint, extra: Sequence[TaggedText]) -> TrainingTask:
    """Return the task of an entity head with more training texts; raises `BadSettings` for an unknown entity type."""
    known = {label[2:] for label in task.head.labels}
    if unknown := [span.type for text in extra for span in text.spans if span.type not in known]:
        raise BadSettings(f"the head {task.head.name!r} learns no {unknown[0]!r}, which is in the texts that were added")
    tokens = tuple(loaded.tokenizer.encode([text.text for text in extra]))
    starts, targets = _word_rows(extra, tokens, task.head.labels, skips_handles=False)
    added = np.arange(len(task.examples), len(task.examples) + len(extra))
    return replace(
        task,
        examples=(*task.examples, *extra),
        tokens=(*task.tokens, *tokens),
        starts=np.concatenate([task.starts, starts[1:] + task.starts[-1]]),
        targets=np.concatenate([task.targets, targets]),
        sides={**task.sides, Side.TRAIN: np.concatenate([task.sides[Side.TRAIN], added])},
    )


def _compute_digest(path: Path) -> str:
    """Return the sha256 of a file, or of all files of a directory."""
    files = sorted(own_path for own_path in path.rglob("*") if own_path.is_file()) if path.is_dir() else [path]
    whole = hashlib.sha256()
    for file in files:
        whole.update(file.read_bytes())
    return whole.hexdigest()
