"""The requests and answers of the HTTP endpoint: those of OpenAI and of Text Embeddings Inference (TEI), and those of the worker.

The endpoint validates requests with these models, and `/openapi.json` is generated from them. Clients of OpenAI and TEI send
fields that have no meaning here, such as `user`; these are ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from schemas.v1 import Base64, Embedding, Enriched, Entities, Flat, Labels, QdrantPoint, StageName, TaskName

_TOKENS = "Lists of token numbers are refused, because another tokenizer may have made them."
_PROMPT = (
    "The prompt before each text: the name of a prompt of the model, such as `query`, `none`, or the prompt itself with a space or"
    " a colon. The default is the prompt of the stream."
)
_MODEL = (
    "The model: `default`, or its name with or without revision, as `/v1/models` lists it. During a rollout the name selects one of"
    " the loaded models."
)
_Entry = TypeVar("_Entry")
# A list whose first invalid entry ends its validation. A body of 2 MiB would else have a million errors.
_List = Annotated[list[_Entry], Field(fail_fast=True)]
Prompt = Annotated[str, Field(max_length=4096)]


class _Body(BaseModel):
    """The body of a request; unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class _Answer(BaseModel):
    """The body of an answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EmbeddingsRequest(_Body):
    """A request for vectors, as OpenAI's clients send it."""

    input: str | _List[str] = Field(description=f"A text or a list of texts. {_TOKENS}")
    model: str = Field(default="default", description=_MODEL)
    encoding_format: Literal["float", "base64"] | None = Field(
        default="float", description="`float`: an array of numbers. `base64`: little-endian numbers of 32 bits."
    )
    dimensions: int | None = Field(
        default=None, gt=0, description="The number of dimensions: the first ones are kept, and normalised again."
    )
    prompt: Prompt | None = Field(default=None, description=_PROMPT)


class EmbeddingsItem(_Answer):
    """The vector of one text."""

    object: Literal["embedding"]
    index: int = Field(ge=0, description="The index of the text in the request.")
    embedding: list[float] | Base64 = Field(description="The vector, normalised as published.")


class Usage(_Answer):
    """The tokens that the model read."""

    prompt_tokens: int = Field(ge=0, description="The tokens of all texts, special tokens included.")
    total_tokens: int = Field(ge=0, description="The same number.")


class EmbeddingsAnswer(_Answer):
    """The vectors of a request."""

    object: Literal["list"]
    data: list[EmbeddingsItem] = Field(description="The vectors, in the order of the texts.")
    model: str = Field(description="The model, as `name@revision`, as in the header `gist-model` of the outputs.")
    usage: Usage


class OpenAiErrorBody(_Answer):
    """What is wrong."""

    message: str = Field(description="The reason, in one line.")
    type: str = Field(description="The kind of the error.")
    param: str | None = Field(description="The field that is wrong; null if no field is.")
    code: str | None = Field(description="A short name of the error.")


class OpenAiError(_Answer):
    """An error in OpenAI's form."""

    error: OpenAiErrorBody


class EmbedRequest(_Body):
    """A request for vectors, as clients of TEI send it."""

    inputs: str | _List[str] = Field(description=f"A text or a list of texts. {_TOKENS}")
    truncate: bool | None = Field(
        default=None,
        description="`false` refuses a text that is longer than the model reads. By default `GIST_LONG_TEXT` decides.",
    )
    normalize: bool = Field(default=True, description="Only `true`: the vectors are those of the stream.")
    prompt_name: Prompt | None = Field(default=None, description=_PROMPT)
    dimensions: int | None = Field(
        default=None, gt=0, description="The number of dimensions: the first ones are kept, and normalised again."
    )


