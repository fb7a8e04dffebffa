"""The exceptions of the worker, grouped by the reaction of the caller.

    GistStreamError
    ├── FatalError                end the process, because a retry would not help
    │   ├── BadSettings           a setting is wrong or contradicts another               exit code 2
    │   ├── BrokerUnavailable     no broker answers, or refuses the worker, at start      exit code 3
    │   ├── TopicsMissing         topics are missing and may not be created               exit code 4
    │   ├── BadModel              the model cannot be loaded or fails its verification    exit code 5
    │   ├── TooManyFailures       the model is at fault, not the data                     exit code 6
    │   ├── DrainIncomplete       the shutdown took longer than the drain limit           exit code 7
    │   └── TooManyDeadLetters    a topic has another format than this worker reads       exit code 8
    ├── RecordError               write a dead letter and go on with the next record
    │   ├── InvalidRecord         the bytes do not follow the wire contract
    │   ├── RecordFailed          the model fails on this one text
    │   └── RecordRefused         the broker never accepts a message of this record
    └── Retry                     end the session of the partition and start again at its committed offset
        ├── PublishFailed         a send or commit failed or its outcome is unknown
        ├── RegistryUnavailable   the schema registry does not answer or refuses the worker, so records wait
        └── ConsumerBroken        the consumer must be replaced
            └── OffsetOutOfRange      the same, but the records read before are valid

`InvariantBroken` is a bug of the worker. It ends the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.records import Output, Partition

# The messages of pydantic, and ours.
_REASONS = {
    "Input should be a valid string, unable to parse raw data as a unicode string": "the value is not UTF-8",
    "Input should be a valid string": "the value must be a string",
    "Input should be a valid boolean": "the value must be true or false",
    "Input should be a valid integer": "the value must be a whole number",
    "Input should be a valid number": "the value must be a number",
    "Input should be a valid list": "the value must be a list",
    "Input should be a valid dictionary": "the value must be an object",
    "Input should be an object": "the value must be an object",
    "Input should be": "the value must be",
    "String should have": "the value must have",
    "List should have": "the list must have",
    " after validation, not ": ", and has ",
    "Invalid JSON: ": "the value is not JSON: ",
    "Extra inputs are not permitted": "there is no such {noun}",
    "Field required": "the {noun} is missing",
}


class GistStreamError(Exception):
    """The base of the exceptions of the worker."""


class FatalError(GistStreamError):
    """Ends the process with `exit_code`. The message is one line for the operator."""

    exit_code: ClassVar[int] = 1


class BadSettings(FatalError):
    """A setting is wrong, or two settings contradict each other."""

    exit_code = 2


class BrokerUnavailable(FatalError):
    """No broker answers at the bootstrap address, or the brokers refuse the worker's credentials."""

    exit_code = 3


class TopicsMissing(FatalError):
    """A topic is missing, or the worker cannot use its configuration."""

    exit_code = 4


class BadModel(FatalError):
    """A model reference does not resolve, or a file of the model does not match the manifest."""

    exit_code = 5


class TooManyFailures(FatalError):
    """Too many consecutive records failed in the model: the model is at fault, not the data."""

    exit_code = 6


class DrainIncomplete(FatalError):
    """Records were unpublished or uncommitted at the drain limit. The next owner of the partition reads them again."""

    exit_code = 7


class TooManyDeadLetters(FatalError):
    """Too many records of a topic failed without a result: the topic has another format than this worker reads."""

    exit_code = 8


class RecordError(GistStreamError):
    """One record fails: write a dead letter and go on."""


class InvalidRecord(RecordError):
    """A record violates the wire contract; the message is the reason."""


class RecordFailed(RecordError):
    """The model cannot process this text; the message is the reason."""


class RecordRefused(RecordError):
    """The broker never accepts a message of this record, for example because the message is too large."""

    def __init__(self, partition: Partition, offset: int, output: Output, reason: str) -> None:
        """Set the record, the output and the reason of the refused message."""
        super().__init__(f"{output} refused the message of {partition}@{offset}: {reason}")
        self.partition = partition
        self.offset = offset
        self.output = output
        self.reason = reason


class Retry(GistStreamError):
    """The session of the partition ends and starts again at the committed offset."""


class PublishFailed(Retry):
    """A send or a commit failed, timed out or was cancelled, so its result is unknown."""


class RegistryUnavailable(Retry):
    """The schema registry does not answer, or refuses the worker. Records whose schemas are unknown wait."""

    def __init__(self, reason: str, *, is_refusal: bool = False) -> None:
        """Set the reason; `is_refusal` says that a setting is probably wrong."""
        super().__init__(reason)
        self.is_refusal = is_refusal


class ConsumerBroken(Retry):
    """The consumer has failed and must be replaced."""


class OffsetOutOfRange(ConsumerBroken):
    """The log no longer contains the next offset. The worker may hold the only copy of the records in flight."""


class InvariantBroken(AssertionError):
    """A bug in the worker: an invariant of its own code does not hold."""


def describe_error(error: BaseException) -> str:
    """Return the message of an exception, or its class if the message is empty."""
    return str(error) or type(error).__name__


def reword_validation(message: str, *, noun: str = "key") -> str:
    """Return the reason of a failed validation of pydantic in the words of other errors; `noun` is the word for a part."""
    for theirs, ours in _REASONS.items():
        message = message.replace(theirs, ours.format(noun=noun))
    return message.removeprefix("Value error, ")


def find_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the `FatalError` in a group of exceptions, or the first exception if there is none."""
    causes = list(_leaves(group))
    return next((cause for cause in causes if isinstance(cause, FatalError)), causes[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
