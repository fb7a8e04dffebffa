"""Several encoders as one model: each serves its own tasks, and a record goes through those that its tasks need."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from worker.batches import LIVE_PASS, PassContext
from worker.parts import EncoderTokens, JointTokens, join_items, join_tokens, split_item

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from worker.ports import ServedModel
    from worker.records import Item, Prediction, Task, TokenizedItem, Tokens


class JointModel:
    """Implements `worker.ports.ServedModel` with several encoders, whose names differ.

    `infer` accepts items with the tokens of all their encoders, or the parts for one encoder.
    """

    def __init__(
        self, encoders: Sequence[tuple[ServedModel, frozenset[Task]]], *, max_passes: int, tokenizers: Sequence[int] | None = None
    ) -> None:
        """Use encoders, in order, for their tasks; at most `max_passes` passes of all encoders run at the same time.

        `tokenizers` has for each encoder the place of the first encoder with an equal tokenizer; None if no two are equal. A text
        is tokenized once by equal tokenizers.
        """
        self.encoders: Sequence[ServedModel] = [encoder for encoder, _ in encoders]
        self._tasks = [tasks for _, tasks in encoders]
        self._tokenizers = range(len(encoders)) if tokenizers is None else tokenizers
        self._by_name = {encoder.name: encoder for encoder in self.encoders}
        self.name = ",".join(self._by_name)
        self.tasks: frozenset[Task] = frozenset().union(*self._tasks)
        self.max_tokens = max(encoder.max_tokens for encoder in self.encoders)
        self.max_passes = max_passes

    def list_tasks(self) -> list[tuple[ServedModel, frozenset[Task]]]:
        """Return each encoder with the tasks that it serves, in order."""
        return list(zip(self.encoders, self._tasks, strict=True))

    def warm_up(self) -> None:
        """Warm each encoder up."""
        for encoder in self.encoders:
            encoder.warm_up()

    def tokenize(self, texts: Sequence[str], prompt: str | None = None) -> list[Tokens]:
        """Tokenize texts for all encoders, which must have the `prompt`."""
        return self._tokenize([(text, self.tasks) for text in texts], prompt)

    def tokenize_items(self, items: Iterable[Item], prompt: str | None = None) -> list[Tokens]:
        """Tokenize the text of each item for the encoders that its tasks need, which must have the `prompt`."""
        return self._tokenize([(item.text, item.tasks) for item in items], prompt)

    def infer(self, items: Sequence[TokenizedItem], context: PassContext = LIVE_PASS) -> list[Prediction]:
        """Run a pass of each encoder of these items, one after the other; return a prediction for each item, in order."""
        if not any(isinstance(item.tokens, JointTokens) for item in items):
            return self._infer_parts(items, context)
        parts = [part for item in items for part in split_item(item)]
        return list(join_items(parts, self._infer_parts(parts, context))[1])

    def _tokenize(self, texts: Sequence[tuple[str, frozenset[Task]]], prompt: str | None = None) -> list[Tokens]:
        parts: list[list[EncoderTokens]] = [[] for _ in texts]
        # The tokens of each text, by tokenizer and place of the text.
        made: dict[tuple[int, int], Tokens] = {}
        for number, (encoder, tasks) in enumerate(zip(self.encoders, self._tasks, strict=True)):
            indexes = [index for index, (_, asked) in enumerate(texts) if tasks & asked]
            # The name of a prompt may mean another prompt for each encoder.
            tokenizer = self._tokenizers[number] if prompt is None else number
            missing = [index for index in indexes if (tokenizer, index) not in made]
            tokens = encoder.tokenize([texts[index][0] for index in missing], prompt) if missing else []
            made |= {(tokenizer, index): result for index, result in zip(missing, tokens, strict=True)}
            for index in indexes:
                result = made[tokenizer, index]
                own = result if result.model == encoder.name else replace(result, model=encoder.name)
                parts[index].append(EncoderTokens(number, tasks & texts[index][1], own))
        return [join_tokens(own) for own in parts]

    def _infer_parts(self, parts: Sequence[TokenizedItem], context: PassContext) -> list[Prediction]:
        predictions: list[Any] = [None] * len(parts)
        indexes: dict[str, list[int]] = {}
        for index, part in enumerate(parts):
            indexes.setdefault(part.tokens.model, []).append(index)
        for name, own in indexes.items():
            results = self._by_name[name].infer([parts[index] for index in own], context)
            for index, prediction in zip(own, results, strict=True):
                predictions[index] = prediction
        return predictions


def list_encoders(model: ServedModel) -> Sequence[ServedModel]:
    """Return the encoders of a model, or the model itself."""
    return model.encoders if isinstance(model, JointModel) else (model,)


def list_encoder_tasks(model: ServedModel) -> list[tuple[ServedModel, frozenset[Task]]]:
    """Return the encoders of a model, or the model itself, each with the tasks that it serves."""
    return model.list_tasks() if isinstance(model, JointModel) else [(model, model.tasks)]


def tokenize_items(model: ServedModel, items: Sequence[Item], prompt: str | None = None) -> list[Tokens]:
    """Tokenize the text of each item with the tokenizers of a model; `prompt` is that of `ServedModel.tokenize`."""
    if isinstance(model, JointModel):
        return model.tokenize_items(items, prompt)
    return model.tokenize([item.text for item in items], prompt)
