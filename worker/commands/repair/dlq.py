"""Read dead letters, replay their records, or mark them as handled."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from worker.broker.admin.offsets import CommittedOffset, fetch_committed, fetch_log_bounds
from worker.broker.admin.permissions import Right, build_topic_rights
from worker.broker.admin.topics import check_usable
from worker.broker.delivery.exactly_once import build_transactional_right, check_transactions
from worker.broker.tools.clients import read_to_end
from worker.broker.tools.replay import open_replay
from worker.commands.repair.replay_progress import ReplayProgress
from worker.commands.terminal import count_noun
from worker.composition.broker import build_connection, map_output_topics
from worker.composition.input import build_mapping
from worker.errors import BadSettings, InvalidRecord
from worker.records import Output, Partition
from worker.wire.dead_letters import DeadLetterFilter, DeadLetterRecord
from worker.wire.mapping import build_id_reader

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from worker.broker.admin.permissions import Operation
    from worker.broker.connection.connection import Connection
    from worker.broker.tools.replay import Replay
    from worker.records import Record
    from worker.settings import Settings

# The most dead letters that a line names.
_MAX_NAMES = 10


def replay_group(settings: Settings) -> str:
    """Return the group whose committed offsets are the progress of replays and drops."""
    return f"gist-stream-dlq:{get_topic(settings)}"


@dataclass(slots=True)
class DeadLetterCounts:
    """Counts of the dead letters that were read."""

    #: Replayed or dropped.
    num_done: int = 0
    #: Selected dead letters that cannot be replayed, by reason.
    obstacles: Counter[str] = field(default_factory=Counter)
    num_not_selected: int = 0
    #: Records of the topic that are no dead letters.
    num_foreign: int = 0
    #: Dead letters that were selected by name, and that are not yet handled.
    named: set[str] = field(default_factory=set)
    #: Dead letters that were selected by name, and were replayed or dropped before.
    done_before: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Return the counts above 0, for the end of a sentence."""
        parts = [f"{num} cannot be replayed: {why}" for why, num in self.obstacles.most_common()]
        rest = f" and {len(self.done_before) - _MAX_NAMES} more" if len(self.done_before) > _MAX_NAMES else ""
        parts += [f"replayed or dropped before: {', '.join(self.done_before[:_MAX_NAMES])}{rest}"] * bool(self.done_before)
        parts += [f"{self.num_not_selected} not selected"] * bool(self.num_not_selected)
        parts += [f"not dead letters: {count_noun(self.num_foreign, 'record')}"] * bool(self.num_foreign)
        return "".join(f"; {part}" for part in parts)


@dataclass(slots=True)
class _Line:
    """One partition of the dead-letter topic, read in order."""

    handled: ReplayProgress
    #: The offset after the last record that was read.
    cursor: int
    #: Returns the id of a failed record.
    find_id: Callable[[Record], str]
    #: Selected dead letters that are not yet handled, and the ranges of offsets that they and the gaps before them cover.
    selected: list[DeadLetterRecord] = field(default_factory=list)
    ranges: list[tuple[int, int]] = field(default_factory=list)

    def take(self, offset: int, letter: DeadLetterRecord | None) -> None:
        """Select a record, together with the offsets before it that have no record."""
        self.ranges.append((self.cursor, offset + 1))
        if letter is not None:
            self.selected.append(letter)


async def find_letter(settings: Settings, name: str) -> DeadLetterRecord:
    """Return the dead letter with a name such as `0@17`; raises `BadSettings` if there is none."""
    index, _, offset = name.partition("@")
    if not (index.isdigit() and offset.isdigit()):
        raise BadSettings(f"{name} is not the name of a dead letter: write partition@offset, such as 0@17, as `dlq list` does")
    place = Partition(get_topic(settings), int(index))
    if place in await _lines(settings):
        async with contextlib.aclosing(read_to_end(build_connection(settings), {place: int(offset)})) as arriving:
            async for records in arriving:
                if records and records[0].offset == int(offset):
                    try:
                        return DeadLetterRecord.read(records[0], build_id_reader(build_mapping(settings)))
                    except InvalidRecord as error:
                        raise BadSettings(str(error)) from error
                if records:
                    break
    raise BadSettings(f"there is no dead letter {name} in {get_topic(settings)}")


async def list_letters(
    settings: Settings, selection: DeadLetterFilter, *, includes_done: bool, max_letters: int | None = None
) -> tuple[list[DeadLetterRecord], DeadLetterCounts]:
    """Return the selected dead letters, and the counts of the others; `includes_done` adds those that are handled.

    Reading stops at `max_letters` selected dead letters.
    """
    letters, tally = list[DeadLetterRecord](), DeadLetterCounts()
    lines = await _lines(settings)
    if includes_done:
        ends = await fetch_log_bounds(build_connection(settings), list(lines))
        lines = {partition: _Line(ReplayProgress(), ends[partition].first, line.find_id) for partition, line in lines.items()}
    async with contextlib.aclosing(_read(build_connection(settings), lines, tally)) as arriving:
        async for _, _, letter in arriving:
            if letter in selection:
                letters.append(letter)
            else:
                tally.num_not_selected += 1
            if len(letters) == max_letters:
                break
    return letters, tally


