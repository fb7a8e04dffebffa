"""Rows of JSON lines and tables: their columns are found, what their labels are decides what they are, what is broken is named."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import BadSettings
from worker.training.data.examples import Data, DataKind, LabelledData, LabelledText, Span, TaggedData, TaggedText
from worker.training.data.layout import Format, Layout, Scheme
from worker.training.data.read import detect_format, read

if TYPE_CHECKING:
    from pathlib import Path


def data_in(tmp_path: Path, name: str, content: str, layout: Layout | None = None) -> Data:
    """Read a file with this name and content."""
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    return read(tmp_path / name, layout)


def labelled(tmp_path: Path, name: str, content: str, layout: Layout | None = None) -> list[tuple[str, tuple[str, ...]]]:
    """Return the texts of a file with their labels."""
    data = data_in(tmp_path, name, content, layout)
    assert isinstance(data, LabelledData)
    return [(text.text, text.labels) for text in data.texts]


def test_labels_of_json_lines_are_names(tmp_path: Path) -> None:
    """Whole numbers and truth values become the names that CSV has for them; blank lines are skipped."""
    content = '{"text":"a","label":"pos"}\n\n{"label":1,"text":"b","id":7}\r\n{"text":"c","label":true}\n'
    data = data_in(tmp_path, "x.jsonl", content)
    assert isinstance(data, LabelledData)
    assert data.texts == (LabelledText("a", ("pos",)), LabelledText("b", ("1",)), LabelledText("c", ("true",)))
    assert [text.line for text in data.texts] == [1, 3, 4]
    assert data.kind is DataKind.MULTI_CLASS
    assert data.source.read_as == "JSON lines, text in 'text', label in 'label'"


def test_lists_of_labels_are_multi_label(tmp_path: Path) -> None:
    """Each label counts once, and a list may be empty."""
    data = data_in(tmp_path, "x.jsonl", '{"text":"a","labels":[]}\n{"text":"b","labels":["x","y","x"]}\n')
    assert isinstance(data, LabelledData)
    assert [text.labels for text in data.texts] == [(), ("x", "y")]
    assert data.kind is DataKind.MULTI_LABEL
    assert labelled(tmp_path, "y.jsonl", '{"text":"a","labels":[]}\n') == [("a", ())]


@pytest.mark.parametrize("word", ["null", "false", "[]", '{"text":"a"}'])
def test_a_word_that_is_no_text_is_refused(tmp_path: Path, word: str) -> None:
    """The error names the word; Python's name for the value never becomes a word."""
    content = f'{{"tokens":["born","in",1970],"tags":["O","O","O"]}}\n{{"tokens":["a",{word}],"tags":["O","O"]}}\n'
    with pytest.raises(BadSettings, match=r"x\.jsonl:2: not a word: "):
        data_in(tmp_path, "x.jsonl", content)


def test_a_separator_makes_several_labels_of_a_field(tmp_path: Path) -> None:
    """The separator applies to tables, too."""
    found = labelled(tmp_path, "x.csv", "text,label\na,x|y\nb,\nc, y \n", Layout(label_separator="|"))
    assert found == [("a", ("x", "y")), ("b", ()), ("c", ("y",))]


def test_spans_are_entities(tmp_path: Path) -> None:
    """Entities are in the order of the text; `type` may replace `label`; the list of spans may be empty."""
    content = (
        '{"text":"Ada in Paris","spans":[{"start":7,"end":12,"label":"LOC"},{"start":0,"end":3,"type":"PER"}]}\n'
        '{"text":"😀 Ada","spans":[{"start":2,"end":5,"label":"PER"}]}\n'
        '{"text":"ok","spans":[]}\n'
    )
    data = data_in(tmp_path, "x.jsonl", content)
    assert isinstance(data, TaggedData)
    assert data.texts == (
        TaggedText("Ada in Paris", (Span("PER", 0, 3), Span("LOC", 7, 12))),
        TaggedText("😀 Ada", (Span("PER", 2, 5),)),
        TaggedText("ok", ()),
    )
    assert data.kind is DataKind.ENTITIES
    assert isinstance(data_in(tmp_path, "y.jsonl", '{"text":"ok","spans":[]}\n'), TaggedData)


