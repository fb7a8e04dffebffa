"""How a file of labelled texts may be laid out. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Format(StrEnum):
    """What kind of file it is; the value is what a user writes."""

    CONLL = "conll"
    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    #: A directory that `save_to_disk` of Hugging Face's `datasets` wrote.
    ARROW = "arrow"


class Scheme(StrEnum):
    """How the tags of words say where an entity begins and ends; the value is what a user writes."""

    #: `I-` continues or begins; `B-` begins only where an entity of the same type ends just before.
    IOB1 = "iob1"
    #: `B-` begins, `I-` continues: BIO.
    IOB2 = "iob2"
    #: `B-` begins, `I-` continues, `E-` ends; `S-` is an entity of one word.
    IOBES = "iobes"
    #: The same, with `L-` for the last word and `U-` for one alone.
    BILOU = "bilou"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What the caller knows of a file; what is None is found out."""

    format: Format | None = None
    #: The name of the column with the text (or the words), or its number from 1; in CoNLL always a number.
    text_column: str | None = None
    #: The same of the column with the label, the labels, the spans or the tags.
    label_column: str | None = None
    scheme: Scheme | None = None
    #: What stands between the labels of a text where one field holds several; it makes the data multi-label.
    label_separator: str | None = None
    #: Whether the word after a lone `@` is joined with it, to one entity if the word is one: for corpora that cut handles in two.
    joins_handles: bool = False
    #: Whether what is broken is left out and told of in the data's `source`; otherwise the first of it stops the reading.
    skips_broken: bool = False