class PredictRequest(_Body):
    """A request for labels, as clients of TEI send it."""

    inputs: str | _List[str] | _List[_List[str]] = Field(
        description="A text, or a list of lists with one text each. Pairs of texts, `[a, b]`, are refused."
    )
    truncate: bool | None = Field(default=None, description="As in `/embed`.")
    raw_scores: bool = Field(default=False, description="Only `false`: the scores are probabilities.")
    head: str | None = Field(default=None, description="The classification head. The default is the first head of the model.")
    parameters: dict[str, Any] | None = Field(
        default=None, description="Sent by `huggingface_hub`, which then reads a list in a list as the answer to a single text."
    )


class ScoredLabel(_Answer):
    """A label with its probability."""

    label: str
    score: float = Field(ge=0, le=1)


class TeiError(_Answer):
    """An error in TEI's form."""

    error: str = Field(description="The reason, in one line.")
    error_type: str = Field(description="The kind of the error.")


class InferRequest(_Body):
    """Texts or records whose results are those that the output topics would hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    texts: _List[str] | None = Field(default=None, description="The texts. The id of a text is its index, such as `0`.")
    records: _List[dict[str, Any]] | None = Field(
        default=None,
        description="The JSON values of input records in place of texts. The settings of the input of the worker apply.",
    )
    tasks: _List[TaskName] | None = Field(
        default=None, min_length=1, description="The tasks. The default is all tasks of the worker. The field of a record wins."
    )
    model: str = Field(default="default", description=_MODEL)
    prompt: Prompt | None = Field(default=None, description=_PROMPT)


class InferFailure(_Answer):
    """What a dead letter would say."""

    stage: StageName = Field(description="The step that failed.")
    error: str = Field(description="The class of the error.")
    message: str = Field(description="The reason, in one line.")
    task: TaskName | None = Field(description="The task that failed; null if the whole record failed.")


class InferResult(_Answer):
    """The results of one text: a field for each output, whose value has the bytes that the topic would hold."""

    embeddings: Embedding | list[Embedding] | None = Field(
        default=None,
        description="The value in the topic of embeddings; a list of the values of chunks with `GIST_LONG_TEXT=chunks`.",
    )
    labels: Labels | None = Field(default=None, description="The value in the topic of labels.")
    entities: Entities | None = Field(default=None, description="The value in the topic of entities.")
    enriched: Enriched | None = Field(default=None, description="The value with `GIST_OUTPUT_LAYOUT=enriched`.")
    flat: Flat | None = Field(default=None, description="The value with `GIST_OUTPUT_LAYOUT=flat`.")
    qdrant: QdrantPoint | None = Field(default=None, description="The value with `GIST_OUTPUT_LAYOUT=qdrant`.")
    failures: list[InferFailure] | None = Field(default=None, description="The reasons of dead letters, if there are any.")
    skipped: str | None = Field(default=None, description="The reason for which the worker skips the record, if there is one.")
    tokens: int | None = Field(default=None, ge=0, description="The tokens of the text, special tokens included.")
    truncated: bool | None = Field(default=None, description="Whether the model did not read the end of the text.")


class InferAnswer(_Answer):
    """The results of a request."""

    model: str = Field(description="The model, as `name@revision`; with commas if several encoders computed the results.")
    results: list[InferResult] = Field(description="The results, in the order of the texts.")


class ModelItem(_Answer):
    """A loaded model."""

    id: str = Field(description="The model, as `name@revision`.")
    object: Literal["model"]
    created: int = Field(description="The start of the endpoint, in seconds since the epoch.")
    owned_by: str
    tasks: list[TaskName] = Field(description="The tasks that the endpoint serves.")
    max_tokens: int = Field(gt=0, description="The longest text of one forward pass, in tokens.")
    is_default: bool = Field(
        description="Whether the model answers requests that name no model. It is a model of the newest records."
    )
    group: str = Field(description="The models that serve a text together, separated by commas. The id of any of them selects all.")


class ModelsAnswer(_Answer):
    """The loaded models."""

    object: Literal["list"]
    data: list[ModelItem]
