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


def shown(text: TaggedText) -> list[tuple[str, str]]:
    """Return type and characters of the entities."""
    return [(span.type, text.text[span.start : span.end]) for span in text.spans]


def test_sentences_are_joined_and_their_entities_placed(tmp_path: Path) -> None:
    """Words are joined by spaces, an inside tag extends its entity, and each text has its line number."""
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
    """The reader detects columns, schemes, comments, documents, line ends and the byte order mark."""
    data = tagged(tmp_path, content)
    assert [(text.text, shown(text)) for text in data.texts] == [("Ada Lovelace in Paris Rome", EXPECTED)]
    assert read_as in data.source.read_as
    assert data.source.malformed == ()


def test_columns_and_scheme_may_be_given(tmp_path: Path) -> None:
    """Given columns and a given scheme replace the detected ones."""
    content = "Ada B-NP I-PER\nPavlova I-NP I-PER\n"
    chunks = tagged(tmp_path, content, Layout(label_column="2"))
    assert shown(chunks.texts[0]) == [("NP", "Ada Pavlova")]
    data = tagged(tmp_path, content, Layout(text_column="2", label_column="3", scheme=Scheme.IOB2))
    assert shown(data.texts[0]) == [("PER", "B-NP I-NP")]
    assert [str(entry).split(":", 1)[1] for entry in data.source.malformed] == [
        "1: I-PER after O, which continues no entity of this type"
    ]


def test_words_that_begin_with_a_hash_are_words(tmp_path: Path) -> None:
    """Only a line that is no row is a comment."""
    (tabbed,) = tagged(tmp_path, "# a tweet\n#MH17\tB-ORG\n#\tO\n").texts
    assert (tabbed.text, shown(tabbed)) == ("#MH17 #", [("ORG", "#MH17")])
    (blank,) = tagged(tmp_path, "# a tweet about it\n# id 5\n#MH17 B-ORG\n# O\n").texts
    assert blank.text == "#MH17 #"
    with pytest.raises(BadSettings, match=r":2: not a tag of iob2: 'B'"):
        tagged(tmp_path, "ok O\n#MH17 B\nok O\nok O\n")


def test_odd_characters_part_no_lines_and_no_words(tmp_path: Path) -> None:
    """A word may contain another kind of blank, and a missing word becomes a replacement character."""
    (only,) = tagged(tmp_path, "a\u2028b\tO\nc\u00a0d\tB-PER\n\tO\n").texts
    assert only.text == "a\u2028b c\u00a0d \N{REPLACEMENT CHARACTER}"
    (blanks,) = tagged(tmp_path, "a\u2028b O\nc\u00a0d  B-PER\n").texts
    assert shown(blanks) == [("PER", "c\u00a0d")]


@pytest.mark.parametrize("at", ["O", "B-PER"])
def test_an_at_is_one_entity_with_its_name(tmp_path: Path, at: str) -> None:
    """With `joins_handles` the handle is one entity, whatever the tag of its `@`."""
    content = f"hey\tO\n@\t{at}\nada\tB-PER\nB\tI-PER\n"
    (only,) = tagged(tmp_path, content, Layout(joins_handles=True)).texts
    assert only.text == "hey @ada B"
    assert shown(only) == [("PER", "@ada B")]
    assert tagged(tmp_path, content).texts[0].text == "hey @ ada B"


