"""Texts made by rule: labelled as they are made, all different, and like no text by which a head is judged."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.commands.training.synthesize import synthesize
from worker.errors import BadSettings
from worker.training.data.duplicates import are_alike, split_words
from worker.training.data.examples import Span, TaggedData, TaggedText
from worker.training.data.read import read
from worker.training.synthetic import templates
from worker.training.synthetic.generate import HeldOutTexts, MentionReplacement, generate

if TYPE_CHECKING:
    from pathlib import Path

OWN = [
    TaggedText("Ada met Grace Hopper in Paris.", (Span("PER", 0, 3), Span("PER", 8, 20), Span("LOC", 24, 29))),
    TaggedText("in Rome", (Span("LOC", 3, 7),)),
    TaggedText("nobody", ()),
]


def stretches(text: TaggedText) -> list[tuple[str, str]]:
    """Return type and characters of each entity."""
    return [(span.type, text.text[span.start : span.end]) for span in text.spans]


def chance(seed: int) -> Random:
    """Return numbers that are the same for the same seed."""
    return Random(seed)  # noqa: S311  nothing secret


def written(folder: Path, text: str) -> Path:
    """Write a file of templates."""
    (folder / "t.toml").write_text(text)
    return folder / "t.toml"


def test_entities_are_where_the_slots_were(tmp_path: Path) -> None:
    """Slots may be nested, doubled braces are literal, and slots of words are no entities."""
    path = written(
        tmp_path,
        """templates = ["{{x}} {PER}, {when}: {PER}"]
        [entities]
        PER = ["{first} Smith"]
        [words]
        first = ["Ada"]
        when = ["{first} asks"]""",
    )
    made = templates.read(path).draw(chance(0))
    assert made.text == "{x} Ada Smith, Ada asks: Ada Smith"
    assert stretches(made) == [("PER", "Ada Smith"), ("PER", "Ada Smith")]


@given(st.integers(0, 10_000))
def test_the_shipped_templates_generate_valid_texts(seed: int) -> None:
    """The entities of the shipped templates are in order, without overlaps and without surrounding blanks."""
    made = templates.read(templates.BUILT_IN).draw(chance(seed))
    end = 0
    for (kind, text), span in zip(stretches(made), made.spans, strict=True):
        assert kind in {"PER", "ORG", "LOC"}
        assert text == text.strip() != ""
        assert span.start >= end
        end = span.end


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("templates = [", "not TOML"),
        ("templates = []", "templates: Tuple should have at least 1 item"),
        ("x = 1", "x: there is no such key"),
        ('templates = ["{PER}"]', "entities: the key is missing"),
        ('templates = ["{PER"]\n[entities]\nPER = ["a"]', "brace that is meant is doubled"),
        ('templates = ["{WHO}"]\n[entities]\nPER = ["a"]', "the slot 'WHO' is not defined"),
        ('templates = ["a"]\n[entities]\nPER = ["a"]', "no template has a slot"),
        (
            'templates = ["{PER}"]\n[entities]\nPER = ["{a}"]\n[words]\na = ["{a}"]',
            "the slot 'a' is not defined, or may not be used here",
        ),
        ('templates = ["{PER}"]\n[entities]\nPER = ["b"]\n[words]\nPER = ["c"]', "both an entity and a word"),
    ],
)
def test_an_invalid_file_of_templates_is_one_line(tmp_path: Path, content: str, reason: str) -> None:
    """The error has the file and the reason."""
    with pytest.raises(BadSettings, match=reason):
        templates.read(written(tmp_path, content))


@given(st.integers(0, 1000))
def test_swapped_entities_are_others_of_their_type(seed: int) -> None:
    """The words around the entities stay the same."""
    made = MentionReplacement(OWN).draw(chance(seed))
    if made.text.startswith("in"):
        assert made.text == "in Paris"
        assert stretches(made) == [("LOC", "Paris")]
    else:
        assert made.text == "Grace Hopper met Ada in Rome."
        assert stretches(made) == [("PER", "Grace Hopper"), ("PER", "Ada"), ("LOC", "Rome")]
    with pytest.raises(BadSettings, match="two different entities"):
        MentionReplacement(OWN[2:])


@settings(max_examples=200)
@given(
    st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=9).map(" ".join), max_size=5),
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=9).map(" ".join),
)
def test_near_duplicates_of_held_out_texts_are_found(texts: list[str], text: str) -> None:
    """The index finds the same near duplicates as a comparison with each text."""
    assert HeldOutTexts(texts).has_similar(text) == any(are_alike(split_words(own_text), split_words(text)) for own_text in texts)


def test_the_same_seed_makes_the_same_texts_and_none_that_is_held_out() -> None:
    """Each text is made once, near duplicates are counted, and the templates may yield fewer texts."""
    maker = templates.read(templates.BUILT_IN)
    free = generate([maker], 50, HeldOutTexts([]), seed=3)
    assert free == generate([maker], 50, HeldOutTexts([]), seed=3)
    assert free.texts != generate([maker], 50, HeldOutTexts([]), seed=4).texts
    assert len({text.text for text in free.texts}) == 50
    held_out = [text.text.upper() for text in free.texts[:20]]
    made = generate([maker], 50, HeldOutTexts(held_out), seed=3)
    assert made.num_similar >= 20
    assert not any(are_alike(split_words(text.text), split_words(other)) for text in made.texts for other in held_out)
    assert len(generate([MentionReplacement(OWN)], 50, HeldOutTexts([]), seed=0).texts) == 2


def test_written_texts_are_read_with_the_same_entities(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The readers of training data accept the file, and an existing file is not overwritten."""
    own = tmp_path / "own.conll"
    own.write_text("Ada\tB-PER\nmet\tO\nGrace\tB-PER\n\nin\tO\nRome\tB-LOC\n")
    first = tmp_path / "first.jsonl"
    synthesize(first, swap=[own], templates=[templates.BUILT_IN], count=40)
    data = read(first)
    assert isinstance(data, TaggedData)
    assert len(data.texts) >= 20
    assert set(data.labels) == {"PER", "ORG", "LOC"}
    assert "entities" in capsys.readouterr().out
    with pytest.raises(BadSettings, match="something already"):
        synthesize(first)
    synthesize(tmp_path / "second.jsonl", held_out=[first], count=20)
    assert not {text.text for text in read(tmp_path / "second.jsonl").texts} & {text.text for text in data.texts}
