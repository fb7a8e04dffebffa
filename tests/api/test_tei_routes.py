"""`/embed` and `/predict` have the forms and the error codes of Text Embeddings Inference."""

from __future__ import annotations

import pytest

from tests.api.endpoint import Endpoint


async def test_texts_have_vectors_and_a_single_text_has_a_list_of_one() -> None:
    async with Endpoint().running() as client:
        assert await (await client.post("/embed", json={"inputs": "abc", "truncate": True})).json() == [[3.0, 1.0]]
        assert await (await client.post("/embed", json={"inputs": ["ab", "a"]})).json() == [[2.0, 1.0], [1.0, 1.0]]


async def test_a_text_has_its_labels_and_a_batch_has_lists() -> None:
    """`huggingface_hub` sends `parameters`, and reads a list in a list."""
    labels = [{"label": "a", "score": 1.0}]
    async with Endpoint().running() as client:
        assert await (await client.post("/predict", json={"inputs": "abc"})).json() == labels
        assert await (await client.post("/predict", json={"inputs": "abc", "parameters": {}})).json() == [labels]
        answer = await (await client.post("/predict", json={"inputs": [["abc"], ["b"]], "head": "first"})).json()
        assert answer == [labels, [{"label": "b", "score": 1.0}]]


@pytest.mark.parametrize(
    ("route", "body", "status", "kind"),
    [
        ("/embed", {"inputs": []}, 400, "Empty"),
        ("/embed", {"inputs": [1]}, 422, "Validation"),
        ("/embed", {"inputs": "a", "normalize": False}, 422, "Validation"),
        ("/embed", {"inputs": "word " * 65, "truncate": False}, 422, "Validation"),
        ("/embed", {"inputs": "poison"}, 424, "Backend"),
        ("/predict", {"inputs": ["a", "b"]}, 422, "Validation"),
        ("/predict", {"inputs": "a", "raw_scores": True}, 422, "Validation"),
        ("/predict", {"inputs": "a", "head": "second"}, 422, "Validation"),
    ],
)
async def test_bad_input_gets_one_line_in_teis_form(route: str, body: dict[str, object], status: int, kind: str) -> None:
    async with Endpoint().running() as client:
        response = await client.post(route, json=body)
        error = await response.json()
        assert (response.status, error["error_type"]) == (status, kind)
        assert error["error"]
        assert "\n" not in error["error"]