def test_an_at_without_a_name_is_a_word(tmp_path: Path) -> None:
    """An `@` before a word outside entities is no entity, and an entity of another type stays separate."""
    joined = Layout(joins_handles=True)
    (only,) = tagged(tmp_path, "@\tO\nnoon\tO\nAda\tB-PER\n", joined).texts
    assert (only.text, shown(only)) == ("@noon Ada", [("PER", "Ada")])
    (other,) = tagged(tmp_path, "@\tB-ORG\nada\tB-PER\n", joined).texts
    assert shown(other) == [("ORG", "@"), ("PER", "ada")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("Ada", "1 columns; the other lines have 2: 'Ada'"),
        ("Ada\tB-PER\tO", "3 columns; the other lines have 2"),
        ("Ada\tPER", "not a tag of iob2: 'PER'"),
        ("Ada\t", "not a tag of iob2: ''"),
    ],
)
def test_a_line_that_is_not_conll_is_named(tmp_path: Path, line: str, reason: str) -> None:
    """The error has file, line and reason; with `skips_broken` the sentence is left out and counted."""
    content = f"ok\tO\nok\tO\n\nfine\tO\n{line}\n\nAda\tB-PER\n"
    with pytest.raises(BadSettings, match=rf"corpus\.conll:5: {reason}"):
        tagged(tmp_path, content)
    data = tagged(tmp_path, content, Layout(skips_broken=True))
    assert [text.text for text in data.texts] == ["ok ok", "Ada"]
    assert [entry.line for entry in data.source.broken] == [5]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file has no word"),
        (b"\n \n", "the file has no word"),
        (b"# a comment\nAda\nBob\n", "2: only one column"),
        (b"Ada NNP\nBob NNP\n", r"1: no column of tags \(O, B-…, I-…\) among the 2 columns"),
        (b"Ada O\n\xff\xfe O\n", "2: not UTF-8: 0xff at byte 1"),
    ],
)
def test_a_file_that_is_something_else_is_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    """The error has the file and the reason."""
    with pytest.raises(BadSettings, match=rf"corpus\.conll:( )?{reason}"):
        tagged(tmp_path, content)


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A missing column and a missing file are named."""
    with pytest.raises(BadSettings, match="no column '3': its columns are 1 to 2"):
        tagged(tmp_path, "Ada O\n", Layout(label_column="3"))
    with pytest.raises(BadSettings, match="cannot be read: No such file"):
        read(tmp_path / "none.conll")


def test_a_tag_of_another_scheme_is_broken(tmp_path: Path) -> None:
    """A tag outside the given scheme is an error with its line."""
    with pytest.raises(BadSettings, match=r":1: not a tag of iob2: 'S-PER'"):
        tagged(tmp_path, "Ada S-PER\n", Layout(scheme=Scheme.IOB2))


@pytest.mark.parametrize("name", ["corpus.txt", "train.tsv", "corpus"])
def test_the_content_tells_it_where_the_name_does_not(tmp_path: Path, name: str) -> None:
    """The reader detects CoNLL by the content, for any extension."""
    (tmp_path / name).write_text("Ada\tB-PER\nin\tO\n")
    data = read(tmp_path / name)
    assert data.labels == ("PER",)
    assert read(tmp_path / name, Layout(format=Format.CONLL)) == data


NUMBERED = [
    "# sent_id = 1",
    "1-2\tAu\t_\t_",
    "1\tà\tADP\tO",
    "2\tle\tDET\tO",
    "3\tMaroc\tPROPN\tB-LOC",
    "3.1\tghost\t_\t_",
    "",
    "# text = Vu du Maroc",
    "0.1\tghost\t_\t_",
    "1\tVu\tVERB\tO",
    "2-3\tdu\t_\t_",
    "2\tde\tADP\tO",
    "3\tle\tDET\tO",
    "4\tMaroc\tPROPN\tB-LOC",
    "",
]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("separator", ["\t", " ", "  "])
def test_ranges_and_empty_nodes_are_no_words(tmp_path: Path, separator: str, start: str, end: str) -> None:
    """Only rows with a whole number are words, also if a range begins the file and ranges have no tag."""
    data = tagged(tmp_path, start + end.join(NUMBERED).replace("\t", separator))
    assert [(text.text, shown(text), text.line) for text in data.texts] == [
        ("à le Maroc", [("LOC", "Maroc")], 3),
        ("Vu de le Maroc", [("LOC", "Maroc")], 10),
    ]
    assert "words in column 2, tags in column 4 of 4" in data.source.read_as


def test_ranges_and_empty_nodes_may_have_other_columns(tmp_path: Path) -> None:
    """A range is left out before its columns are compared with those of the words."""
    data = tagged(tmp_path, "1-2\tAu\n1\tà\tO\n2\tle\tO\n2.1\tghost\t_\t_\t_\n3\tMaroc\tB-LOC\n")
    assert [text.text for text in data.texts] == ["à le Maroc"]


def test_ranges_hide_neither_the_format_nor_the_tags(tmp_path: Path) -> None:
    """The content tells the format where every second row is a range without a tag."""
    (tmp_path / "corpus.txt").write_text("1-2\tdu\t_\n1\tde\tO\n2\tle\tO\n3-4\tau\t_\n3\tà\tO\n4\tle\tB-LOC\n")
    (text,) = read(tmp_path / "corpus.txt").texts
    assert text.text == "de le à le"


def test_words_that_look_like_ranges_are_words(tmp_path: Path) -> None:
    """Results and decimal numbers stay where no column numbers the words."""
    (only,) = tagged(tmp_path, "won CD O\n2-1 CD O\n1.5 CD O\nParis NNP B-LOC\n").texts
    assert only.text == "won 2-1 1.5 Paris"
    (two,) = tagged(tmp_path, "1 O\n1-2 O\n1.1 B-PER\n").texts
    assert two.text == "1 1-2 1.1"


@pytest.mark.parametrize(
    "between",
    [
        "-DOCSTART- O",
        "-DOCSTART-",
        "-DOCSTART- -X- -X- O",
        "-DOCSTART- (2) O",
        "-DOCSTART-\tO",
        "-DOCEND- O",
        "-DOCEND- -X- -X- O\n-DOCSTART- -X- -X- O",
        "\n-DOCSTART- O\n",
        "# newdoc id = 2",
        "#begin document (two); part 000",
        "#end document",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_new_document_ends_a_text(tmp_path: Path, between: str, end: str) -> None:
    """The text ends with or without a blank line before the line that begins the document."""
    lines = ["-DOCSTART- O", "A O", "London B-LOC", *between.split("\n"), "B O", "Paris B-LOC", ""]
    assert [text.text for text in tagged(tmp_path, end.join(lines)).texts] == ["A London", "B Paris"]


def test_lines_end_as_any_system_ends_them(tmp_path: Path) -> None:
    """CR, LF and CR LF may be mixed; the line numbers stay those of an editor."""
    texts = tagged(tmp_path, "Ada O\rin O\r\nParis B-LOC\n\rok O\r\rfine O\r\n\r\n").texts
    assert [(text.text, text.line) for text in texts] == [("Ada in Paris", 1), ("ok", 5), ("fine", 7)]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf_16_is_read_or_named(tmp_path: Path, encoding: str) -> None:
    """A file with a byte order mark is read; without the mark the error says how to save the file."""
    content = "Zoé O\r\nMünchen B-LOC\r\n".encode(encoding)
    if encoding == "utf-16":
        assert tagged(tmp_path, content).texts[0].text == "Zoé München"
    else:
        with pytest.raises(BadSettings, match=r"corpus\.conll: .* UTF-16 without a byte order mark: save the file as UTF-8"):
            tagged(tmp_path, content)


def test_broken_utf_16_is_one_line(tmp_path: Path) -> None:
    """The error names the byte."""
    with pytest.raises(BadSettings, match=r"corpus\.conll: broken UTF-16 at byte"):
        tagged(tmp_path, "Ada O\n".encode("utf-16") + b"\x00\xd8")


def test_a_byte_order_mark_where_files_were_joined_is_no_word(tmp_path: Path) -> None:
    """The mark is removed at the start of a later line, too."""
    assert [text.text for text in tagged(tmp_path, "\ufeffAda O\n\n\ufeffBob B-PER\n").texts] == ["Ada", "Bob"]


def test_many_comments_do_not_hide_the_tabs(tmp_path: Path) -> None:
    """A word with a blank stays whole although most lines are comments."""
    content = "# id = 1\n# text = New York\n# x = y\nNew York\tB-LOC\n\n# id = 2\n# text = ok\n# x = y\nok\tO\n"
    assert [text.text for text in tagged(tmp_path, content).texts] == ["New York", "ok"]


def test_a_file_of_broken_sentences_raises_the_first_reason(tmp_path: Path) -> None:
    """The error is raised although `skips_broken` is set."""
    with pytest.raises(BadSettings, match=r"corpus\.conll:1: not a tag of bilou: 'S-PER' \(and 1 more\); nothing of the file"):
        tagged(tmp_path, "Ada S-PER\n\nBob S-PER\n", Layout(scheme=Scheme.BILOU, skips_broken=True))
