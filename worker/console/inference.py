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
    from collections.abc import Mapping

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

    async def infer(self, text: str, *, prompt: str | None = None) -> Inferred:
        """Return the results of one text from `POST /v1/infer`. A model without the prompt gets the text alone.

        Raises `EndpointFailed`.
        """
        content, status = await self._post({"texts": [text]} | ({"prompt": prompt} if prompt else {}))
        if prompt and status in _INVALID:
            content, status = await self._post({"texts": [text]})
        try:
            return self._read(content, status)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise EndpointFailed(f"{self.url} answered with status {status} and no results") from error

    async def _post(self, body: Mapping[str, Any]) -> tuple[bytes, int]:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session,
                session.post(f"{self.url}/v1/infer", json=body, headers=headers, allow_redirects=False) as answer,
            ):
                return await answer.read(), answer.status
        except TimeoutError as error:
            raise EndpointFailed(f"{self.url} did not answer within {_TIMEOUT_S:g} s") from error
        except aiohttp.ClientError as error:
            raise EndpointFailed(f"{self.url} cannot be reached: {describe_error(error)}") from error

    def _read(self, content: bytes, status: int) -> Inferred:
        answer = orjson.loads(content)
        if status != 200:  # noqa: PLR2004  HTTP OK
            failure = answer.get("error")
            message = failure.get("message") if isinstance(failure, dict) else failure
            raise EndpointFailed(f"{self.url} answered with status {status}: {message or 'no reason'}")
        return self._read_result(answer)

    def _read_result(self, answer: Mapping[str, Any]) -> Inferred:
        result = answer["results"][0]
        if failures := result.get("failures"):
            raise EndpointFailed(f"{failures[0]['stage']}: {failures[0]['message']}")
        values = {output: result[output] for output in Output if isinstance(result.get(output), dict)}
        return Inferred(answer["model"], read_results(values, self.result_field), result["tokens"])
