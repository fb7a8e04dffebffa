"""The engine: the same answer in any company, only what was asked for, and never NaN."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.makers import record
from tests.model.backends import tensors
from tests.model.conftest import MINILM
from worker.batches import LIVE_PASS, PassContext
from worker.composition.model import load_engine
from worker.errors import BadModel
from worker.model.checkpoint import checkpoint
from worker.model.engine import Engine
from worker.model.heads.head_config import HeadConfig
from worker.model.heads.heads import Head, attended
from worker.model.outputs import predictions as module
from worker.model.text.packing import pack
from worker.model.text.windows import Windowing
from worker.records import Item, Task, TokenizedItem, Tokens
from worker.settings import DEFAULT_MODEL, read

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from worker.model.backends.choice import BackendName, Results
    from worker.model.heads.readout import Readout
    from worker.model.processor.devices import Dtype
    from worker.model.text.packing import Packed
    from worker.records import Prediction

pytestmark = pytest.mark.model
ALL = frozenset(Task)
ENGINE = Engine.load(DEFAULT_MODEL, device="cpu", dtype="float32", threads=2)
WINDOWED = Engine.load(
    DEFAULT_MODEL, device="cpu", dtype="float32", threads=2, windowing=Windowing(overlap_tokens=32, max_windows=4)
)
TEXTS = ["Ada Lovelace moved to London.", "Awful. I hated every minute.", "ok", "A lovely day in Paris with Marie Curie " * 9]


def infer(engine: Engine, texts: Sequence[str], tasks: frozenset[Task] = ALL) -> list[Prediction]:
    """Tokenize and infer in one batch."""
    items = [Item(record(n), "", text, tasks) for n, text in enumerate(texts)]
    return engine.infer([TokenizedItem(*pair) for pair in zip(items, engine.tokenize(texts), strict=True)])


@pytest.mark.parametrize("dtype", ["float32", "auto"])
def test_passes_beside_each_other_say_what_one_alone_says(dtype: Dtype) -> None:
    """With as many threads as remain for each, and each with the numbers of its own texts; on tile registers, too."""
    engine = Engine.load(DEFAULT_MODEL, device="cpu", dtype=dtype, threads=2)
    assert engine.max_passes == 2
    batches = [[f"{text} Number {n}." for text in TEXTS] for n in range(12)]
    with ThreadPoolExecutor(engine.max_passes) as threads:
        found = list(threads.map(partial(infer, engine), batches))
    is_rounded = "float32" not in engine.description
    for texts, predictions in zip(batches, found, strict=True):
        for one, other in zip(infer(engine, texts), predictions, strict=True):
            np.testing.assert_allclose(vector(one), vector(other), atol=2e-2 if is_rounded else 1e-5)
            assert is_rounded or spans(one) == spans(other)


def vector(prediction: Prediction) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the embedding."""
    assert prediction.embedding is not None
    return prediction.embedding


def spans(prediction: Prediction) -> list[tuple[str, int, int]]:
    """Return type and place of the entities."""
    return [(entity.type, entity.start, entity.end) for entity in prediction.entities or ()]


def test_sentence_vectors_are_those_of_the_published_configuration(minilm: Path) -> None:
    """The normalised mean over the reference's last states."""
    from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415  heavy

    model, tokenizer = AutoModel.from_pretrained(minilm).eval(), AutoTokenizer.from_pretrained(minilm)
    for text, prediction in zip(TEXTS, infer(ENGINE, TEXTS), strict=True):
        with torch.inference_mode():
            states = model(
                **tokenizer(text, return_tensors="pt", truncation=True, max_length=256, padding=False)
            ).last_hidden_state[0]
        expected = torch.nn.functional.normalize(states.mean(0), dim=0)
        np.testing.assert_allclose(vector(prediction), expected.numpy(), atol=1e-5)


