"""Requests to a schema registry. Its answers are untrusted: bounded in size, time and number of references."""

from __future__ import annotations

import ssl
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import aiohttp
import orjson

from worker.errors import BadSettings, RegistryUnavailable, describe_error
from worker.wire.registered.frame import BASE64, MAX_SCHEMA_CHARS, InvalidSchema, RegisteredSchema

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_ANSWER_BYTES, _MAX_REFERENCES = 2 * MAX_SCHEMA_CHARS, 64
_OK, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _UNPROCESSABLE = 200, 401, 403, 404, 409, 422
_HEADERS = {"Accept": "application/vnd.schemaregistry.v1+json, application/json", "Accept-Encoding": "identity"}
_JSON_HEADERS = {**_HEADERS, "Content-Type": "application/vnd.schemaregistry.v1+json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryAccess:
    """Addresses and credentials of a registry."""

    #: The addresses of equal registries, without a slash at the end.
    urls: tuple[str, ...]
    #: The value of the header `Authorization`, or None.
    authorization: str | None = field(default=None, repr=False)
    #: The trusted authorities and the certificate of the worker; None for those of the system.
    ssl_context: ssl.SSLContext | None = None
    #: The time of one request in seconds.
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    #: The JSON object; of an error, with `error_code` and `message`.
    content: Mapping[str, Any]

    @property
    def message(self) -> str:
        return str(self.content.get("message", ""))[:300]


class RegistryClient:
    """A client that asks the next address if one fails. Use the object in one event loop, and close it at the end."""

    def __init__(self, access: RegistryAccess) -> None:
        """Connect with the first request."""
        self._access = access
        # The address of the last answer comes first.
        self._urls = deque(access.urls)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def check(self) -> None:
        """Ask for the types of schemas. Raises `RegistryUnavailable`."""
        await self._ask("GET", "/schemas/types", is_list=True)

    async def fetch_schema(self, schema_id: int) -> RegisteredSchema | None:
        """Return a schema with its references; None if the registry has none with this id.

        Raises `InvalidSchema` if the references are missing or too many, and `RegistryUnavailable`.
        """
        answer = await self._ask_schema(f"/schemas/ids/{schema_id}")
        return await self._complete(answer.content) if answer.status == _OK else None

    async def fetch_latest(self, subject: str) -> RegisteredSchema | None:
        """Return the latest schema of a subject; None for an unknown subject. Raises as `fetch_schema` does."""
        answer = await self._ask_schema(f"/subjects/{quote(subject, safe='')}/versions/latest")
        return await self._complete(answer.content) if answer.status == _OK else None

    async def find_id(self, subject: str, schema: RegisteredSchema) -> int | None:
        """Return the id of a schema under a subject; None if it is not registered. Raises `RegistryUnavailable`."""
        answer = await self._ask("POST", f"/subjects/{quote(subject, safe='')}", _build_body(schema))
        return _read_id(answer) if answer.status == _OK else None

    async def register(self, subject: str, schema: RegisteredSchema) -> int:
        """Register a schema and return its id. Raises `BadSettings` if the registry refuses it, and `RegistryUnavailable`."""
        answer = await self._ask("POST", f"/subjects/{quote(subject, safe='')}/versions", _build_body(schema))
        if answer.status != _OK:
            raise BadSettings(f"the schema registry refuses the schema of the subject {subject}: {answer.message or answer.status}")
        return _read_id(answer)

    async def _ask_schema(self, path: str) -> _Answer:
        """Return the answer with a schema; of Protobuf the serialized descriptor where the registry gives it in base64.

        Confluent's registry does. Others answer with the text, or with bytes that are no base64.
        """
        answer = await self._ask("GET", path)
        if answer.status != _OK or answer.content.get("schemaType") != "PROTOBUF":
            return answer
        text = (await self._ask("GET", f"{path}?format=serialized")).content.get("schema")
        is_serialized = isinstance(text, str) and BASE64.fullmatch(text)
        return _Answer(_OK, {**answer.content, "schema": text}) if is_serialized else answer

    async def _complete(self, content: Mapping[str, Any]) -> RegisteredSchema:
        """Return a schema with the texts of its references, those of the references first."""
        found: dict[tuple[str, int], str] = {}
        seen: set[tuple[str, int]] = set()

        async def collect(references: Any) -> None:
            for reference in references if isinstance(references, list) else ():
                place = _read_place(reference)
                if place in seen:
                    continue
                seen.add(place)
                if len(seen) > _MAX_REFERENCES:
                    raise InvalidSchema(f"it has more than {_MAX_REFERENCES} references")
                subject, version = place
                answer = await self._ask_schema(f"/subjects/{quote(subject, safe='')}/versions/{version}")
                if answer.status != _OK:
                    raise InvalidSchema(f"the registry lacks version {version} of the subject {subject[:100]!r}, a reference of it")
                await collect(answer.content.get("references"))
                found[place] = _read_schema_text(answer.content)
                if sum(map(len, found.values())) > MAX_SCHEMA_CHARS:
                    raise InvalidSchema(f"its references have more than {MAX_SCHEMA_CHARS} characters")

        await collect(content.get("references"))
        return RegisteredSchema(str(content.get("schemaType") or "AVRO"), _read_schema_text(content), tuple(found.values()))

    async def _ask(self, method: str, path: str, body: bytes | None = None, *, is_list: bool = False) -> _Answer:
        """Return the answer of the first address that gives one. Raises `RegistryUnavailable` with the reason of each address."""
        problems: list[RegistryUnavailable] = []
        for _ in range(len(self._urls)):
            try:
                return await self._ask_one(self._urls[0], method, path, body, is_list=is_list)
            except RegistryUnavailable as problem:
                problems.append(problem)
                self._urls.rotate(-1)
        raise RegistryUnavailable("; ".join(map(str, problems)), is_refusal=all(problem.is_refusal for problem in problems))

    async def _ask_one(self, url: str, method: str, path: str, body: bytes | None, *, is_list: bool) -> _Answer:
        host = urlsplit(url).netloc
        try:
            session = self._open_session()
            async with session.request(method, url + path, data=body, allow_redirects=False) as answer:
                status, raw = answer.status, await _read_bounded(answer)
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError, ssl.SSLError) as error:
            raise RegistryUnavailable(f"{host}: the certificate does not verify: {_describe_tls(error)}", is_refusal=True) from None
        except TimeoutError:
            raise RegistryUnavailable(f"{host} gives no answer within {self._access.timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise RegistryUnavailable(f"{host} does not answer: {describe_error(error)}") from None
        if status in {_UNAUTHORIZED, _FORBIDDEN}:
            raise RegistryUnavailable(f"{host} refuses the credentials: HTTP {status} for {method} {path}", is_refusal=True)
        try:
            content = orjson.loads(raw)
        except orjson.JSONDecodeError:
            content = None
        is_expected = status == _OK and isinstance(content, list if is_list else dict)
        is_error = status in {_NOT_FOUND, _CONFLICT, _UNPROCESSABLE} and isinstance(content, dict) and "error_code" in content
        if not (is_expected or (is_error and not is_list)):
            raise RegistryUnavailable(f"{host} gives no answer of a schema registry: HTTP {status} for {method} {path}")
        return _Answer(status, content if isinstance(content, dict) else {})

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            access = self._access
            headers = {"Authorization": access.authorization} if access.authorization else {}
            self._session = aiohttp.ClientSession(
                headers=_JSON_HEADERS | headers,
                timeout=aiohttp.ClientTimeout(total=access.timeout_s),
                connector=aiohttp.TCPConnector(ssl=access.ssl_context or True, limit=4),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


async def _read_bounded(answer: aiohttp.ClientResponse) -> bytes:
    """Return the body of an answer. Raises `ValueError` above the bound."""
    content = bytearray()
    async for piece in answer.content.iter_chunked(65_536):
        content += piece
        if len(content) > _MAX_ANSWER_BYTES:
            raise ValueError(f"the answer has more than {_MAX_ANSWER_BYTES} bytes")
    return bytes(content)


def _build_body(schema: RegisteredSchema) -> bytes:
    return orjson.dumps({"schema": schema.text, "schemaType": schema.type})


def _read_id(answer: _Answer) -> int:
    found = answer.content.get("id")
    if not isinstance(found, int) or not 0 <= found < 2**32:
        raise RegistryUnavailable("the schema registry answers without the id of a schema")
    return found


def _read_schema_text(content: Mapping[str, Any]) -> str:
    text = content.get("schema")
    if not isinstance(text, str) or len(text) > MAX_SCHEMA_CHARS:
        raise InvalidSchema(f"the registry gives no schema of at most {MAX_SCHEMA_CHARS} characters")
    return text


def _read_place(reference: Any) -> tuple[str, int]:
    """Return subject and version of a reference. Raises `InvalidSchema`."""
    subject, version = (reference.get("subject"), reference.get("version")) if isinstance(reference, dict) else (None, None)
    if not isinstance(subject, str) or not isinstance(version, int):
        raise InvalidSchema("a reference has no subject or no version")
    return subject, version


def _describe_tls(error: Exception) -> str:
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    return getattr(cause, "verify_message", None) or getattr(cause, "reason", None) or describe_error(cause)
