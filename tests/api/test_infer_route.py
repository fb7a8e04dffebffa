"""`/v1/infer` returns the values of the output topics, byte for byte."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.endpoint import Endpoint
from worker.batches import QUERIES
from worker.records import Item, Output, Record, Task, TokenizedItem


async def test_the_values_are_those_of_the_messages() -> None:
    endpoint = Endpoint(embedding_encoding="float16")
    async with endpoint.running() as client:
        response = await client.post("/v1/infer", json={"texts": ["abc"]})
        body = await response.read()
        assert not endpoint.bugs
        tokenized = TokenizedItem(
            Item(Record(QUERIES, 0, None, b""), "0", "abc", frozenset(Task)), endpoint.model.tokenize(["abc"])[0]
        )
        (prediction,) = endpoint.model.infer([tokenized])
        messages = endpoint.service.outcomes.from_prediction(tokenized, prediction).messages
        expected = b",".join(b'"%s":%s' % (message.output.encode(), message.value or b"") for message in messages)
        assert body == b'{"model":"fake@1","results":[{%s,"tokens":1,"truncated":false}]}' % expected


async def test_records_are_decoded_as_those_of_the_topic() -> None:
    """A field of the settings has the text, a record has tasks of its own, and an invalid record has its reason."""
    async with Endpoint(text_field="body", empty_text="skip").running() as client:
        records: list[dict[str, Any]] = [{"id": "x", "body": "abc", "tasks": ["ner"]}, {"body": ""}, {"id": [], "body": "abc"}]
        response = await client.post("/v1/infer", json={"records": records, "tasks": ["embed"]})
        first, second, third = (await response.json())["results"]
        assert sorted(first) == ["entities", "tokens", "truncated"]
        assert first["entities"]["id"] == "x"
        assert second == {"skipped": "empty"}
        assert (third["failures"][0]["stage"], third["failures"][0]["task"]) == ("decode", None)


async def test_a_head_that_fails_costs_one_output() -> None:
    async with Endpoint().running() as client:
        (result,) = (await (await client.post("/v1/infer", json={"texts": ["headless"]})).json())["results"]
        assert sorted(result) == ["embeddings", "failures", "labels", "tokens", "truncated"]
        assert result["failures"] == [{"stage": "infer", "error": "HeadError", "message": "the head failed", "task": "ner"}]


async def test_a_layout_has_one_value() -> None:
    async with Endpoint(output_layout="enriched").running() as client:
        (result,) = (await (await client.post("/v1/infer", json={"records": [{"id": 7, "text": "abc", "more": 1}]})).json())[
            "results"
        ]
        assert (result[Output.ENRICHED]["more"], result[Output.ENRICHED]["gist"]["model"]) == (1, "fake@1")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "the body needs either `texts` or `records`"),
        ({"texts": ["a"], "records": []}, "the body needs either `texts` or `records`"),
        ({"texts": ["a"], "task": ["ner"]}, "`task`: there is no such field"),
        ({"texts": ["a"], "tasks": ["sing"]}, "`tasks.0`: the value must be 'embed', 'classify' or 'ner'"),
        ({"texts": ["a"], "tasks": 7}, "`tasks`: the value must be a list"),
        ([], "the body must be a JSON object"),
        ("x", "the body must be a JSON object"),
        ({"records": ["a"]}, "`records.0`: the value must be an object"),
    ],
)
async def test_a_bad_body_gets_one_line(body: object, message: str) -> None:
    async with Endpoint().running() as client:
        response = await client.post("/v1/infer", json=body)
        assert (response.status, (await response.json())["error"]["message"]) == (400, message)


async def test_a_number_that_no_integer_of_64_bits_holds_fails_as_its_record() -> None:
    async with Endpoint().running() as client:
        (result,) = (await (await client.post("/v1/infer", json={"records": [{"text": 2**70}]})).json())["results"]
        assert result["failures"][0]["message"] == "`text` must be a string, not a number"