def test_gists_shape_gives_the_first_tokens_vector(gist_shaped: Path) -> None:
    """CLS pooling, as its configuration says."""
    from transformers import AutoModel  # noqa: PLC0415  heavy

    engine = Engine.load(str(gist_shaped), device="cpu", dtype="float32")
    ids = torch.tensor([engine.tokenize(["hello there"])[0].ids.tolist()])
    with torch.inference_mode():
        first = AutoModel.from_pretrained(gist_shaped, add_pooling_layer=False).eval()(ids).last_hidden_state[0, 0]
    np.testing.assert_allclose(
        vector(infer(engine, ["hello there"], frozenset({Task.EMBED}))[0]),
        torch.nn.functional.normalize(first, dim=0).numpy(),
        atol=1e-5,
    )
    assert engine.tasks == {Task.EMBED}


@settings(max_examples=15)
@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=8))
def test_company_does_not_matter(texts: list[str]) -> None:
    """A text alone and the same text in a batch have the same vector, label and entities."""
    alone = {text: infer(ENGINE, [text])[0] for text in set(texts)}
    for text, prediction in zip(texts, infer(ENGINE, texts), strict=True):
        np.testing.assert_allclose(vector(prediction), vector(alone[text]), atol=1e-5)
        assert prediction.labels is not None
        assert prediction.labels["sentiment"].label == (alone[text].labels or {})["sentiment"].label
        assert spans(prediction) == spans(alone[text])


def test_the_shipped_heads_see_the_obvious() -> None:
    """Plain sentiments and plain names."""
    good, bad = infer(ENGINE, ["What a wonderful, moving film. I loved it.", "A boring, terrible mess. Avoid it."])
    assert good.labels is not None
    assert bad.labels is not None
    assert (good.labels["sentiment"].label, bad.labels["sentiment"].label) == ("positive", "negative")
    names = infer(ENGINE, ["Angela Merkel met Emmanuel Macron in Berlin."])[0].entities or ()
    assert {(entity.type, entity.text) for entity in names} >= {("PER", "Angela Merkel"), ("LOC", "Berlin")}


def test_only_what_was_asked_for_is_answered() -> None:
    """Each text of a batch gets its own tasks and no others."""
    wanted = [frozenset({Task.EMBED}), frozenset({Task.CLASSIFY}), frozenset({Task.NER})]
    items = [Item(record(n), "", "Ada", tasks) for n, tasks in enumerate(wanted)]
    tokens = ENGINE.tokenize(["Ada"] * 3)
    embedded, labelled, tagged = ENGINE.infer([TokenizedItem(*pair) for pair in zip(items, tokens, strict=True)])
    assert (embedded.embedding is not None, embedded.labels, embedded.entities) == (True, None, None)
    assert (labelled.embedding, labelled.labels is not None, labelled.entities) == (None, True, None)
    assert (tagged.embedding, tagged.labels, tagged.entities is not None) == (None, None, True)


def test_bfloat16_is_close_to_float32() -> None:
    """Cosine of at least .999 for each text."""
    rounded = Engine.load(DEFAULT_MODEL, device="cpu", dtype="bfloat16")
    for exact, other in zip(infer(ENGINE, TEXTS), infer(rounded, TEXTS), strict=True):
        assert float(vector(exact) @ vector(other)) >= 0.999


