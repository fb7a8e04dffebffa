"""CoNLL files: whatever their columns, blanks, line ends and schemes, the same texts are read; what is broken is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from worker.errors import BadSettings
from worker.training.data.examples import Span, TaggedData, TaggedText
from worker.training.data.layout import Format, Layout, Scheme
from worker.training.data.read import read

if TYPE_CHECKING:
    from pathlib import Path


def tagged(tmp_path: Path, content: str | bytes, layout: Layout | None = None) -> TaggedData:
    """Read a corpus with this content."""
    path = tmp_path / "corpus.conll"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    data = read(path, layout)
    assert isinstance(data, TaggedData)
    return data


def shown(it: TaggedText) -> list[tuple[str, str]]:
    """Return type and characters of the entities."""
    return [(span.type, it.text[span.start : span.end]) for span in it.spans]


def test_sentences_are_joined_and_their_entities_placed(tmp_path: Path) -> None:
    """Words by spaces; what follows inside belongs to its beginning; each text knows its line."""
    first, second = tagged(tmp_path, "Ada\tB-PER\nLovelace\tI-PER\nin\tO\nParis\tB-LOC\n\n\nok\tO\n").texts
    assert (first.text, second.text) == ("Ada Lovelace in Paris", "ok")
    assert first.spans == (Span("PER", 0, 12), Span("LOC", 16, 21))
    assert second.spans == ()
    assert (first.line, second.line) == (1, 7)


EXPECTED = [("PER", "Ada Lovelace"), ("LOC", "Paris"), ("LOC", "Rome")]


@pytest.mark.parametrize(
    ("content", "read_as"),
    [
        ("Ada B-PER\nLovelace I-PER\nin O\nParis B-LOC\nRome B-LOC\n", "iob2, words in column 1, tags in column 2 of 2"),
        ("Ada I-PER\nLovelace I-PER\nin O\nParis I-LOC\nRome B-LOC\n", "iob1, words in column 1"),
        ("Ada B-PER\nLovelace E-PER\nin O\nParis S-LOC\nRome S-LOC\n", "iobes, "),
        ("Ada B-PER\nLovelace L-PER\nin O\nParis U-LOC\nRome U-LOC", "bilou, "),
        (
            (
                "-DOCSTART- -X- -X- O\n\nAda NNP I-NP B-PER\nLovelace NNP I-NP I-PER\nin IN I-PP O\n"
                "Paris NNP I-NP B-LOC\nRome NNP B-NP B-LOC\n"
            ),
            "words in column 1, tags in column 4 of 4",
        ),
        (
            (
                "# sent_id = 1\n# text = Ada …\n1\tAda\tB-PER\t-\n2\tLovelace\tI-PER\t-\n3\tin\tO\t-\n"
                "4\tParis\tB-LOC\t-\n5\tRome\tB-LOC\t-\n"
            ),
            "words in column 2, tags in column 3 of 4",
        ),
        ("B-PER  Ada\nI-PER  Lovelace\nO  in\nB-LOC  Paris\nB-LOC  Rome\n", "words in column 2, tags in column 1 of 2"),
        ("\ufeffAda\tB-PER\r\nLovelace\tI-PER\r\nin\tO\r\nParis\tB-LOC\r\nRome\tB-LOC\r\n\r\n", "words in column 1"),
    ],
)
def test_all_layouts_are_found_out(tmp_path: Path, content: str, read_as: str) -> None:
    """Columns, schemes, comments, documents, line ends and the byte order mark."""
    data = tagged(tmp_path, content)
    assert [(it.text, shown(it)) for it in data.texts] == [("Ada Lovelace in Paris Rome", EXPECTED)]
    assert read_as in data.source.read_as
    assert data.source.malformed == ()


def test_columns_and_scheme_may_be_given(tmp_path: Path) -> None:
    """Then nothing is found out."""
    content = "Ada B-NP I-PER\nPavlova I-NP I-PER\n"
    chunks = tagged(tmp_path, content, Layout(label_column="2"))
    assert shown(chunks.texts[0]) == [("NP", "Ada Pavlova")]
    data = tagged(tmp_path, content, Layout(text_column="2", label_column="3", scheme=Scheme.IOB2))
    assert shown(data.texts[0]) == [("PER", "B-NP I-NP")]
    assert [str(it).split(":", 1)[1] for it in data.source.malformed] == ["1: I-PER after O, where nothing of its type has begun"]


def test_words_that_begin_with_a_hash_are_words(tmp_path: Path) -> None:
    """Comments are what is no row."""
    (tabbed,) = tagged(tmp_path, "# a tweet\n#MH17\tB-ORG\n#\tO\n").texts
    assert (tabbed.text, shown(tabbed)) == ("#MH17 #", [("ORG", "#MH17")])
    (blank,) = tagged(tmp_path, "# a tweet about it\n# id 5\n#MH17 B-ORG\n# O\n").texts
    assert blank.text == "#MH17 #"
    with pytest.raises(BadSettings, match=r":2: not a tag of iob2: 'B'"):
        tagged(tmp_path, "ok O\n#MH17 B\nok O\nok O\n")


def test_odd_characters_part_no_lines_and_no_words(tmp_path: Path) -> None:
    """A word may hold a blank of another kind, and may have been lost."""
    (only,) = tagged(tmp_path, "a\u2028b\tO\nc\u00a0d\tB-PER\n\tO\n").texts
    assert only.text == "a\u2028b c\u00a0d \N{REPLACEMENT CHARACTER}"
    (blanks,) = tagged(tmp_path, "a\u2028b O\nc\u00a0d  B-PER\n").texts
    assert shown(blanks) == [("PER", "c\u00a0d")]


@pytest.mark.parametrize("at", ["O", "B-PER"])
def test_an_at_is_one_entity_with_its_name(tmp_path: Path, at: str) -> None:
    """However the corpus counts it, where that is wanted."""
    content = f"hey\tO\n@\t{at}\nada\tB-PER\nB\tI-PER\n"
    (only,) = tagged(tmp_path, content, Layout(joins_handles=True)).texts
    assert only.text == "hey @ada B"
    assert shown(only) == [("PER", "@ada B")]
    assert tagged(tmp_path, content).texts[0].text == "hey @ ada B"


def test_an_at_without_a_name_is_a_word(tmp_path: Path) -> None:
    """It begins nothing, and what is of another type stays so."""
    joined = Layout(joins_handles=True)
    (only,) = tagged(tmp_path, "@\tO\nnoon\tO\nAda\tB-PER\n", joined).texts
    assert (only.text, shown(only)) == ("@noon Ada", [("PER", "Ada")])
    (other,) = tagged(tmp_path, "@\tB-ORG\nada\tB-PER\n", joined).texts
    assert shown(other) == [("ORG", "@"), ("PER", "ada")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("Ada", "columns: 1 where the other lines have 2: 'Ada'"),
        ("Ada\tB-PER\tO", "columns: 3 where the other lines have 2"),
        ("Ada\tPER", "not a tag of iob2: 'PER'"),
        ("Ada\t", "not a tag of iob2: ''"),
    ],
)
def test_a_line_that_is_not_conll_is_named(tmp_path: Path, line: str, reason: str) -> None:
    """With file, number and reason; its sentence may be left out, and is counted."""
    content = f"ok\tO\nok\tO\n\nfine\tO\n{line}\n\nAda\tB-PER\n"
    with pytest.raises(BadSettings, match=rf"corpus\.conll:5: {reason}"):
        tagged(tmp_path, content)
    data = tagged(tmp_path, content, Layout(skips_broken=True))
    assert [it.text for it in data.texts] == ["ok ok", "Ada"]
    assert [it.line for it in data.source.broken] == [5]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no word in it"),
        (b"\n \n", "no word in it"),
        (b"Ada\nBob\n", "one column only"),
        (b"Ada NNP\nBob NNP\n", r"no column of tags \(O, B-…, I-…\) among its 2"),
        (b"Ada O\n\xff\xfe O\n", "2: not UTF-8: 0xff at byte 1"),
    ],
)
def test_a_file_that_is_something_else_is_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    """It says why."""
    with pytest.raises(BadSettings, match=rf"corpus\.conll:( )?{reason}"):
        tagged(tmp_path, content)


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    """And so is a file."""
    with pytest.raises(BadSettings, match="no column '3': its columns are 1 to 2"):
        tagged(tmp_path, "Ada O\n", Layout(label_column="3"))
    with pytest.raises(BadSettings, match="cannot be read: No such file"):
        read(tmp_path / "none.conll")


def test_a_tag_of_another_scheme_is_broken(tmp_path: Path) -> None:
    """Where the scheme was given."""
    with pytest.raises(BadSettings, match=r":1: not a tag of iob2: 'S-PER'"):
        tagged(tmp_path, "Ada S-PER\n", Layout(scheme=Scheme.IOB2))


@pytest.mark.parametrize("name", ["corpus.txt", "train.tsv", "corpus"])
def test_the_content_tells_it_where_the_name_does_not(tmp_path: Path, name: str) -> None:
    """Whatever the extension."""
    (tmp_path / name).write_text("Ada\tB-PER\nin\tO\n")
    data = read(tmp_path / name)
    assert data.labels == ("PER",)
    assert read(tmp_path / name, Layout(format=Format.CONLL)) == data
