"""Maps records of any JSON topic to items: where text, id and tasks are, and what becomes of a record without a text. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from worker.errors import InvalidRecord
from worker.records import Item, Record, Task, Tombstone
from worker.wire.content import WireForm
from worker.wire.decode import (
    VISIBLE,
    Limits,
    TextMissing,
    build_tombstone,
    check_headers,
    check_id,
    check_text,
    decode,
    read_id,
    select_tasks,
)
from worker.wire.envelopes import UNAVAILABLE, Change, Envelope, unwrap
from worker.wire.fields.names import describe_names
from worker.wire.fields.paths import FieldPath, TextTemplate
from worker.wire.headers import read_headers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from worker.wire.content import Content, RecordForm

Decoded: TypeAlias = "Item | Tombstone | Skipped"
Decoder: TypeAlias = "Callable[[Record], Decoded]"

# A path that none of this number of records has is reported.
_NUM_WATCHED_RECORDS = 100
# The paths of the wire contract.
_TEXT, _ID, _TASKS = map(FieldPath.parse, ("text", "id", "tasks"))
_NO_FIELDS: dict[str, Any] = {}


def _ignore(_warning: str) -> None:
    """Drop a warning."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A record without outputs. Its offset is committed like that of other records."""

    record: Record
    #: The reason, as in the metric: `empty`, `unchanged`, `truncate` or `message`.
    reason: str


class IdSource(StrEnum):
    """The part of a record that has its id."""

    FIELD = "field"
    KEY = "key"
    POSITION = "position"


class EmptyText(StrEnum):
    """The fate of a record whose text is absent, null or blank."""

    DEAD_LETTER = "dead_letter"
    SKIP = "skip"
    TOMBSTONE = "tombstone"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputMapping:
    """The form of the input records. The default is the wire contract."""

    text: FieldPath | TextTemplate = _TEXT
    id_source: IdSource = IdSource.FIELD
    id_path: FieldPath = _ID
    tasks_path: FieldPath = _TASKS
    envelope: Envelope = Envelope.AUTO
    empty_text: EmptyText = EmptyText.DEAD_LETTER
    #: Whether a change event whose text and id are the same before and after is skipped.
    skips_unchanged: bool = False

    def list_expected_paths(self) -> dict[FieldPath, str]:
        """Return the paths that records are expected to have, each with its setting."""
        if isinstance(self.text, TextTemplate):
            paths = {part.path: "GIST_TEXT_TEMPLATE" for part in self.text.parts}
        else:
            paths = {self.text: "GIST_TEXT_FIELD"}
        paths |= {self.id_path: "GIST_ID_FIELD", self.tasks_path: "GIST_TASKS_FIELD"}
        # A record without `text` is a dead letter with a reason, unless the mapping skips or deletes such records.
        optional = {_ID, _TASKS} if self.empty_text is not EmptyText.DEAD_LETTER else {_TEXT, _ID, _TASKS}
        return {path: setting for path, setting in paths.items() if path not in optional}


_DEFAULT = InputMapping()


def build_decoder(
    mapping: InputMapping,
    *,
    limits: Limits,
    tasks: frozenset[Task],
    warn: Callable[[str], None] = _ignore,
    form: RecordForm | None = None,
) -> Decoder:
    """Return the function that decodes a record; it raises `InvalidRecord` and no other exception.

    `tasks` are those of the worker. `warn` gets a sentence if none of the first 100 records has a field that `mapping` names.
    `form` reads values and keys; the default is the wire contract.
    """
    mapped = _MappedDecoder(mapping, limits, tasks, warn, form or WireForm())
    if mapping != _DEFAULT or form is not None:
        return mapped
    plain = partial(decode, limits=limits, tasks=tasks)

    def decode_contract(record: Record) -> Decoded:
        try:
            decoded = plain(record)
        except TextMissing:
            # The record may have an envelope.
            return mapped(record)
        # A row without its envelope may lack the text, too.
        return mapped(record) if isinstance(decoded, Item) and decoded.text == UNAVAILABLE else decoded

    return decode_contract