def test_numbers_that_are_not_finite_fail_their_own_text_and_task_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The neighbours are answered, and no NaN comes out."""
    engine = Engine.load(DEFAULT_MODEL, device="cpu", dtype="float32")
    collect = engine._model.collect

    def poisoned(*args: Any, **options: Any) -> Any:
        outputs: Any = collect(*args, **options)
        outputs.vectors[1] = float("nan")
        # A head that reads tokens has rows for each of a text; the last is the last text's.
        outputs.logits["sentiment"][-1] = float("inf")
        return outputs

    monkeypatch.setattr(engine._model, "collect", poisoned)
    first, second, third = infer(engine, ["a", "b", "c"])
    assert first.failures == ()
    assert (second.embedding, [failure.task for failure in second.failures]) == (None, [Task.EMBED])
    assert second.labels is not None
    assert (third.labels, [failure.task for failure in third.failures]) == (None, [Task.CLASSIFY])
    assert np.isfinite(vector(third)).all()
    assert "not finite" in second.failures[0].message


@pytest.mark.parametrize("dtype", ["float32", "int16", "bfloat16", "int8"])
@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_of_a_word_that_are_not_finite_fail_its_texts_only(backend: BackendName, dtype: Dtype, value: float) -> None:
    """Texts that hold the word fail in each arithmetic, and those packed beside them do not."""
    loaded = checkpoint.load(DEFAULT_MODEL)
    word = int(loaded.tokenizer.encode(["zebra"])[0].ids[1])
    words = loaded.weights.arrays["words.weight"].copy()
    words[word, 5] = value
    loaded = replace(loaded, weights=replace(loaded.weights, arrays={**loaded.weights.arrays, "words.weight": words}))
    engine = Engine.from_checkpoint(loaded, device="cpu", dtype="float32" if backend == "eager" else dtype, backend=backend)
    texts = ["a good film", "a zebra", "two bad films", "zebra", "the end of the film", "some more words than the others have"]
    found = infer(engine, texts)
    assert [bool(prediction.failures) for prediction in found] == ["zebra" in text for text in texts]
    assert all(
        prediction.embedding is None and prediction.labels is None and prediction.entities is None
        for prediction in found
        if prediction.failures
    )


def test_a_head_that_raises_costs_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it raises."""

    def broken(*_args: object) -> None:
        raise KeyError("broken head")

    monkeypatch.setattr(module, "entities", broken)
    prediction = infer(ENGINE, ["Ada"])[0]
    assert (prediction.entities, prediction.failures[0].error, prediction.failures[0].task) == (None, "KeyError", Task.NER)
    assert prediction.labels is not None


def test_warming_up_notices_a_model_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first record comes."""
    ENGINE.warm_up()
    monkeypatch.setattr(module, "entities", lambda *_args: 1 / 0)
    with pytest.raises(BadModel, match="fails on the warm-up text"):
        ENGINE.warm_up()


def test_a_warm_up_runs_the_batches_that_the_backend_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a short and a long text, through every head."""
    engine, seen = Engine.load(DEFAULT_MODEL, device="cpu", dtype="float32", threads=2), []
    monkeypatch.setattr(engine.backend, "warm_lengths", [[4, 4], [130, 8]])
    begin = engine.backend.begin

    def watched(packed: Packed, readings: Sequence[Readout], context: PassContext = LIVE_PASS) -> Results:
        seen.append((packed.lengths.tolist(), len(readings)))
        return begin(packed, readings, context)

    monkeypatch.setattr(engine.backend, "begin", watched)
    engine.warm_up()
    assert seen[1:] == [([4, 4], 3), ([130, 8], 3)]
    assert seen[0][0][1] == engine.max_tokens


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the way out."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadModel, match="no CUDA device"):
        Engine.load(MINILM, device="cuda")
    assert Engine.load(MINILM, device="auto").backend.device_type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_vectors() -> None:
    """Within the rounding of its number format."""
    for exact, other in zip(infer(ENGINE, TEXTS), infer(Engine.load(DEFAULT_MODEL, device="cuda"), TEXTS), strict=True):
        assert float(vector(exact) @ vector(other)) >= 0.999


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_passes_on_a_gpu_are_prepared_beside_each_other() -> None:
    """One computes while another is prepared, and none gets what the other overwrites; nothing is captured after the warm-up."""
    engine = Engine.load(DEFAULT_MODEL, device="cuda")
    engine.warm_up()
    assert engine.max_passes == 2
    batches = [[f"{text} Number {n}." for text in TEXTS[: 1 + n % 4]] for n in range(40)]
    began = torch.cuda.memory_allocated()
    with ThreadPoolExecutor(engine.max_passes) as threads:
        found = list(threads.map(partial(infer, engine), batches))
    assert torch.cuda.memory_allocated() == began
    for texts, predictions in zip(batches, found, strict=True):
        for exact, other in zip(infer(ENGINE, texts), predictions, strict=True):
            assert float(vector(exact) @ vector(other)) >= 0.999


