"""Tags of words: every scheme says the same entities, and what does not follow it is told of, never lost."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.training.data.layout import Scheme
from worker.training.data.schemes import TagRun, decode_tags, detect_scheme, is_scheme_tag, is_tag

# The type of each entity, or None for a word outside, and how many words it has.
Shape = list[tuple[str | None, int]]
shapes = st.lists(st.tuples(st.sampled_from([None, "PER", "LOC"]), st.integers(1, 3)), max_size=8)
_FIRST_AND_LAST = {Scheme.IOBES: ("E", "S"), Scheme.BILOU: ("L", "U")}


def draw_runs(shape: Shape) -> list[TagRun]:
    """Return the entities of a shape."""
    runs, word = [], 0
    for kind, length in shape:
        if kind:
            runs.append(TagRun(kind, word, word + length))
        word += length
    return runs


def written(shape: Shape, scheme: Scheme) -> list[str]:
    """Write a shape in a scheme, by the book."""
    tags: list[str] = []
    for (before, _), (kind, length) in pairwise([(None, 0), *shape]):
        if kind is None:
            tags += ["O"] * length
        elif scheme is Scheme.IOB1:
            tags += ["B" if before == kind else "I", *"I" * (length - 1)]
        elif scheme is Scheme.IOB2:
            tags += ["B", *"I" * (length - 1)]
        else:
            last, alone = _FIRST_AND_LAST[scheme]
            tags += [alone] if length == 1 else ["B", *"I" * (length - 2), last]
        tags[len(tags) - length :] = [f"{mark}-{kind}" if kind else "O" for mark in tags[len(tags) - length :]]
    return tags


@given(shapes, st.sampled_from(Scheme))
def test_what_was_written_is_read(shape: Shape, scheme: Scheme) -> None:
    """Each scheme decodes its own tags without a violation."""
    tags = written(shape, scheme)
    assert decode_tags(tags, scheme) == (draw_runs(shape), [])
    assert all(is_scheme_tag(tag, scheme) for tag in tags)


@given(st.lists(shapes, min_size=1), st.sampled_from(Scheme))
def test_the_scheme_is_found_out(corpus: list[Shape], scheme: Scheme) -> None:
    """The detected scheme decodes the tags without a problem, even if another scheme also fits."""
    sentences = [written(shape, scheme) for shape in corpus]
    found = detect_scheme(sentences)
    assert [decode_tags(tags, found) for tags in sentences] == [(draw_runs(shape), []) for shape in corpus]


@given(st.lists(st.sampled_from(["O", *(f"{mark}-{kind}" for mark in "BIES" for kind in ("PER", "LOC"))]), max_size=9))
def test_every_tagged_word_is_in_one_entity_of_its_type(tags: list[str]) -> None:
    """This holds even for tags that break the scheme."""
    runs, _ = decode_tags(tags, Scheme.IOBES)
    words = {word: run.type for run in runs for word in range(run.first, run.end)}
    assert words == {word: tag[2:] for word, tag in enumerate(tags) if tag != "O"}
    assert sum(run.end - run.first for run in runs) == len(words)


@pytest.mark.parametrize(
    ("scheme", "tags", "runs", "slips"),
    [
        (Scheme.IOB2, "O I-PER I-PER", [TagRun("PER", 1, 3)], [(1, "I-PER after O, which continues no entity of this type")]),
        (
            Scheme.IOB2,
            "B-PER I-LOC",
            [TagRun("PER", 0, 1), TagRun("LOC", 1, 2)],
            [(1, "I-LOC after B-PER, which continues no entity of this type")],
        ),
        (Scheme.IOB1, "O B-PER", [TagRun("PER", 1, 2)], [(1, "B-PER after O, where iob1 has I-")]),
        (Scheme.IOBES, "B-PER O", [TagRun("PER", 0, 1)], [(0, "B-PER before O, which does not end the entity")]),
        (
            Scheme.IOBES,
            "S-PER E-PER",
            [TagRun("PER", 0, 1), TagRun("PER", 1, 2)],
            [(1, "E-PER after S-PER, which continues no entity of this type")],
        ),
        (Scheme.BILOU, "B-PER I-PER", [TagRun("PER", 0, 2)], [(1, "I-PER before O, which does not end the entity")]),
    ],
)
def test_a_slip_is_told_of_and_read_as_the_nearest(
    scheme: Scheme, tags: str, runs: list[TagRun], slips: list[tuple[int, str]]
) -> None:
    """Each violation of the scheme is reported with its word."""
    assert decode_tags(tags.split(), scheme) == (runs, slips)


def test_most_of_the_tags_decide() -> None:
    """A few violations do not change the detected scheme."""
    assert detect_scheme([["B-PER", "I-PER"], ["O", "B-LOC"], ["O", "I-PER"]]) is Scheme.IOB2
    assert detect_scheme([["I-PER", "I-PER"], ["O", "I-LOC"], ["O", "B-PER"]]) is Scheme.IOB1
    assert detect_scheme([["B-PER", "E-PER", "S-LOC", "U-LOC"]]) is Scheme.IOBES
    assert detect_scheme([["B-PER", "L-PER", "U-LOC", "E-LOC"]]) is Scheme.BILOU
    assert detect_scheme([]) is Scheme.IOB2


@pytest.mark.parametrize("text", ["", "o", "B", "B-", "X-PER", "PER", "-", "_", "Ohio"])
def test_other_words_are_no_tags(text: str) -> None:
    """A tag of another scheme is no tag of the given scheme."""
    assert not is_tag(text)
    assert not is_scheme_tag("S-PER", Scheme.IOB2)