def test_lists_of_words_and_tags_are_entities(tmp_path: Path) -> None:
    """Words are joined and tags are decoded as in CoNLL."""
    content = '{"tokens":["Ada","Lovelace"],"ner_tags":["I-PER","I-PER"]}\n{"tokens":["ok"],"ner_tags":["O"]}\n'
    data = data_in(tmp_path, "x.jsonl", content)
    assert data.texts == (TaggedText("Ada Lovelace", (Span("PER", 0, 12),)), TaggedText("ok", ()))
    assert data.source.read_as.endswith("iob1")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON: "),
        ("[1]", "not a JSON object"),
        ('{"text":"a"}', "no value for 'label'"),
        ('{"text":null,"label":"x"}', "no value for 'text'"),
        ('{"text":7,"label":"x"}', "not a text: 7"),
        ('{"text":"a","label":1.5}', r"not a label \(a name or a whole number\): 1.5"),
        ('{"text":"a","label":" "}', "not a label"),
        ('{"text":"a","label":["x"]}', "a list where other rows have one"),
    ],
)
def test_a_broken_json_line_is_named(tmp_path: Path, line: str, reason: str) -> None:
    """The error has file, line and reason; with `skips_broken` the line is left out and counted."""
    content = f'{{"text":"a","label":"x"}}\n{line}\n{{"text":"b","label":"y"}}\n'
    with pytest.raises(BadSettings, match=rf"x\.jsonl:2: {reason}"):
        data_in(tmp_path, "x.jsonl", content)
    data = data_in(tmp_path, "x.jsonl", content, Layout(skips_broken=True))
    assert [text.text for text in data.texts] == ["a", "b"]
    assert [entry.line for entry in data.source.broken] == [2]


@pytest.mark.parametrize(
    ("spans", "reason"),
    [
        ('[{"start":0,"end":9,"label":"X"}]', "span 0 to 9 is not inside the text, which has 3 characters"),
        ('[{"start":2,"end":2,"label":"X"}]', "span 2 to 2 is not inside"),
        ('[{"start":0,"end":2,"label":"X"},{"start":1,"end":3,"label":"Y"}]', "spans overlap: 0 to 2 and 1 to 3"),
        ('[{"start":true,"end":2,"label":"X"}]', "a span needs whole numbers start and end, and a label"),
        ('[{"start":0,"end":2}]', "a span needs"),
        ("[7]", "not a span: 7"),
        ('"X"', "not a list of spans: 'X'"),
    ],
)
def test_a_span_that_cannot_be_is_named(tmp_path: Path, spans: str, reason: str) -> None:
    """The error has file, line and reason."""
    content = f'{{"text":"Ada","spans":[{{"start":0,"end":3,"label":"PER"}}]}}\n{{"text":"Bob","spans":{spans}}}\n'
    with pytest.raises(BadSettings, match=rf"x\.jsonl:2: {reason}"):
        data_in(tmp_path, "x.jsonl", content)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ('["O"]', "the numbers of tags and words differ"),
        ('["O",3]', "the tag 3 is a number: replace numbers by the names of the tags"),
        ('["O",0]', "the tag 0 is a number: replace numbers by the names of the tags"),
        ('["O",0.0]', r"the tag 0\.0 is a number"),
        ('["O",""]', "not a tag: ''"),
        ('["O",null]', "not a tag: None"),
        ('["O",false]', "not a tag: False"),
        ('"O"', "the numbers of tags and words differ"),
        ('["O","S-X"]', "not a tag of iob2: 'S-X'"),
    ],
)
def test_tags_that_do_not_fit_their_words_are_named(tmp_path: Path, tags: str, reason: str) -> None:
    """The error has file, line and reason."""
    content = f'{{"tokens":["a"],"tags":["B-X"]}}\n{{"tokens":["a","b"],"tags":{tags}}}\n'
    with pytest.raises(BadSettings, match=rf"x\.jsonl:2: {reason}"):
        data_in(tmp_path, "x.jsonl", content, Layout(scheme=Scheme.IOB2))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", 'id,Text,label\n1,"a, ""b""",pos\n2,"two\nlines",neg\n'),
        ("x.csv", 'Text;label\n"a, ""b""";pos\n"two\nlines";neg\n'),
        ("x.tsv", 'label\tText\npos\t"a, ""b"""\nneg\t"two\nlines"\n'),
        ("x.csv", '\ufeffText,label\r\n"a, ""b""",pos\r\n\r\n"two\nlines",neg\r\n'),
    ],
)
def test_tables_are_read_as_they_are_written(tmp_path: Path, name: str, content: str) -> None:
    """Fields may be quoted or span lines, with any order of columns, usual delimiter and line end."""
    assert labelled(tmp_path, name, content) == [('a, "b"', ("pos",)), ("two\nlines", ("neg",))]