def build_field_reader(mapping: InputMapping, form: RecordForm | None = None) -> Callable[[Record], Mapping[str, Any]]:
    """Return the function that reads the fields of a decoded record, without envelope; of a plain text, its text and its id."""
    return _MappedDecoder(mapping, Limits(), frozenset(), _ignore, form or WireForm()).read_fields


def build_id_reader(mapping: InputMapping, form: RecordForm | None = None) -> Callable[[Record], str]:
    """Return the function that finds the id of a record, which may be invalid or cut; the default id if there is none."""
    decoder = _MappedDecoder(mapping, Limits(), frozenset(), _ignore, form or WireForm())
    is_field = mapping.id_source is IdSource.FIELD

    def find_id(record: Record) -> str:
        try:
            fields = decoder.read_fields(record) if is_field else _NO_FIELDS
            return check_id(decoder.find_id(record, fields, None), record, Limits())
        except InvalidRecord:
            return read_id(record) if is_field and mapping.id_path == _ID else f"{record.partition}-{record.offset}"

    return find_id


@dataclass(slots=True)
class _MappedDecoder:
    """Decodes the records of one worker by a mapping."""

    mapping: InputMapping
    limits: Limits
    tasks: frozenset[Task]
    warn: Callable[[str], None]
    form: RecordForm
    # The paths that no record had so far, each with the name of its setting.
    unseen: dict[FieldPath, str] = field(init=False)
    # The names of the fields of the records so far, while a path is unseen.
    watched: list[Mapping[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.unseen = self.mapping.list_expected_paths()

    def __call__(self, record: Record) -> Decoded:
        """Decode a record. Raises `InvalidRecord`."""
        headers = check_headers(record, self.limits)
        if record.value is None:
            return build_tombstone(record)
        if len(record.value) > self.limits.max_message_bytes:
            raise InvalidRecord(f"the value has {len(record.value)} bytes; at most {self.limits.max_message_bytes} are read")
        content, event_id = self.form.read_content(record.value, headers)
        text, fields, change = self._find_text(content)
        if change is not None and (change.is_delete or change.skip_reason):
            return Skipped(record, change.skip_reason) if change.skip_reason else build_tombstone(record)
        if self.unseen:
            self._watch({"text": text} if fields is _NO_FIELDS else fields)
        if text is None or (isinstance(text, str) and not VISIBLE.search(text)):
            return self._finish_empty(record, text, fields)
        identity = self.find_id(record, fields, event_id)
        if (change is not None or text == UNAVAILABLE) and self._is_unchanged(change, text, identity):
            return Skipped(record, "unchanged")
        mapping = self.mapping
        return Item(
            record,
            check_id(identity, record, self.limits, name=mapping.id_path.written),
            check_text(text, self.limits, name=mapping.text.written),
            select_tasks(mapping.tasks_path.find(fields), headers, self.tasks, name=mapping.tasks_path.written),
        )

    def read_fields(self, record: Record) -> Mapping[str, Any]:
        """Return the fields of a record that was decoded before."""
        content, event_id = self.form.read_content(record.value or b"", read_headers(record.headers))
        text, fields, _ = self._find_text(content)
        # The event of a deletion has no row.
        given = {"text": text} if fields is _NO_FIELDS else fields or _NO_FIELDS
        return given if event_id is None or given.get("id") is not None else {**given, "id": event_id}

    def _find_text(self, content: Content) -> tuple[Any, Mapping[str, Any], Change | None]:
        """Return the text, which is not checked, the object with the fields of the record, and the content of an envelope."""
        if isinstance(content, str):
            return content, _NO_FIELDS, None
        mapping = self.mapping
        # A record that has the text without an envelope, as `after.body` of a change event, is read as it is.
        reads_as_is = mapping.envelope is Envelope.AUTO and not mapping.skips_unchanged
        if reads_as_is and isinstance(mapping.text, FieldPath) and isinstance(text := mapping.text.read_text(content), str):
            return text, content, None
        change = unwrap(content, mapping.envelope)
        if change is not None and isinstance(change.row, str):
            return change.row, _NO_FIELDS, change
        if change is not None:
            text = mapping.text.read_text(change.row)
            # A template may name a column that the envelope has, too, such as `source`. The row therefore comes first.
            is_outside = text is None and change.row is not None and isinstance(mapping.text, TextTemplate)
            if not (reads_as_is and is_outside):
                return text, change.row, change
        return mapping.text.read_text(content), content, None

    def _finish_empty(self, record: Record, text: str | None, fields: Mapping[str, Any]) -> Decoded:
        if self.mapping.empty_text is EmptyText.SKIP:
            return Skipped(record, "empty")
        if self.mapping.empty_text is EmptyText.TOMBSTONE:
            return build_tombstone(record)
        if text is not None:
            raise InvalidRecord("the text is blank")
        path = self.mapping.text
        if isinstance(path, FieldPath) and fields and path.find(fields, default="") is None:
            raise InvalidRecord(f"`{path}` is null; GIST_EMPTY_TEXT=skip skips such records")
        raise InvalidRecord(_describe_missing(path, fields))

    def find_id(self, record: Record, fields: Mapping[str, Any], event_id: object) -> Any:
        """Return the id, which is not checked; None for the default id."""
        if self.mapping.id_source is IdSource.POSITION:
            return None
        if self.mapping.id_source is IdSource.KEY:
            return self.form.read_key_id(record.key)
        identity = self.mapping.id_path.find(fields)
        if identity is not None:
            return identity
        # Without its id, a new version of a text would not replace the old one. The wire contract allows this.
        if event_id is None and self.mapping.id_path != _ID:
            raise InvalidRecord(_describe_missing(self.mapping.id_path, fields))
        return event_id

    def _is_unchanged(self, change: Change | None, text: object, identity: object) -> bool:
        """Return whether an update left text and id as they were. Raises `InvalidRecord` for a text that the event lacks."""
        skips = self.mapping.skips_unchanged
        if isinstance(text, str) and UNAVAILABLE in text:
            if skips and text == UNAVAILABLE:
                return True
            raise InvalidRecord(
                f"the event has no value of `{self.mapping.text}`, because this column is unchanged: "
                "set GIST_UNCHANGED_TEXT=skip, or let the database log whole rows (PostgreSQL: REPLICA IDENTITY FULL)"
            )
        before = None if change is None else change.before
        if not skips or before is None or self.mapping.text.read_text(before) != text:
            return False
        return self.mapping.id_source is not IdSource.FIELD or self.mapping.id_path.find(before) == identity

    def _watch(self, fields: Mapping[str, Any]) -> None:
        """Look for the paths of the mapping; warn after 100 records about those that no record had."""
        self.unseen = {path: setting for path, setting in self.unseen.items() if path.find(fields) is None}
        # The names only: the values of 100 records may be hundreds of megabytes.
        self.watched.append({name: dict.fromkeys(value) if isinstance(value, dict) else None for name, value in fields.items()})
        if self.unseen and len(self.watched) == _NUM_WATCHED_RECORDS:
            paths = ", ".join(f"{setting}: `{path}`" for path, setting in self.unseen.items())
            self.warn(f"{paths}: none of the first {_NUM_WATCHED_RECORDS} records has this field; {describe_names(self.watched)}")
            self.unseen = {}
        if not self.unseen:
            self.watched = []


def _describe_missing(path: FieldPath | TextTemplate, fields: Mapping[str, Any]) -> str:
    return f"there is no `{path}`; {describe_names([fields]) if fields else 'the record has no fields'}"
