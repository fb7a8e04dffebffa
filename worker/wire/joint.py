"""Encodes the results of several encoders of one record: each output names the model that made it. Pure."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

from worker.parts import JointPrediction, group_by_encoders, keep_tasks
from worker.records import Outcome, TokenizedItem

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.records import Prediction

    Encode: TypeAlias = Callable[..., Outcome]


def encode_jointly(encode: Encode, tokenized: TokenizedItem, prediction: Prediction, *, model_name: str) -> Outcome:
    """Return the messages of `encode` for each group of tasks with the same encoders; those of one encoder at once.

    Raises what `encode` raises.
    """
    if not isinstance(prediction, JointPrediction) or any(failure.task is None for failure in prediction.failures):
        return encode(tokenized, prediction, model_name=model_name)
    outcomes = [
        encode(TokenizedItem(tokenized.item, tokens), keep_tasks(prediction, tasks), model_name=tokens.model)
        for tokens, tasks in group_by_encoders(prediction.parts)
    ]
    return Outcome(
        outcomes[0].source,
        tuple(chain.from_iterable([outcome.messages for outcome in outcomes])),
        tuple(chain.from_iterable([outcome.failures for outcome in outcomes])),
        num_chunks=next((outcome.num_chunks for outcome in outcomes if outcome.num_chunks is not None), None),
    )
