"""The layers of published heads: for each architecture of transformers the names of its tensors, and what lies between them.

A head is a linear map. Some heads have a hidden layer before the map, with an activation and sometimes a layer norm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from worker.errors import BadModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadForm:
    """The layers of the heads of one architecture."""

    task: Literal["classify", "ner"]
    #: The linear map to the logits, by the name of its tensors without the prefix of the family, as all names here.
    output: str = "classifier"
    #: The hidden layer, by the name of its tensors; None without one.
    hidden: str | None = None
    #: The activation after the hidden layer, or the key of `config.json` that names the activation.
    activation: str | None = None
    #: The layer norm after the activation, by the name of its tensors; None without one.
    norm: str | None = None
    #: The state of a text that the head reads, or the key of `config.json` that names the state; None for the states of tokens.
    pooling: str | None = None

    def resolve(self, published: Mapping[str, Any]) -> HeadForm:
        """Return the form with the values of the keys of `config.json` that it names."""
        values = {value: str(published.get(value, _KEYS[value])) for value in (self.activation, self.pooling) if value in _KEYS}
        activation, pooling = (values.get(value or "", value) for value in (self.activation, self.pooling))
        return replace(self, activation=activation, pooling=pooling)

    def name_layers(self) -> Iterator[str]:
        """Yield the names of the layers' tensors, without `.weight` and `.bias`."""
        yield from (name for name in (self.hidden, self.norm, self.output) if name is not None)


# The keys of `config.json` that a form may name, with their values by default.
_KEYS = {"pooler_hidden_act": "gelu", "classifier_activation": "gelu", "classifier_pooling": "cls"}


def _texts(hidden: str, activation: str, output: str = "classifier") -> HeadForm:
    return HeadForm(task="classify", hidden=hidden, activation=activation, output=output, pooling="cls")


_TOKENS = HeadForm(task="ner")
_MODERNBERT = HeadForm(task="ner", hidden="head.dense", activation="classifier_activation", norm="head.norm")
_ROBERTA = _texts("classifier.dense", "tanh", "classifier.out_proj")
_BERT = _texts("pooler.dense", "tanh")
_TEXTS_OF = {
    "Bert": _BERT,
    "NomicBert": _BERT,
    "Gte": _BERT,
    "New": _BERT,
    "Roberta": _ROBERTA,
    "XLMRoberta": _ROBERTA,
    "Camembert": _ROBERTA,
    "MPNet": _ROBERTA,
    "DistilBert": _texts("pre_classifier", "relu"),
    "Electra": _texts("classifier.dense", "gelu", "classifier.out_proj"),
    "DebertaV2": _texts("pooler.dense", "pooler_hidden_act"),
    "ModernBert": replace(_MODERNBERT, task="classify", pooling="classifier_pooling"),
}
#: The forms of the heads that are served, by the architecture in `config.json`.
FORMS: Mapping[str, HeadForm] = {f"{family}ForSequenceClassification": form for family, form in _TEXTS_OF.items()} | {
    f"{family}ForTokenClassification": _MODERNBERT if family == "ModernBert" else _TOKENS for family in _TEXTS_OF
}


def find_form(published: Mapping[str, Any]) -> HeadForm | None:
    """Return the form of the head that a published `config.json` names; None for an encoder without a head."""
    found = next((FORMS[name] for name in published.get("architectures") or () if name in FORMS), None)
    return None if found is None else found.resolve(published)


def find_problem(path: Path, published: Mapping[str, Any], num_labels: int) -> str:
    """Return the kind of problem of a head of texts, as transformers trains the head: by default one label is a number."""
    problem = published.get("problem_type") or ("regression" if num_labels == 1 else "single_label_classification")
    if problem not in ("regression", "single_label_classification", "multi_label_classification"):
        raise BadModel(
            f"{path}: problem_type is {problem!r}; served are regression, single_label_classification and "
            "multi_label_classification"
        )
    return str(problem)


def find_labels(path: Path, published: Mapping[str, Any], num_labels: int) -> tuple[str, ...]:
    """Return the names of the labels, in the order of the logits; without names `LABEL_0`, `LABEL_1`, … as in transformers."""
    named = published.get("id2label")
    if named is None:
        return tuple(f"LABEL_{number}" for number in range(num_labels))
    expected = [str(number) for number in range(num_labels)]
    if not isinstance(named, dict) or sorted(named, key=str) != sorted(expected):
        count = len(named) if isinstance(named, dict) else "no"
        raise BadModel(
            f"{path}: id2label has {count} labels, and the weights of the head have {num_labels}: they are of different models"
        )
    return tuple(str(named[number]) for number in expected)
