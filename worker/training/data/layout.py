"""Layouts of files with labelled texts. Pure."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Format(StrEnum):
    """The format of a file; the value is the user's name for it."""

    CONLL = "conll"
    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    #: A directory of `save_to_disk` of Hugging Face's `datasets`.
    ARROW = "arrow"


class Scheme(StrEnum):
    """How tags mark the beginning and end of entities; the value is the user's name for it."""

    #: `I-` continues or begins; `B-` begins only directly after an entity of the same type.
    IOB1 = "iob1"
    #: `B-` begins, `I-` continues: BIO.
    IOB2 = "iob2"
    #: `B-` begins, `I-` continues, `E-` ends; `S-` is an entity of one word.
    IOBES = "iobes"
    #: The same, with `L-` for the last word and `U-` for an entity of one word.
    BILOU = "bilou"


class Layout(BaseModel):
    """The known parts of a file's layout; None is detected."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Format | None = None
    #: The name of the column with the text (or the words), or its number from 1; in CoNLL always a number.
    text_column: str | None = None
    #: The same for the column with label, labels, spans or tags.
    label_column: str | None = None
    scheme: Scheme | None = None
    #: The separator of several labels in one field; it makes the data multi-label.
    label_separator: str | None = None
    #: Whether a lone `@` is joined with the next word and its entity: for corpora that split handles.
    joins_handles: bool = False
    #: Whether broken rows are left out and reported in the data's `source`; else the first broken row is an error.
    skips_broken: bool = False