def test_quotes_of_a_table_with_tabs_may_be_none(tmp_path: Path) -> None:
    """Quotation marks are ordinary characters if reading them as quotes breaks more rows."""
    content = 'text\tlabel\n"Good" he said\tpos\n5" too small\tneg\n"never closed\tneg\n'
    assert labelled(tmp_path, "x.tsv", content) == [
        ('"Good" he said', ("pos",)),
        ('5" too small', ("neg",)),
        ('"never closed', ("neg",)),
    ]


def test_columns_may_be_named_or_numbered(tmp_path: Path) -> None:
    """Column numbers start at 1; of two columns the other one is the label."""
    content = "one,two,text\na,b,c\n"
    assert labelled(tmp_path, "x.csv", content, Layout(text_column="one", label_column="3")) == [("a", ("c",))]
    assert labelled(tmp_path, "x.csv", content, Layout(text_column="2", label_column="one")) == [("b", ("a",))]
    assert labelled(tmp_path, "x.csv", "tweet,mood\na,b\n") == [("a", ("b",))]


@pytest.mark.parametrize(
    ("content", "layout", "reason"),
    [
        ("a,b,c\n1,2,3\n", Layout(), r"which column is the text\? Name one of a, b, c \(--text-column, "),
        ("text,b,c\n1,2,3\n", Layout(), r"which column is the label\? Name one of text, b, c \(--label-column, "),
        ("text,label\n1,2\n", Layout(label_column="mood"), "no column 'mood' for the label: its columns are text, label"),
        ("text,label\n1,2\n", Layout(text_column="3"), "no column '3' for the text"),
        ("text,label,text\n1,2,3\n", Layout(), "1: the header names a column twice"),
        ("text,label\n", Layout(), "the file has no row"),
        ("", Layout(), "the file has no row"),
        ("text,label\na,b\nc\n", Layout(), "3: 1 columns; the header has 2"),
        ("text,label\na,b\na,\n", Layout(), "3: not a label"),
        ('text,label\na,b\n"never closed,b\n', Layout(), "3: unmatched quotes"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_line(tmp_path: Path, content: str, layout: Layout, reason: str) -> None:
    """The error says what to do or where the table is broken."""
    with pytest.raises(BadSettings, match=rf"x\.csv:( )?{reason}"):
        data_in(tmp_path, "x.csv", content, layout)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("x.csv", ["text,label", '"a, b",pos', "c,neg"]),
        ("x.csv", ["text;label", "a, b;pos", "c;neg"]),
        ("x.tsv", ["text\tlabel", "a, b\tpos", "c\tneg"]),
        ("x.txt", ["text\tlabel", "a, b\tpos", "c\tneg"]),
        ("x.jsonl", ['{"text":"a, b","label":"pos"}', '{"text":"c","label":"neg"}']),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_line_ends_and_encodings_change_nothing(tmp_path: Path, name: str, lines: list[str], end: str, encoding: str) -> None:
    """A file has the same rows with any line end, with or without a byte order mark."""
    (tmp_path / name).write_bytes(end.join([*lines, ""]).encode(encoding))
    data = read(tmp_path / name)
    assert [(text.text, text.labels, text.line) for text in data.texts] == [
        ("a, b", ("pos",), len(lines) - 1),
        ("c", ("neg",), len(lines)),
    ]


@pytest.mark.parametrize("content", [b"PAR1\x15\x04\x80", b"PK\x03\x04\x14\0", b"\x1f\x8b\x08\0"])
@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.parquet"])
def test_a_file_that_is_no_text_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    """The error says what the file is, and not which of its bytes is no UTF-8."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadSettings, match=r"the file is (a Parquet file|a ZIP archive|compressed).* save its texts as JSON lines"):
        read(tmp_path / name)


def test_blank_lines_before_a_header_are_skipped(tmp_path: Path) -> None:
    """A line of spaces is no header."""
    assert labelled(tmp_path, "x.csv", "\n  \ntext,label\na,x\n") == [("a", ("x",))]


def test_mixed_line_ends_part_rows(tmp_path: Path) -> None:
    """CR, LF and CR LF end rows in tables and in JSON lines."""
    assert labelled(tmp_path, "x.csv", "text,label\ra,x\r\nb,y\nc,x\r") == [("a", ("x",)), ("b", ("y",)), ("c", ("x",))]
    content = '{"text":"a","label":"x"}\r{"text":"b","label":"y"}\r\n{"text":"c","label":"x"}\n'
    assert labelled(tmp_path, "x.jsonl", content) == [("a", ("x",)), ("b", ("y",)), ("c", ("x",))]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (
            "x.jsonl",
            '{"text":"a","label":"x"},\n{"text":"b","label":"y"},\n',
            r"1: not JSON: .* \(remove the comma after the object",
        ),
        ("x.jsonl", "\n{'text':'a','label':'x'}\n{'text':'b','label':'y'}\n", "2: not JSON: "),
        ("x.jsonl", '["a","x"]\n["b","y"]\n', "1: not a JSON object: "),
        ("x.jsonl", '{"text":"a"}\n{"text":"b","label":null}\n{"label":"x"}', "1: no value for 'label'"),
        ("x.jsonl", '{"text":1,"label":"x"}\n{"text":2,"label":"y"}\n', "1: not a text: 1"),
        ("x.jsonl", '{"text":"a","spans":[{"start":0}]}\n{"text":"b","spans":[{"end":1}]}\n', "1: a span needs"),
        ("x.jsonl", '{"tokens":["a"],"tags":[]}\n{"tokens":["b"],"tags":[1]}\n', "1: the numbers of tags and words differ"),
        ("x.csv", "text,label\na,x,1\n\nb,y,2\n", "2: 3 columns; the header has 2"),
        ("x.csv", "text,label\na,\nb, \n", "2: not a label"),
        ("x.json", "[1,\n2]", "1: not JSON"),
    ],
)
@pytest.mark.parametrize("skips_broken", [False, True])
def test_a_file_of_broken_rows_raises_the_first_reason(
    tmp_path: Path, name: str, content: str, reason: str, *, skips_broken: bool
) -> None:
    """The error has the line number, also with `skips_broken`, which `gist-stream data` sets."""
    with pytest.raises(BadSettings, match=rf"{name}:{reason}") as caught:
        data_in(tmp_path, name, content, Layout(skips_broken=skips_broken))
    assert ("nothing of the file can be read" in str(caught.value)) is skips_broken


@pytest.mark.parametrize("name", ["x.json", "x.jsonl", "x"])
@pytest.mark.parametrize(
    "content",
    [
        '[{"text":"a","label":"x"},\n{"text":"b","label":"y"}]',
        '[\n{"text":"a","label":"x"},{"text":"b","label":"y"},\n]\n',
        '\ufeff\n [\r\n  {\r\n    "text": "a",\r\n    "label": "x"\r\n  },\r\n  {"text": "b", "label": "y"}\r\n]\r\n',
    ],
)
def test_an_array_of_objects_is_rows(tmp_path: Path, name: str, content: str) -> None:
    """Annotation tools export such arrays; each text has the line where its object begins."""
    data = data_in(tmp_path, name, content)
    assert [(text.text, text.labels) for text in data.texts] == [("a", ("x",)), ("b", ("y",))]
    line = 1 + content.replace("\r", "").count("\n", 0, content.replace("\r", "").rindex("{"))
    assert data.texts[1].line == line


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('[{"text":"a","label":"x"},\n{"text":}]', "2: not JSON: Expecting value; the rest is not read"),
        ('[{"text":"a","label":"x"},\n7,\n{"text":"b","label":"x"}]', "2: not a JSON object: '7'"),
        ('[{"text":"a","label":"x"}\n', "2: not JSON: "),
        ('[{"text":"a","label":"x"}]\n[{"text":"b","label":"y"}]', "1: content after the end of the array"),
        ('[{"text":"a","label":"x"},\n{"text":NaN}]', "2: not JSON: "),
        ('[{"text":"a","label":"x"},\n{"text":' + "[" * 100_000, "2: not JSON: "),
        ("[]", " the file has no row"),
    ],
)
def test_a_broken_array_is_named(tmp_path: Path, content: str, reason: str) -> None:
    """The error has file, line and reason, so no object is lost without notice."""
    with pytest.raises(BadSettings, match=rf"x\.json:{reason}"):
        data_in(tmp_path, "x.json", content)


@pytest.mark.parametrize(
    ("name", "content", "num_rejected"),
    [
        (
            "x.jsonl",
            (
                '{"text":"a","label":"x","answer":"accept"}\n{"text":"b","label":"y","answer":"reject"}\n'
                '{"text":"c","answer":"ignore"}\n{"text":"d","label":"y"}\n'
            ),
            2,
        ),
        ("x.jsonl", '{"text":"a","label":"x","was_cancelled":false}\n{"text":"b","label":null,"was_cancelled":true}\n', 1),
        ("x.json", '[{"text":"a","label":"x"},\n{"text":"b","label":"y","was_cancelled":true}]', 1),
        ("x.csv", "id,text,label,was_cancelled\n1,a,x,False\n2,b,y,True\n", 1),
        ("x.csv", "text,label,answer\na,x,ACCEPT\nb,y, reject \n", 1),
        ("x.jsonl", '{"text":"a","label":"x","status":"Validated"}\n{"text":"b","label":"y","status":"Discarded"}\n', 1),
        ("x.jsonl", '{"text":"a","spans":[],"answer":"accept"}\n{"text":"b","spans":[{"start":9}],"answer":"reject"}\n', 1),
    ],
)
def test_rejected_texts_are_left_out_and_counted(tmp_path: Path, name: str, content: str, num_rejected: int) -> None:
    """A rejected row may have any other content."""
    data = data_in(tmp_path, name, content)
    kept = [text.text for text in data.texts]
    assert kept[0] == "a"
    assert "b" not in kept
    assert "c" not in kept
    assert data.source.num_rejected == num_rejected
    assert data.source.broken == ()


def test_a_column_of_the_data_is_no_answer(tmp_path: Path) -> None:
    """The column is ordinary if it is the label, or has a value that no annotation tool writes."""
    assert len(labelled(tmp_path, "x.csv", "text,answer\na,accept\nb,reject\n")) == 2
    assert len(labelled(tmp_path, "x.csv", "text,label,answer\na,x,accept\nb,y,reject\nc,x,maybe\n")) == 3
    assert len(labelled(tmp_path, "x.csv", "text,label,status\na,x,open\nb,y,discarded\n")) == 2


def test_a_file_of_nothing_but_rejected_texts_is_one_line(tmp_path: Path) -> None:
    """The error has the number of texts."""
    with pytest.raises(BadSettings, match=r"x\.jsonl: annotators rejected or skipped every text \(2\)"):
        data_in(tmp_path, "x.jsonl", '{"text":"a","label":"x","answer":"reject"}\n' * 2)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), min_size=1)


@given(st.lists(st.tuples(texts, st.sampled_from(["pos", "neg"])), min_size=1), st.booleans())
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], is_tabbed: bool) -> None:  # noqa: FBT001  hypothesis gives it
    """Tables and JSON lines preserve any characters of a text."""
    folder = tmp_path_factory.mktemp("rows")
    written = io.StringIO(newline="")
    writer = csv.writer(written, delimiter="\t" if is_tabbed else ",", quoting=csv.QUOTE_ALL)
    writer.writerows([("text", "label"), *rows])
    expected = [(text, (label,)) for text, label in rows]
    assert labelled(folder, "x.tsv" if is_tabbed else "x.csv", written.getvalue()) == expected
    lines = b"\n".join(orjson.dumps({"text": text, "label": label}) for text, label in rows)
    assert labelled(folder, "x.jsonl", lines.decode()) == expected


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.JSONL", "", Format.JSONL),
        ("x.txt", ' {"text":"a"}\n', Format.JSONL),
        ("x.txt", "Ada B-PER\n", Format.CONLL),
        ("x.txt", "text\tlabel\na\tO\n", Format.TSV),
        ("x.tsv", "text\n", Format.TSV),
        ("x.data", "text,label\na,b\n", Format.CSV),
        ("x.csv", "Ada\tO\n", Format.CSV),
    ],
)
def test_the_format_is_found_out(tmp_path: Path, name: str, content: str, expected: Format) -> None:
    """The extension or the first lines determine the format."""
    (tmp_path / name).write_text(content)
    assert detect_format(tmp_path / name) is expected


@pytest.mark.parametrize("content", ["", "some prose\nand more of it\n"])
def test_a_file_of_no_known_format_is_one_line(tmp_path: Path, content: str) -> None:
    """The error lists the known formats."""
    with pytest.raises(
        BadSettings,
        match=r"x\.txt: unknown format: set --format, or `format` in a run's TOML file, to one of conll, jsonl, csv, tsv, arrow",
    ):
        data_in(tmp_path, "x.txt", content)
