"""The parts of a record: split for the encoders, and joined once, whatever the order of the passes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import chain

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.makers import record, tokenized
from worker.flow.ledger import Ledger
from worker.parts import EncoderTokens, JointTokens, Part, join_items, join_predictions, join_tokens, split_item
from worker.records import (
    Classification,
    Failure,
    Outcome,
    Output,
    PredictedEntity,
    Prediction,
    Stage,
    Task,
    TokenizedItem,
    Tokens,
    Window,
)
from worker.wire.chunks import encode_in_chunks
from worker.wire.decode import Limits
from worker.wire.encode import EmbeddingEncoding, encode
from worker.wire.joint import encode_jointly
from worker.wire.layouts import build_layout

EMBED, CLASSIFY, NER = Task.EMBED, Task.CLASSIFY, Task.NER
# The tasks of an embedder, a tagger, a classifier, and a second classifier.
ENCODERS = (frozenset({EMBED}), frozenset({NER}), frozenset({CLASSIFY}), frozenset({CLASSIFY}))


def joint(offset: int, tasks: frozenset[Task] = frozenset(Task), *, truncated: int = -1) -> TokenizedItem:
    """Return a record with these tasks and the tokens of its encoders; the text is too long for the encoder `truncated`."""
    made = tokenized(offset, 3)
    parts = tuple(
        EncoderTokens(number, own & tasks, replace(made.tokens, model=f"m{number}@1", truncated=number == truncated))
        for number, own in enumerate(ENCODERS)
        if own & tasks
    )
    return TokenizedItem(replace(made.item, tasks=tasks), join_tokens(parts))


def predict(item: TokenizedItem) -> Prediction:
    """Return the outputs of one encoder, which name the encoder."""
    name, tasks = item.tokens.model, item.item.tasks
    return Prediction(
        embedding=np.array([item.item.record.offset], dtype=np.float32) if EMBED in tasks else None,
        labels={name: Classification(name, 1.0, {name: 1.0})} if CLASSIFY in tasks else None,
        entities=(PredictedEntity("X", name, 0, 1, 1.0, name),) if NER in tasks else None,
    )


def fail(task: Task | None = None) -> Prediction:
    """Return the prediction of a pass that failed, or whose head for `task` failed."""
    return Prediction(failures=(Failure(Stage.INFER, "E", "no", task),))


_TASKS = st.sets(st.sampled_from(list(Task)), min_size=1).map(frozenset)


@given(st.lists(_TASKS, min_size=1, max_size=12), st.data())
def test_every_order_of_the_passes_gives_each_record_once_and_in_order(wanted: list[frozenset[Task]], data: st.DataObject) -> None:
    """The parts finish in any order and in any batches; a record is complete with its last part, and has all its outputs."""
    items = [joint(offset, tasks) for offset, tasks in enumerate(wanted)]
    parts = data.draw(st.permutations(list(chain.from_iterable(map(split_item, items)))))
    ledger = Ledger(0)
    for item in items:
        assert ledger.track(item.item.record, item.weight)
    published: list[Outcome] = []
    while parts:
        count = data.draw(st.integers(1, len(parts)))
        batch, parts = parts[:count], parts[count:]
        for whole, prediction in zip(*join_items(batch, list(map(predict, batch))), strict=True):
            own = wanted[whole.item.record.offset]
            assert (prediction.embedding is not None, prediction.entities is not None) == (EMBED in own, NER in own)
            assert list(prediction.labels or {}) == (["m2@1", "m3@1"] if CLASSIFY in own else [])
            assert ledger.finish(Outcome(whole.item.record)), "the record was complete before"
        taken = ledger.take(100)
        published += taken
        if taken:
            ledger.published(taken)
    assert [outcome.offset for outcome in published] == list(range(len(items)))
    assert ledger.is_empty


def test_a_record_goes_through_the_encoders_that_its_tasks_need() -> None:
    """Each part has the tokens and the tasks of its encoder, and the weight of a record is that of all passes."""
    item = joint(0, frozenset({EMBED, CLASSIFY}))
    parts = [part for part in split_item(item) if isinstance(part, Part)]
    assert [(part.encoder, part.tokens.model, part.item.tasks) for part in parts] == [
        (0, "m0@1", frozenset({EMBED})),
        (2, "m2@1", frozenset({CLASSIFY})),
        (3, "m3@1", frozenset({CLASSIFY})),
    ]
    assert item.weight == 9
    assert (item.tokens.model, len(item.tokens)) == ("m0@1,m2@1,m3@1", 3)


def test_an_item_of_one_encoder_is_its_own_part() -> None:
    """During a rollout from one encoder to several, both kinds of items are in a batch."""
    item = tokenized(0, 3)
    assert split_item(item) == [item]
    own = predict(item)
    complete, predictions = join_items([item], [own])
    assert (complete, list(predictions)) == ([item], [own])


def test_a_part_that_is_repeated_completes_nothing() -> None:
    """A record is never complete two times."""
    parts = split_item(joint(0, frozenset({EMBED, NER})))
    assert join_items(parts[:1] * 2, [predict(parts[0])] * 2)[0] == []
    assert len(join_items(parts[1:], [predict(parts[1])])[0]) == 1
    assert join_items(parts[1:], [predict(parts[1])])[0] == []


@pytest.mark.parametrize(
    ("predictions", "failed"),
    [
        ({1: fail()}, [NER]),
        ({1: fail(NER)}, [NER]),
        ({3: fail()}, [CLASSIFY]),
        ({2: fail(CLASSIFY), 3: fail()}, [CLASSIFY]),
        ({0: fail(), 1: fail()}, [EMBED, NER]),
        ({0: fail(), 1: fail(), 2: fail(), 3: fail()}, [None]),
    ],
)
def test_an_encoder_that_fails_costs_its_tasks(predictions: dict[int, Prediction], failed: list[Task | None]) -> None:
    """A task of two encoders fails if one of them fails; a record without any result fails as a whole."""
    tokens = joint(0).tokens
    assert isinstance(tokens, JointTokens)
    own = [predictions.get(number, predict(part)) for number, part in enumerate(split_item(joint(0)))]
    found = join_predictions(tokens.parts, own)
    assert [failure.task for failure in found.failures] == failed
    is_whole = failed == [None]
    results = {EMBED: found.embedding, CLASSIFY: found.labels, NER: found.entities}
    for task, result in results.items():
        assert (result is None) == (is_whole or task in failed)


def test_the_entities_of_two_encoders_are_in_text_order() -> None:
    found = [PredictedEntity("X", "a", start, start + 1, 1.0, head) for head, start in (("one", 0), ("one", 4), ("other", 2))]
    parts = tuple(EncoderTokens(number, frozenset({NER}), tokenized(0, 3).tokens) for number in range(2))
    joined = join_predictions(parts, [Prediction(entities=tuple(found[:2])), Prediction(entities=tuple(found[2:]))])
    assert [(entity.task, entity.start) for entity in joined.entities or ()] == [("one", 0), ("other", 2), ("one", 4)]


def publish(item: TokenizedItem, predictions: list[Prediction]) -> Outcome:
    """Return the outcome of a record in the layout `split`."""
    tokens = item.tokens
    assert isinstance(tokens, JointTokens)
    options = {"encoding": EmbeddingEncoding.FLOAT, "limits": Limits()}
    joined = join_predictions(tokens.parts, predictions)
    return encode_jointly(partial(encode, **options), item, joined, model_name=tokens.model)  # type: ignore[arg-type]


def test_each_output_names_its_own_model() -> None:
    """Labels of two encoders are one message, which names both; the header of a truncated text is that of its encoder."""
    item = joint(7, truncated=1)
    outcome = publish(item, list(map(predict, split_item(item))))
    headers = {message.output: dict(message.headers) for message in outcome.messages}
    assert {output: own["gist-model"] for output, own in headers.items()} == {
        Output.EMBEDDINGS: b"m0@1",
        Output.LABELS: b"m2@1,m3@1",
        Output.ENTITIES: b"m1@1",
    }
    assert [own["gist-truncated"] for own in headers.values()] == [b"false", b"false", b"true"]
    assert list(orjson.loads(outcome.messages[1].value or b"")["labels"]) == ["m2@1", "m3@1"]


def test_a_dead_letter_names_the_model_that_failed() -> None:
    """The outputs of the other encoders are published."""
    item = joint(7)
    predictions = [predict(part) for part in split_item(item)]
    outcome = publish(item, [predictions[0], fail(), *predictions[2:]])
    letter = outcome.messages[-1]
    assert [message.output for message in outcome.messages] == [Output.EMBEDDINGS, Output.LABELS, Output.DEAD_LETTERS]
    assert (dict(letter.headers)["gist-model"], orjson.loads(letter.value or b"")["task"]) == (b"m1@1", "ner")
    assert outcome.failures == (Failure(Stage.INFER, "E", "no", NER),)
    everything = publish(item, [fail()] * 4)
    assert [orjson.loads(message.value or b"")["task"] for message in everything.messages] == [None]
    assert everything.source == record(7)


def test_the_chunks_of_a_text_are_those_of_its_embedder() -> None:
    """The other outputs are encoded as without chunks."""
    item = joint(7)
    tokens = item.tokens
    assert isinstance(tokens, JointTokens)
    options = {"encoding": EmbeddingEncoding.FLOAT, "limits": Limits()}
    joined = join_predictions(tokens.parts, list(map(predict, split_item(item))))
    encode_chunks = partial(encode_in_chunks, **options)  # type: ignore[arg-type]
    outcome = encode_jointly(encode_chunks, item, joined, model_name=tokens.model)
    assert outcome.num_chunks == 1
    assert [(message.output, message.key) for message in outcome.messages] == [
        (Output.EMBEDDINGS, b"key-7#0"),
        (Output.LABELS, b"key-7"),
        (Output.ENTITIES, b"key-7"),
    ]


def test_a_layout_with_one_message_names_all_models() -> None:
    item = joint(7)
    tokens = item.tokens
    assert isinstance(tokens, JointTokens)
    joined = join_predictions(tokens.parts, list(map(predict, split_item(item))))
    layout = build_layout(Output.ENRICHED, encoding=EmbeddingEncoding.FLOAT, result_field="gist", collection="")
    whole = replace(item, item=replace(item.item, record=record(7, b'{"text":"x"}')))
    (message,) = layout.encode(whole, joined, model_name=tokens.model, limits=Limits()).messages
    value = orjson.loads(message.value or b"")["gist"]
    assert value["model"] == "m0@1,m1@1,m2@1,m3@1"
    assert (list(value["labels"]), len(value["entities"]), value["embedding"]) == (["m2@1", "m3@1"], 1, [7.0])


@pytest.mark.parametrize("output", [Output.FLAT, Output.QDRANT])
def test_a_layout_cuts_a_text_into_the_chunks_of_its_embedder(output: Output) -> None:
    """The first encoder of the record is another one, which reads the whole text at once."""
    made, zeros = tokenized(7, 3), np.zeros(5, dtype=np.int32)
    own = Tokens(zeros, np.array([(0, 0), (0, 2), (3, 5), (6, 8), (0, 0)], dtype=np.int32), zeros, truncated=False, model="m1@1")
    windowed = replace(own, windows=(Window(1, 3, 0, 3), Window(3, 4, 3, 5)))
    parts = EncoderTokens(0, frozenset({NER}), made.tokens), EncoderTokens(1, frozenset({EMBED}), windowed)
    whole = replace(made.item, text="ab cd ef", record=record(7, b'{"text":"ab cd ef"}'))
    item = TokenizedItem(whole, join_tokens(parts))
    vectors = np.array([[0.6, 0.8], [1.0, 0.0]], dtype=np.float32)
    joined = join_predictions(parts, [Prediction(entities=()), Prediction(embedding=vectors[0], window_vectors=vectors)])
    layout = build_layout(output, encoding=EmbeddingEncoding.FLOAT, result_field="gist", collection="c", is_chunked=True)
    values = [
        orjson.loads(message.value or b"")
        for message in layout.encode(item, joined, model_name=item.tokens.model, limits=Limits()).messages
    ]
    texts = [value["text"] if output is Output.FLAT else value["payload"]["gist"]["text"] for value in values]
    assert texts == ["ab cd", "ef"]
