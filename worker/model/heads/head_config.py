"""The heads on top of the encoder: text classification and named entities.

A head reads a mix of the encoder's layers, because a sentence-tuned encoder's last layer is a poor place to read tokens from. It is
linear (for two labels: logistic regression), or has hidden layers. A text has one label of a head, or several (`is_multi_label`).

An entity head may look at the words around each word: its last layer is a convolution over words. With a conditional
random field, the head also has learned transitions from label to label.

A head that classifies reads the pooled states of a text, or has attention: such a head reads every token and learns a logit and a
weight for each ("attention pooling").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from worker.errors import BadModel
from worker.records import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

_MAX_CONTEXT_WORDS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadConfig:
    """The configuration of a head, as in a checkpoint's manifest."""

    #: The name that its results carry.
    name: str
    task: Literal["classify", "ner"]
    #: For `classify` the labels; for `ner` the BIO labels, `O` among them.
    labels: tuple[str, ...]
    #: The encoder layers that it reads, 0 being the embeddings; several are mixed with learned weights.
    layers: tuple[int, ...]
    #: The width of its hidden layers; 0 for a linear head.
    hidden_size: int = 0
    #: How many hidden layers there are, where they have a width. On tiles, more than one are computed in fp32.
    num_hidden_layers: int = 1
    #: The share of inputs that training hides.
    dropout: float = 0.0
    #: The divisor of the logits, fitted after training so that scores are probabilities; the output layer's weights include it.
    temperature: float = 1.0
    #: Whether a text has any number of labels (`classify`): each is a question of its own.
    is_multi_label: bool = False
    #: The probability from which a label of several is given.
    threshold: float = 0.5
    #: Whether the logits are the results (`classify`): a number for each label, and no probabilities.
    is_regression: bool = False
    #: Whether the head reads every token of a text and weighs their logits (`classify`), instead of the pooled states.
    has_attention: bool = False
    #: How many words before and after each word count for it (`ner`).
    context_words: int = 0
    #: Whether the head learns transitions between labels (`ner`); invalid paths are never returned, with or without.
    has_crf: bool = False

    def __post_init__(self) -> None:
        """Refuse what could not be a head."""
        if self.task not in (Task.CLASSIFY, Task.NER):
            raise BadModel(f"the head {self.name!r} has the task {self.task!r}; classify and ner are known")
        if len(set(self.labels)) < (1 if self.is_multi_label or self.is_regression else 2) or len(set(self.labels)) < len(
            self.labels
        ):
            raise BadModel(f"the head {self.name!r} needs at least two labels, all different")
        if not self.layers or min(self.layers) < 0:
            raise BadModel(f"the head {self.name!r} reads no layer of the encoder")
        if self.num_hidden_layers < 1 or not 0 <= self.context_words <= _MAX_CONTEXT_WORDS or not 0 < self.threshold < 1:
            raise BadModel(
                f"the head {self.name!r}: hidden layers are one or more, words of context {_MAX_CONTEXT_WORDS} at most, and a "
                "threshold lies between 0 and 1"
            )
        of_texts, of_words = self.is_multi_label or self.has_attention or self.is_regression, self.has_crf or self.context_words
        if (of_texts and self.task != "classify") or (of_words and self.task != "ner"):
            raise BadModel(
                f"the head {self.name!r} has the task {self.task}: several labels, numbers and attention are for classify, "
                "transitions and context for ner"
            )

    @property
    def is_published(self) -> bool:
        """Whether another project trained the head, with layers of its own."""
        return False

    @property
    def is_binary(self) -> bool:
        """Whether one logit decides between two classes (logistic regression)."""
        return self.task == "classify" and len(self.labels) == 2 and not self.is_multi_label  # noqa: PLR2004

    @property
    def reads_tokens(self) -> bool:
        """Whether its rows are tokens, and not texts."""
        return self.task == "ner" or self.has_attention

    @property
    def num_logits(self) -> int:
        """The number of logits for each row.

        One for two classes, else one for each label; again one for each label and word of the context; with attention, one weight.
        """
        own = 1 if self.is_binary else len(self.labels) * (1 + 2 * self.context_words)
        return own + self.has_attention


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadWeights:
    """The parameters of a head as arrays in fp32."""

    config: HeadConfig
    #: The weights of the mixed layers, before the softmax.
    mix: Floats
    norm_gain: Floats
    norm_bias: Floats
    #: Weights `[outputs, inputs]` and biases of its linear maps, the logits last.
    layers: tuple[tuple[Floats, Floats], ...]
    #: The score of each transition between labels; None without a CRF.
    transitions: Floats | None = None
    norm_epsilon: float = 1e-5

    @classmethod
    def read(cls, config: HeadConfig, encoder_size: int, arrays: Mapping[str, Floats]) -> HeadWeights:
        """Take the arrays of a checkpoint; raises `ValueError` where one is missing, of another shape or not known."""
        expected = find_head_shapes(config, encoder_size)
        if arrays.keys() != expected.keys():
            raise ValueError(
                f"the head {config.name!r} has the tensors {', '.join(sorted(arrays))}, not {', '.join(sorted(expected))}"
            )
        for name, shape in expected.items():
            if arrays[name].shape != shape:
                raise ValueError(f"{config.name}.{name} has the shape {arrays[name].shape}, not {shape}")
        own = {name: np.asarray(array, dtype=np.float32) for name, array in arrays.items()}
        linear = [name.removesuffix(".weight") for name in expected if name.endswith(".weight") and name != "norm.weight"]
        return cls(
            config=config,
            mix=own["mix"],
            norm_gain=own["norm.weight"],
            norm_bias=own["norm.bias"],
            layers=tuple((own[f"{name}.weight"], own[f"{name}.bias"]) for name in linear),
            transitions=own.get("transitions"),
        )

    @property
    def weights(self) -> tuple[tuple[int, float], ...]:
        """The share of each of its layers."""
        shares = np.exp(self.mix - self.mix.max())
        return tuple(zip(self.config.layers, (shares / shares.sum()).tolist(), strict=True))

    def arrays(self) -> dict[str, Floats]:
        """Return the parameters by their names in a checkpoint."""
        names = [
            name.removesuffix(".weight") for name in find_head_shapes(self.config, len(self.norm_gain)) if name.endswith(".weight")
        ]
        found = {"mix": self.mix, "norm.weight": self.norm_gain, "norm.bias": self.norm_bias}
        for name, (weight, bias) in zip([name for name in names if name != "norm"], self.layers, strict=True):
            found |= {f"{name}.weight": weight, f"{name}.bias": bias}
        return found if self.transitions is None else found | {"transitions": self.transitions}

    def to_weights(self) -> HeadWeights:
        """Return itself: a head that is trained has a method of this name."""
        return self


def find_head_shapes(config: HeadConfig, encoder_size: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each parameter of a head by its name in a checkpoint, linear maps in their order."""
    width, num_labels = config.hidden_size or encoder_size, len(config.labels)
    shapes: dict[str, tuple[int, ...]] = {
        "mix": (len(config.layers),),
        "norm.weight": (encoder_size,),
        "norm.bias": (encoder_size,),
    }
    linear = [("hidden", (width, encoder_size))] if config.hidden_size else []
    linear += [(f"deeper.{number}", (width, width)) for number in range(config.num_hidden_layers - 1 if config.hidden_size else 0)]
    for name, shape in [*linear, ("output", (config.num_logits, width))]:
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes | ({"transitions": (num_labels + 1, num_labels)} if config.has_crf else {})