# Plain words that are one token each, and nobody's name.
FILLER = "the weather was fine and the road was long and then it was dark again but we went on"


def story(num_words: int, *names: tuple[int, str]) -> str:
    """Return a text of so many words, where a sentence about somebody begins at some of them."""
    words = (FILLER.split() * (num_words // 18 + 1))[:num_words]
    for place, name in names:
        sentence = f". {name} lives in Berlin .".split()
        words[place : place + len(sentence)] = sentence
    return " ".join(words)


def parts(tokens: Tokens) -> list[Tokens]:
    """Return the windows of a text as texts of their own."""
    places = [[0, *range(window.start, window.end), len(tokens) - 1] for window in tokens.windows]
    return [Tokens(tokens.ids[place], tokens.spans[place], tokens.words[place], truncated=False) for place in places]


def infer_tokens(engine: Engine, text: str, tokens: Sequence[Tokens]) -> list[Prediction]:
    """Infer in one batch what was tokenized from one text."""
    return engine.infer([TokenizedItem(Item(record(n), "", text, ALL), text_tokens) for n, text_tokens in enumerate(tokens)])


@torch.inference_mode()
def test_a_long_text_is_the_mean_of_its_windows() -> None:
    """By tokens: the vector, normalised again; labels from all tokens; a short text beside it stays as it is."""
    short, long = WINDOWED.tokenize(["Ada Lovelace moved to London.", story(600)])
    assert (len(long), len(long.windows), long.truncated) == (602, 3, False)
    beside, whole = infer_tokens(WINDOWED, "Ada Lovelace moved to London.", [short, long])
    alone, *windows = infer_tokens(ENGINE, "Ada Lovelace moved to London.", [short, *parts(long)])
    assert vector(beside).tobytes() == vector(alone).tobytes()
    assert (beside.labels, beside.entities) == (alone.labels, alone.entities)
    weights = [len(part) for part in parts(long)]
    mean = np.average([vector(prediction) for prediction in windows], axis=0, weights=weights)
    np.testing.assert_allclose(vector(whole), mean / np.linalg.norm(mean), atol=1e-6)
    packed = pack([part.ids for part in parts(long)])
    (logits,) = tensors.read(ENGINE.backend, packed, ENGINE._readings(is_embedding=False, heads=("sentiment",)))
    # Each token is read from one window, in which the opening special token stands before the first.
    rows = [
        slice(*(first + place - window.start + 1 for place in (window.read_start, window.read_end)))
        for window, first in zip(long.windows, packed.cu_seqlens.tolist(), strict=False)
    ]
    said = attended(torch.cat([logits[row] for row in rows]), torch.tensor([0, len(long)]))
    assert (whole.labels or {})["sentiment"].scores["positive"] == pytest.approx(float(said.sigmoid()), abs=1e-5)


def test_each_window_keeps_its_vector() -> None:
    """The vectors of windows are those of the parts alone, and a short text has none."""
    short, long = WINDOWED.tokenize(["Ada Lovelace moved to London.", story(600)])
    beside, whole = infer_tokens(WINDOWED, "story", [short, long])
    assert beside.window_vectors is None
    assert whole.window_vectors is not None
    expected = [vector(prediction) for prediction in infer_tokens(ENGINE, "story", parts(long))]
    np.testing.assert_allclose(whole.window_vectors, expected, atol=1e-6)


def test_labels_from_pooled_states_are_the_mean_of_windows() -> None:
    """Of the logits, by tokens."""
    torch.manual_seed(0)
    head = Head(HeadConfig(name="pooled", task="classify", labels=("no", "yes"), layers=(6,)), 384)
    engines = []
    for windowing in (None, Windowing(overlap_tokens=32, max_windows=4)):
        loaded = checkpoint.load(DEFAULT_MODEL, windowing=windowing)
        loaded.heads.heads["pooled"] = head.to_weights()
        engines.append(Engine.from_checkpoint(loaded, device="cpu", dtype="float32", backend="eager"))
    plain, windowed = engines
    (long,) = windowed.tokenize([story(600)])
    (whole,), windows = infer_tokens(windowed, "story", [long]), infer_tokens(plain, "story", parts(long))
    scores = [(prediction.labels or {})["pooled"].scores["yes"] for prediction in windows]
    logit = np.average([np.log(score / (1 - score)) for score in scores], weights=[len(part) for part in parts(long)])
    assert (whole.labels or {})["pooled"].scores["yes"] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)


@pytest.mark.parametrize("place", [3, 200, 222, 223, 224, 230, 400])
def test_a_name_is_found_once_wherever_it_stands(place: int) -> None:
    """In characters of the whole text."""
    text = story(450, (place, "Barack Obama"))
    name, city = text.index("Barack Obama"), text.index("Berlin")
    assert spans(infer(WINDOWED, [text])[0]) == [("PER", name, name + 12), ("LOC", city, city + 6)]


def test_a_name_across_a_seam_is_one() -> None:
    """Its first word is read from one window, its second from the next."""
    text = story(450, (223, "Barack Obama"))
    tokens = WINDOWED.tokenize([text])[0]
    first, second = tokens.windows
    words = [text[start:end] for start, end in tokens.spans[[first.read_end - 1, second.read_start]]]
    assert words == ["Barack", "Obama"]
    assert [entity.text for entity in infer(WINDOWED, [text])[0].entities or ()] == ["Barack Obama", "Berlin"]


def test_a_text_that_just_fits_is_not_cut() -> None:
    """It says the same with windows and without; one token more makes two."""
    fits, longer = story(254), story(255)
    tokens = WINDOWED.tokenize([fits, longer])
    assert [(len(text_tokens), len(text_tokens.windows)) for text_tokens in tokens] == [(256, 0), (257, 2)]
    one, other = infer(WINDOWED, [fits])[0], infer(ENGINE, [fits])[0]
    assert vector(one).tobytes() == vector(other).tobytes()
    assert (one.labels, one.entities) == (other.labels, other.entities)
    assert np.linalg.norm(vector(infer(WINDOWED, [longer])[0])) == pytest.approx(1)


def test_tokens_after_the_last_window_are_truncated() -> None:
    """And flagged; a name that stands there is not found."""
    (tokens,) = WINDOWED.tokenize([story(5000, (4900, "Barack Obama"))])
    assert (tokens.truncated, len(tokens.windows), len(tokens)) == (True, 4, 4 * (254 - 32) + 32 + 2)
    assert infer(WINDOWED, [story(5000, (4900, "Barack Obama"))])[0].entities == ()


@pytest.mark.parametrize("tasks", [frozenset({task}) for task in Task])
def test_a_long_text_is_asked_one_thing(tasks: frozenset[Task]) -> None:
    """Only that is computed."""
    prediction = infer(WINDOWED, [story(600), "ok"], tasks)[0]
    answers = (prediction.embedding, prediction.labels, prediction.entities)
    assert [answer is not None for answer in answers] == [task in tasks for task in (Task.EMBED, Task.CLASSIFY, Task.NER)]


def test_the_settings_decide_what_becomes_of_long_texts() -> None:
    """Cut by default; with windows, as many and as far over each other as they say."""
    flags = {"device": "cpu", "dtype": "float32", "threads": "2"}
    (cut,) = load_engine(read(flags)).tokenize([story(900)])
    assert (len(cut), cut.truncated, cut.windows) == (256, True, ())
    windowed = flags | {"long_text": "window", "window_overlap_tokens": "50", "max_windows": "3"}
    (read_on,) = load_engine(read(windowed)).tokenize([story(900)])
    assert (len(read_on), read_on.truncated, len(read_on.windows)) == (3 * (254 - 50) + 50 + 2, True, 3)


def test_the_description_is_for_people() -> None:
    """Device, number format and threads."""
    assert re.fullmatch(r"cpu float32 compiled \(\w+\), \d+ threads", ENGINE.description)
