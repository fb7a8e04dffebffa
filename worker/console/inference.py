"""Asks a worker's HTTP endpoint for the results of a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from worker.errors import GistStreamError, describe_error
from worker.records import Output
from worker.wire.result_values import Results, read_results

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from worker.records import Task

_TIMEOUT_S = 30.0
# The statuses of a request that the endpoint does not accept, such as one with an unknown prompt.
_INVALID = (400, 422)


class EndpointFailed(GistStreamError):
    """The endpoint did not return results. The message is one line for the reader of the page."""


@dataclass(frozen=True, slots=True)
class Inferred:
    """The results of one text."""

    model: str
    results: Results
    num_tokens: int


@dataclass(frozen=True, slots=True)
class InferenceEndpoint:
    """The address of the endpoint, and its bearer token if it needs one."""

    url: str
    token: str | None = None
    result_field: str = "nlp"

    async def list_models(self) -> list[str]:
        """Return the names of the loaded groups of models, two during a rollout. Raises `EndpointFailed`."""
        content, status = await self._request("GET", "/v1/models")
        try:
            return list({model.get("group", model["id"]): None for model in _read_answer(self.url, content, status)["data"]})
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise EndpointFailed(f"{self.url} answered with status {status} and no models") from error

    async def infer(
        self, text: str, *, prompt: str | None = None, model: str = "default", tasks: Sequence[Task] | None = None
    ) -> Inferred:
        """Return the results of one text from `POST /v1/infer`; by default of all tasks.

        A model without the prompt gets the text alone. Raises `EndpointFailed`.
        """
        body: dict[str, Any] = {"texts": [text], "model": model} | ({"tasks": tasks} if tasks else {})
        content, status = await self._request("POST", "/v1/infer", body | ({"prompt": prompt} if prompt else {}))
        if prompt and status in _INVALID:
            content, status = await self._request("POST", "/v1/infer", body)
        try:
            return self._read_result(_read_answer(self.url, content, status))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise EndpointFailed(f"{self.url} answered with status {status} and no results") from error

    async def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[bytes, int]:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session,
                session.request(method, f"{self.url}{path}", json=body, headers=headers, allow_redirects=False) as answer,
            ):
                return await answer.read(), answer.status
        except TimeoutError as error:
            raise EndpointFailed(f"{self.url} did not answer within {_TIMEOUT_S:g} s") from error
        except aiohttp.ClientError as error:
            raise EndpointFailed(f"{self.url} cannot be reached: {describe_error(error)}") from error

    def _read_result(self, answer: Mapping[str, Any]) -> Inferred:
        result = answer["results"][0]
        if failures := result.get("failures"):
            raise EndpointFailed(f"{failures[0]['stage']}: {failures[0]['message']}")
        values = {output: result[output] for output in Output if isinstance(result.get(output), dict)}
        return Inferred(answer["model"], read_results(values, self.result_field), result["tokens"])


def _read_answer(url: str, content: bytes, status: int) -> dict[str, Any]:
    """Return the JSON of an answer. Raises `EndpointFailed` with the reason of the endpoint, or `ValueError` for no JSON."""
    answer: dict[str, Any] = orjson.loads(content)
    if status != 200:  # noqa: PLR2004  HTTP OK
        failure = answer.get("error")
        message = failure.get("message") if isinstance(failure, dict) else failure
        raise EndpointFailed(f"{url} answered with status {status}: {message or 'no reason'}")
    return answer
