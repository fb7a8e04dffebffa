"""The worker of the fault laboratory: the real worker with a deterministic model instead of the engine.

python -m tests.faults.lab.program

Variables of the environment select its internal faults:

    FAULT_MODEL=real              the model of the settings after all
    FAULT_PASS_S=0.05             seconds that each pass takes
    FAULT_KILL=after:Produce:30   SIGKILL to itself after the answer to its 30th Produce; `before:` before a request is sent
    FAULT_FREEZE=before:EndTxn:2  the same, but SIGSTOP: it goes on where it was, with the request, when it gets a SIGCONT
    FAULT_TASK=fetch:cancel       at SIGUSR1 a background task of the consumer's client ends (see `lose_task`)
    FAULT_CLOCK_H=5               `time.time` jumps every second by up to so many hours, forward or back
    FAULT_SEED=7                  of the jumps
"""

from __future__ import annotations

import ctypes
import gc
import os
import random
import re
import signal
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient
from aiokafka.producer.message_accumulator import BatchBuilder

from tests.fakes import FakeModel
from tests.faults.lab.workload import Poison, build_vector, choose_label, find_span
from worker.batches import LIVE_PASS, PassContext
from worker.commands.run import process
from worker.composition import model as engines
from worker.errors import FatalError
from worker.records import Classification, Failure, PredictedEntity, Prediction, Stage, Task
from worker.settings import read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.records import TokenizedItem

# The number of this wish in Linux.
_PR_SET_PDEATHSIG = 1


class LabModel(FakeModel):
    """A model whose outputs depend only on the text; a text with a `Poison` makes it fail accordingly."""

    description = "deterministic"
    because = "a fault is being tested"
    warnings = ()
    backend = SimpleNamespace(measured=None, description=description)

    def __init__(self, pass_s: float) -> None:
        super().__init__(max_passes=2)
        self._pass_s = pass_s

    def infer(self, items: Sequence[TokenizedItem], context: PassContext = LIVE_PASS) -> list[Prediction]:  # noqa: ARG002  one step
        """Return the outputs of each text; fails if a text is poisoned."""
        time.sleep(self._pass_s)
        texts = [entry.item.text for entry in items]
        if any(Poison.RAISE in text for text in texts):
            raise RuntimeError("the pass failed")
        if any(Poison.MEMORY in text for text in texts):
            raise MemoryError
        return [_prediction(text) for text in texts]


def _prediction(text: str) -> Prediction:
    label, (start, end) = choose_label(text), find_span(text)
    labels = {"kind": Classification(label, 1.0, {label: 1.0})}
    entities = (PredictedEntity("NUMBER", text[start:end], start, end, 1.0, "ner"),)
    if Poison.NAN in text:
        # As the model room tells of a vector that is not finite: the task fails, and the number does not leave the room.
        failure = Failure(Stage.INFER, "FloatingPointError", "the vector is not finite", Task.EMBED)
        return Prediction(None, labels, entities, (failure,))
    return Prediction(build_vector(text).astype(np.float32), labels, entities)


def signal_at(point: str, number: signal.Signals) -> None:
    """Send a signal to this process before the Nth request of a kind, or after its answer."""
    when, kind, ordinal = point.split(":")
    # Requests of the kind so far.
    num_seen = 0
    send = AIOKafkaClient.send

    async def counted(client: AIOKafkaClient, node_id: int, request: Any, **options: Any) -> Any:
        nonlocal num_seen
        is_due = False
        if request_kind(request) == kind:
            num_seen += 1
            is_due = num_seen == int(ordinal)
        if is_due and when == "before":
            os.kill(os.getpid(), number)
        answer = await send(client, node_id, request, **options)
        if is_due and when == "after":
            os.kill(os.getpid(), number)
        return answer

    AIOKafkaClient.send = counted


def lose_task(name: str, how: str) -> None:
    """End a background task of the consumer's client: `fetch`, `coordination` or `heartbeat`.

    `cancel` and `raise` end the task; `hang` makes the fetch task wait for ever.
    """
    # The reader of the input: exactly once also has readers of the outputs. With the consumer protocol it has no group.
    consumer = next(
        candidate
        for candidate in gc.get_objects()
        if type(candidate) is AIOKafkaConsumer and not candidate._closed and (candidate._group_id or _reads_input(candidate))
    )
    if name == "fetch" and how != "cancel":
        consumer._fetcher._get_actions_per_node = _raising if how == "raise" else lambda _assignment: ([], {}, 3600.0, False, [])
        return
    owner = consumer._fetcher if name == "fetch" else consumer._coordinator
    getattr(owner, f"_{name}_task").cancel()


def _reads_input(consumer: AIOKafkaConsumer) -> bool:
    return any(partition.topic == os.environ["GIST_INPUT_TOPIC"] for partition in consumer.assignment())


def _raising(_assignment: object) -> None:
    raise RuntimeError("a fault")


def request_kind(request: object) -> str:
    """Return the name of a request's kind in the protocol: `Produce`, `EndTxn`."""
    # The requests of a member of the consumer protocol have one class, and name the class of their message.
    message = getattr(request, "struct", type(request))
    return re.sub(r"Request(_v\d+)?$", "", message.__name__)


def shake_clock(hours: float, seed: int) -> None:
    """Make the wall clock jump every second; monotonic clocks stay, as with a real jump."""
    wall_clock_s = time.time

    def shaken() -> float:
        now_s = wall_clock_s()
        return now_s + random.Random(f"{seed}:{int(now_s)}").uniform(-hours, hours) * 3600  # noqa: S311  a fault, not a secret

    append = BatchBuilder.append

    def stamped(batch: BatchBuilder, *, timestamp: int | None, **rest: Any) -> Any:
        # The client's own stamp comes from C, which knows the true time.
        return append(batch, timestamp=round(shaken() * 1000) if timestamp is None else timestamp, **rest)

    time.time = shaken
    BatchBuilder.append = stamped


def die_with_parent() -> None:
    """Kill this process when its parent ends in any way."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Run the worker."""
    die_with_parent()
    if os.environ.get("FAULT_MODEL") != "real":
        model = LabModel(float(os.environ.get("FAULT_PASS_S", "0")))
        engines.load_engine = lambda _settings: model  # type: ignore[assignment, return-value]
    for name, number in (("FAULT_KILL", signal.SIGKILL), ("FAULT_FREEZE", signal.SIGSTOP)):
        if point := os.environ.get(name):
            signal_at(point, number)
    if task := os.environ.get("FAULT_TASK"):
        signal.signal(signal.SIGUSR1, lambda *_: lose_task(*task.split(":")))
    if hours := float(os.environ.get("FAULT_CLOCK_H", "0")):
        shake_clock(hours, int(os.environ.get("FAULT_SEED", "0")))
    try:
        process.run(read())
    except FatalError as stop:
        # As the command line does.
        sys.stderr.write(f"{stop}\n")
        sys.exit(stop.exit_code)


if __name__ == "__main__":
    main()
