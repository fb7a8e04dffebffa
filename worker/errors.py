"""The failures that the worker knows, each named for the act that it asks of its caller.

    GistStreamError
    ├── FatalError                      end the process: nothing that the worker could try again would help
    │   ├── BadSettings           the settings contradict themselves or the world          exit code 2
    │   ├── BrokerUnavailable     no broker answers, or it refuses us, at start             exit code 3
    │   ├── TopicsMissing         topics are missing and may not be created                 exit code 4
    │   ├── BadModel              the model cannot be loaded or fails its verification      exit code 5
    │   ├── TooManyFailures       the model is broken, not the data                         exit code 6
    │   ├── DrainIncomplete       asked to stop, it could not finish its work in time       exit code 7
    │   └── TooManyDeadLetters    the records of a topic are not what this worker reads     exit code 8
    ├── RecordError                park this one record and go on with the next
    │   ├── InvalidRecord         the bytes do not follow the wire contract
    │   ├── RecordFailed          the model fails on this one text
    │   └── RecordRefused         the broker will never take what came of this record
    └── Retry                     end the partition's session and start again from its committed offset
        ├── PublishFailed         a send or commit failed or its outcome is unknown
        └── ConsumerBroken        the consumer must be built anew
            └── OffsetOutOfRange      so must it, but what it gave us before is good

A broken invariant of our own is none of these: it is `InvariantBroken`, a bug, and ends the process visibly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.records import Output, Partition


class GistStreamError(Exception):
    """Any failure that the worker knows by name."""


class FatalError(GistStreamError):
    """End the process with `exit_code` and this one readable line."""

    exit_code: ClassVar[int] = 1


class BadSettings(FatalError):
    """A setting is wrong, or two contradict each other."""

    exit_code = 2


class BrokerUnavailable(FatalError):
    """No broker answers at the bootstrap address, or it refuses our credentials."""

    exit_code = 3


class TopicsMissing(FatalError):
    """A topic is missing, or is so configured that the worker could not use it."""

    exit_code = 4


class BadModel(FatalError):
    """A model reference does not resolve, or a file of it is not what its manifest says."""

    exit_code = 5


class TooManyFailures(FatalError):
    """So many records failed with no success between that the model must be at fault, not the data."""

    exit_code = 6


class DrainIncomplete(FatalError):
    """The drain limit passed with work unpublished or uncommitted: nothing is lost, the next owner does it again."""

    exit_code = 7


class TooManyDeadLetters(FatalError):
    """So many records of a topic failed with no result between that the topic is not what this worker reads."""

    exit_code = 8


class RecordError(GistStreamError):
    """Park this record in the dead-letter topic and go on."""


class InvalidRecord(RecordError):
    """The bytes of a record do not follow the wire contract; the message says how."""


class RecordFailed(RecordError):
    """The model cannot process this one text; the message says why."""


class RecordRefused(RecordError):
    """The broker will never take one of this record's messages (too large, say)."""

    def __init__(self, partition: Partition, offset: int, output: Output, reason: str) -> None:
        """Name the message that was refused by its record and its output."""
        super().__init__(f"{output} refused the message of {partition}@{offset}: {reason}")
        self.partition = partition
        self.offset = offset
        self.output = output
        self.reason = reason


class Retry(GistStreamError):
    """End the session of the partition and start again from its committed offset."""


class PublishFailed(Retry):
    """A send or a commit failed, timed out or was cancelled: its outcome is unknown."""


class ConsumerBroken(Retry):
    """The consumer can no longer be trusted and must be built anew."""


class OffsetOutOfRange(ConsumerBroken):
    """The log no longer holds what comes next: what was read before is perhaps nowhere else than in our hands."""


class InvariantBroken(AssertionError):
    """This is a bug in the worker: something that its own code guarantees does not hold."""


def describe_error(error: BaseException) -> str:
    """Return what an exception says, or its name where it says nothing."""
    return str(error) or type(error).__name__


def find_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the `FatalError` in a group of failures, for it says what to do; the first of the others where there is none."""
    causes = list(_leaves(group))
    return next((cause for cause in causes if isinstance(cause, FatalError)), causes[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
