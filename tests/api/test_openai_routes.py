"""`/v1/embeddings` and `/v1/models` have OpenAI's form."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from tests.api.endpoint import Endpoint


async def test_a_list_of_texts_has_a_vector_for_each_text_in_order() -> None:
    async with (endpoint := Endpoint()).running() as client:
        response = await client.post("/v1/embeddings", json={"input": ["abc", "a b"], "model": "fake"})
        assert response.status == 200
        assert response.headers["gist-model"] == "fake@1"
        assert await response.json() == {
            "object": "list",
            "data": [
                {"object": "embedding", "index": 0, "embedding": [3.0, 1.0]},
                {"object": "embedding", "index": 1, "embedding": [3.0, 1.0]},
            ],
            "model": "fake@1",
            "usage": {"prompt_tokens": 3, "total_tokens": 3},
        }
        assert endpoint.count("/v1/embeddings", 200) == 1
        assert endpoint.queries.num_texts == 0


async def test_base64_has_the_same_numbers_and_dimensions_are_cut_and_normalised() -> None:
    async with Endpoint().running() as client:
        body = {"input": "abc", "model": "default", "encoding_format": "base64"}
        (item,) = (await (await client.post("/v1/embeddings", json=body)).json())["data"]
        assert np.frombuffer(base64.b64decode(item["embedding"]), "<f4").tolist() == [3.0, 1.0]
        (item,) = (await (await client.post("/v1/embeddings", json={"input": "abc", "dimensions": 1})).json())["data"]
        assert item["embedding"] == [1.0]


async def test_a_prompt_is_read_before_the_text() -> None:
    async with Endpoint().running() as client:
        response = await client.post("/v1/embeddings", json={"input": "abc", "prompt": "query"})
        assert (await response.json())["usage"]["prompt_tokens"] == 3


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"input": [1, 2, 3]}, 400, "`input` must be a text or a list of texts; lists of token numbers are refused"),
        ({"input": [[1, 2]]}, 400, "`input` must be a text or a list of texts"),
        ({}, 400, "`input` must be a text"),
        ({"input": []}, 400, "`input` is empty"),
        ({"input": ["a", " "]}, 400, "`input[1]`: the text is blank"),
        ({"input": ["a"] * 5}, 400, "`input` has 5 texts; at most 4 are accepted (GIST_API_MAX_TEXTS)"),
        ({"input": "x" * 101}, 400, "`input[0]`: the text has 101 characters; at most 100 are read"),
        ({"input": "a", "dimensions": 3}, 400, "`dimensions` is 3, and a vector has 2"),
        ({"input": "a", "encoding_format": "int8"}, 400, "`encoding_format`: the value must be 'float' or 'base64'"),
        ({"input": "a", "dimensions": "3"}, 400, "`dimensions`: the value must be a whole number"),
        ({"input": "a", "dimensions": 0}, 400, "`dimensions`: the value must be greater than 0"),
        ({"input": "a", "model": 7}, 400, "`model`: the value must be a string"),
        ({"input": "a", "prompt": "x" * 5000}, 400, "`prompt`: the value must have at most 4096 characters"),
        ({"input": "a", "model": "gpt"}, 404, "there is no model 'gpt'; `default` or one of these is served: fake@1"),
        ({"input": "a", "prompt": "unknown"}, 400, "the model fake has no prompt 'unknown'"),
        ({"input": "poison"}, 500, "`input[0]`: RuntimeError: the pass failed"),
    ],
)
async def test_bad_input_gets_one_line_in_openais_form(body: dict[str, object], status: int, message: str) -> None:
    endpoint = Endpoint(api_max_texts=4, max_text_chars=100)
    async with endpoint.running() as client:
        response = await client.post("/v1/embeddings", json=body)
        error = (await response.json())["error"]
        assert (response.status, sorted(error)) == (status, ["code", "message", "param", "type"])
        assert error["message"].startswith(message)
        assert "\n" not in error["message"]
        assert not endpoint.bugs
        assert endpoint.queries.num_texts == 0


async def test_the_models_are_listed() -> None:
    async with Endpoint().running() as client:
        (model,) = (await (await client.get("/v1/models")).json())["data"]
        assert (model["id"], model["group"], model["tasks"]) == ("fake@1", "fake@1", ["classify", "embed", "ner"])
        assert model["is_default"] is True
