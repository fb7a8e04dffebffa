"""Builds the decoding of input records from settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.wire.decode import Limits
from worker.wire.envelopes import Envelope
from worker.wire.fields.paths import FieldPath, TextTemplate
from worker.wire.mapping import EmptyText, IdSource, InputMapping

if TYPE_CHECKING:
    from worker.settings import Settings


def build_limits(settings: Settings) -> Limits:
    """Return the limits of a record."""
    return Limits(
        max_message_bytes=settings.max_message_bytes,
        max_headers=settings.max_headers,
        max_headers_bytes=settings.max_headers_bytes,
        max_id_chars=settings.max_id_chars,
        max_text_chars=settings.max_text_chars,
        max_dead_letter_payload_bytes=settings.max_dead_letter_payload_bytes,
    )


def build_mapping(settings: Settings) -> InputMapping:
    """Return the places of text, id and tasks in a record."""
    template = settings.text_template
    return InputMapping(
        text=TextTemplate.parse(template) if template else FieldPath.parse(settings.text_field),
        id_source=IdSource(settings.id_from),
        id_path=FieldPath.parse(settings.id_field),
        tasks_path=FieldPath.parse(settings.tasks_field),
        envelope=Envelope(settings.envelope),
        empty_text=EmptyText(settings.empty_text),
        skips_unchanged=settings.unchanged_text == "skip",
    )
