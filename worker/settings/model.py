"""The settings of the model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import NoDecode

from worker.settings.registry import RegistrySettings

DEFAULT_MODEL = "package:worker/checkpoints/minilm"
TaskName = Literal["embed", "classify", "ner"]


class ModelSettings(RegistrySettings):
    """The model, its processor, its sequences and its vectors."""

    model: str = Field(
        DEFAULT_MODEL,
        min_length=1,
        description=(
            "Model to serve: a directory, `package:<package>/<folder>`, or a model of the Hugging Face hub with its "
            "revision, `org/name@<commit>`. The default is the small English model of this package. Several models, separated by "
            "commas, serve their tasks together; `#` and tasks joined by `+` after a model choose its tasks. Example: "
            "`models/bge,models/mine#classify+ner`."
        ),
    )
    cache_dir: str = Field(
        "",
        description=(
            "Directory for what the first start measures: the speed of each arithmetic; and for kernels, if the installation"
            " has no compiled ones. Unset: `gist-stream` in the cache directory of the user. Set this if that directory is"
            " read-only or lost at a restart, as in a container. Example: `/var/cache/gist-stream`."
        ),
    )
    rollout_file: str = Field(
        "",
        description=(
            "TOML file with the plan of a rollout: the offsets at which other models take over, without a restart. "
            "Unset: no rollout. The worker reads the file again when it changes; docs/operate/repair.md describes its format."
        ),
    )
    tasks: Annotated[frozenset[TaskName], NoDecode] = Field(
        frozenset(),
        description=(
            "Tasks to serve, comma-separated: `embed`, `classify`, `ner`. Unset: all tasks of the model. Fewer tasks "
            "need fewer topics and less time. Example: `embed,ner`."
        ),
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Device of the model. `auto`: a GPU if there is one, else the CPU."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int16", "int8"] = Field(
        "auto",
        description=(
            "Number format of the encoder. `auto`: bfloat16 on a GPU; on a CPU, the fastest arithmetic whose vectors "
            "have a cosine of at least 0.999 to float32, as the first start measures. `int8` is faster on a CPU "
            "and less accurate, and needs a calibrated model (`gist-stream quantize`). Set `float32` if vectors must not "
            "depend on the machine."
        ),
    )
    backend: Literal["auto", "eager", "compiled"] = Field(
        "auto",
        description=(
            "Implementation of the encoder. `auto`: the fastest one for this machine with the accuracy of `GIST_DTYPE`."
            " `eager` is PyTorch, the reference. Set another value only to compare backends."
        ),
    )
    threads: int = Field(
        0,
        ge=0,
        le=1024,
        description=(
            "Threads of the matrix products. 0: one for each core that the process may use, within the CPU limit of its"
            " container. Lower this if other processes need the cores."
        ),
    )
    max_concurrent_batches: int = Field(
        0,
        ge=0,
        le=64,
        description=(
            "Maximum number of concurrent batches. They share the threads of a CPU. While a batch runs, another"
            " starts if at least 128 tokens are queued. 0: up to four on a CPU, depending on the number of threads;"
            " two on a GPU. Set 1 for the smallest memory."
        ),
    )
    tokenizer_threads: int = Field(
        0,
        ge=0,
        le=1024,
        description=(
            "Threads of the tokenizer. 0: one for each four cores, which keeps up with the model on a CPU. Raise this "
            "if a GPU waits for tokens."
        ),
    )
    max_seq_length: int = Field(
        0,
        ge=0,
        le=8192,
        description=(
            "Maximum tokens of a text in one sequence; `GIST_LONG_TEXT` decides about longer texts. 0: the limit that "
            "the model was published with. Lower this to limit the time and the memory of a text. Example: `128`."
        ),
    )
    long_text: Literal["truncate", "window", "chunks"] = Field(
        "truncate",
        description=(
            "Treatment of a text above `GIST_MAX_SEQ_LENGTH`. `truncate` reads its first tokens and marks its outputs "
            "with a header. `window` reads overlapping windows of the whole text and merges their results, at the cost "
            "of more tokens. `chunks` publishes an embedding for each chunk of a text, with the id `<id>#<number>`, cut at the "
            "end of a sentence where possible; labels and entities are those of the whole text. With the layouts `flat` "
            "and `qdrant` each chunk is a message with all results. docs/models/models.md has the details."
        ),
    )
    window_overlap_tokens: int = Field(
        32,
        ge=1,
        le=4096,
        description=(
            "Tokens that two adjacent windows share. The default gives each entity 16 tokens of context on each side. "
            "Raise this if long entities are cut; each token is computed twice."
        ),
    )
    max_windows: int = Field(
        16,
        ge=2,
        le=256,
        description=(
            "Maximum windows of a text; the tokens after the last window are truncated. All windows of a text are in "
            "one batch. Raise this for longer texts; lower this to limit the delay that one text causes."
        ),
    )
    prompt: str = Field(
        "",
        max_length=4096,
        description=(
            "Prompt before each text: the name of a prompt that the model was published with, or the prompt itself, which has a"
            " space or a colon. Unset: the default prompt of the model, if there is one. `none`: no prompt. Set this for a model"
            " that was trained with prompts, such as E5 and nomic. Queries and the texts that they find have different prompts."
            " With several models, only the model that embeds gets this prompt. Example: `passage`."
        ),
    )
    embedding_dimensions: int = Field(
        0,
        ge=0,
        le=65_536,
        description=(
            "Dimensions of the vectors: the first ones are kept, and normalised again. 0: all dimensions. Set this for smaller"
            " topics and indexes if the model was trained for it (Matryoshka); `gist-stream evaluate --dimensions` measures the"
            " loss. Example: `256`."
        ),
    )
    embedding_encoding: Literal["float", "float32", "float16", "int8", "binary"] = Field(
        "float",
        description=(
            "Encoding of the vectors in the output. `float` is a JSON list. `float32` has the same values in half the "
            "bytes, `int8` nearly the same in an eighth, both as base64. Choose `float` for readability, another value "
            "for smaller topics."
        ),
    )