async def handle_letters(
    settings: Settings, selection: DeadLetterFilter, *, topics: Sequence[str], is_dry: bool
) -> DeadLetterCounts:
    """Send the record of each selected dead letter to its own topic, else to the first of `topics`; commit the progress.

    Without `topics` nothing is sent: the dead letters are dropped.
    """
    connection, tally = build_connection(settings), DeadLetterCounts()
    if not is_dry:
        await check_usable(connection, build_rights(settings, topics))
    lines = await _lines(settings)
    group_id, max_letters = replay_group(settings), settings.max_transaction_records
    if is_dry:
        await _walk(connection, lines, selection, tally, sends=bool(topics), max_letters=max_letters, finish=None)
        return tally
    timeout_s, allows = settings.transaction_timeout_ms / 1000, settings.allow_old_brokers
    await check_transactions(connection, group_id=group_id, transaction_timeout_s=timeout_s, allow_old_brokers=allows)
    async with open_replay(
        connection, group_id=group_id, topics=topics or settings.input_topics, transaction_timeout_s=timeout_s
    ) as sending:

        async def finish(partition: Partition, line: _Line) -> None:
            await _advance(sending, partition, line, topics)

        for partition, line in lines.items():
            line.handled = _handled(await sending.open(partition), line.cursor)
        await _walk(connection, lines, selection, tally, sends=bool(topics), max_letters=max_letters, finish=finish)
    return tally


def build_rights(settings: Settings, topics: Sequence[str]) -> list[Right]:
    """Return the rights for a replay into some topics, or for a drop if there are none."""
    group_id = replay_group(settings)
    rights = [
        *build_topic_rights(["Read"], [get_topic(settings)]),
        Right("Read", "group", group_id),
        build_transactional_right(group_id),
    ]
    operations: list[Operation] = ["Write", "DescribeConfigs"] if topics else ["DescribeConfigs"]
    return [*rights, *build_topic_rights(operations, topics or settings.input_topics)]


async def _advance(sending: Replay, partition: Partition, line: _Line, topics: Sequence[str]) -> None:
    handled = line.handled.with_ranges(line.ranges)
    records = [(_find_target(letter, topics), letter.build_original()) for letter in line.selected] if topics else []
    await sending.advance(partition, records, CommittedOffset(handled.next_offset, handled.words))
    line.handled = handled


def _find_target(letter: DeadLetterRecord, topics: Sequence[str]) -> Partition:
    source = letter.content.source
    return Partition(source.topic if source.topic in topics else topics[0], source.partition)


async def _walk(
    connection: Connection,
    lines: dict[Partition, _Line],
    selection: DeadLetterFilter,
    tally: DeadLetterCounts,
    *,
    sends: bool,
    max_letters: int,
    finish: Callable[[Partition, _Line], Awaitable[None]] | None,
) -> None:
    """Read the dead letters up to the present end, in order, and finish the selected ones in groups of up to `max_letters`."""

    async def finished(partition: Partition, line: _Line) -> None:
        if line.ranges and finish:
            await finish(partition, line)
        line.selected, line.ranges = [], []

    async for line, offset, letter in _read(connection, lines, tally):
        if letter.name in selection.names:
            tally.named.add(letter.name)
        if letter not in selection:
            tally.num_not_selected += 1
        elif sends and letter.replay_obstacle:
            tally.obstacles[letter.replay_obstacle] += 1
        else:
            line.take(offset, letter)
            tally.num_done += 1
        if len(line.selected) >= max_letters:
            await finished(letter.partition, line)
    tally.done_before = sorted(selection.names - tally.named)
    for partition, line in lines.items():
        await finished(partition, line)


async def _read(
    connection: Connection, lines: dict[Partition, _Line], tally: DeadLetterCounts
) -> AsyncGenerator[tuple[_Line, int, DeadLetterRecord], None]:
    """Yield the dead letters that are not handled, up to the present end: records that fail again are after it."""
    positions = {partition: line.cursor for partition, line in lines.items()}
    async with contextlib.aclosing(read_to_end(connection, positions)) as arriving:
        async for records in arriving:
            for record in records:
                line = lines[record.partition]
                if record.offset not in line.handled:
                    try:
                        letter = DeadLetterRecord.read(record, line.find_id)
                    except InvalidRecord:
                        tally.num_foreign += 1
                    else:
                        yield line, record.offset, letter
                line.cursor = record.next_offset


async def _lines(settings: Settings) -> dict[Partition, _Line]:
    """Return the partitions of the dead-letter topic, each at the first offset that is not handled."""
    connection, topic = build_connection(settings), get_topic(settings)
    rights = [*build_topic_rights(["Read"], [topic]), Right("Describe", "group", replay_group(settings))]
    num_partitions = (await check_usable(connection, rights))[topic]
    partitions = [Partition(topic, index) for index in range(num_partitions)]
    committed = await fetch_committed(connection, replay_group(settings), partitions)
    ends, find_id = await fetch_log_bounds(connection, partitions), build_id_reader(build_mapping(settings))
    handled = {partition: _handled(committed.get(partition), ends[partition].first) for partition in partitions}
    starts = {partition: max(handled[partition].next_offset, ends[partition].first) for partition in partitions}
    return {partition: _Line(handled[partition], starts[partition], find_id) for partition in partitions}


def _handled(committed: CommittedOffset | None, first: int) -> ReplayProgress:
    """Return the handled offsets: the committed ones, and those that retention has deleted."""
    handled = ReplayProgress(first) if committed is None else ReplayProgress.read(committed.offset, committed.metadata)
    return handled.with_ranges([(0, first)])


def get_topic(settings: Settings) -> str:
    """Return the dead-letter topic; raises `BadSettings` if the input topics have several."""
    names = {map_output_topics(settings, topic)[Output.DEAD_LETTERS] for topic in settings.live_topics}
    if len(names) > 1:
        raise BadSettings(f"GIST_INPUT_TOPIC names topics with {len(names)} dead-letter topics: select one with --input-topic")
    return names.pop()
