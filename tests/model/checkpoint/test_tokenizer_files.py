"""Tokens are those of transformers, whatever a publisher's files say of the tokenizer, or the files are refused."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.model.checkpoint.published import MINILM, rewrite
from tests.model.published import build_tokenizer as build_published
from worker.errors import BadModel
from worker.model.checkpoint.tokenizer_files import build_tokenizer, read_max_tokens

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.model
TEXTS = ["The café's NAÏVE waiter", "日本 Paris", "Müller [MASK] mu\u0308ller", "  x\u200by\tz ", "", "Ünïcode İSTANBUL ΟΔΟΣ"]
SETTINGS: list[dict[str, Any]] = [
    {},
    {"do_lower_case": False},
    {"do_lower_case": True, "strip_accents": False},
    {"do_lower_case": False, "strip_accents": True},
    {"tokenize_chinese_chars": False},
    {"tokenizer_class": "BertTokenizerFast", "do_lower_case": False},
    {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": False},
    {"tokenizer_class": None, "do_lower_case": False},
    {"tokenizer_class": "DistilBertTokenizer", "do_lower_case": False},
    {"do_lower_case": None},
    {"split_special_tokens": True},
    {"cls_token": {"__type": "AddedToken", "content": "[CLS]", "lstrip": False}},
    {"added_tokens_decoder": {"103": {"content": "[MASK]", "special": True}}},
    {"additional_special_tokens": ["[unused1]"]},
]
CASED = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": False}
NORMALIZERS: list[dict[str, Any] | None] = [
    None,
    CASED,
    {"type": "Lowercase"},
    {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, CASED]},
]


def written(directory: Path, settings: dict[str, Any], normalizer: dict[str, Any] | None = None, *, has_json: bool = True) -> Path:
    """Write the tokenizer of MiniLM with other settings, and another normaliser in `tokenizer.json`."""
    for name in ("config.json", "tokenizer_config.json", *(["tokenizer.json"] if has_json else ["vocab.txt"])):
        shutil.copy(MINILM / name, directory)
    rewrite(directory / "tokenizer_config.json", **settings)
    if normalizer is not None:
        rewrite(directory / "tokenizer.json", normalizer=normalizer)
    return directory


def assert_same(directory: Path) -> None:
    """Fail where our tokens or their places are not those of transformers."""
    from transformers import AutoTokenizer  # noqa: PLC0415  heavy

    theirs, ours = AutoTokenizer.from_pretrained(directory), build_tokenizer(directory)
    for text in TEXTS:
        found = ours.encode(text)
        expected = theirs(text, return_offsets_mapping=True)
        assert found.ids == expected["input_ids"]
        assert found.offsets == expected["offset_mapping"]


@pytest.mark.parametrize("normalizer", NORMALIZERS, ids=["as published", "cased", "lower", "both"])
@pytest.mark.parametrize("settings", SETTINGS, ids=json.dumps)
def test_tokens_are_those_of_transformers(tmp_path: Path, settings: dict[str, Any], normalizer: dict[str, Any] | None) -> None:
    """Where `tokenizer_config.json` and `tokenizer.json` contradict each other, too."""
    assert_same(written(tmp_path, settings, normalizer))


@pytest.mark.parametrize(
    "settings", [settings for settings in SETTINGS if "PreTrained" not in str(settings.get("tokenizer_class"))], ids=json.dumps
)
def test_an_old_directory_is_read_as_transformers_does(tmp_path: Path, settings: dict[str, Any]) -> None:
    """One with a vocabulary alone."""
    assert_same(written(tmp_path, settings, has_json=False))


def test_a_vocabulary_is_enough(tmp_path: Path) -> None:
    """Without any configuration, the defaults of BERT hold."""
    shutil.copy(MINILM / "vocab.txt", tmp_path)
    shutil.copy(MINILM / "config.json", tmp_path)
    assert_same(tmp_path)


@pytest.mark.parametrize(
    ("settings", "has_json", "reason"),
    [
        ({"truncation_side": "left"}, True, "truncation_side 'left'"),
        ({"added_tokens_decoder": {"103": {"content": "[NEW]"}}}, True, r"'\[NEW\]' is added there as 103"),
        ({"added_tokens_decoder": {"7": {"content": "[MASK]"}}}, True, r"'\[MASK\]' is added there as 7"),
        ({"additional_special_tokens": ["<q>"]}, True, "'<q>' is added there"),
        ({"cls_token": "[MASK]"}, True, r"cls_token is '\[MASK\]'"),
        ({"tokenizer_class": "BertJapaneseTokenizer"}, False, "the tokenizer is a BertJapaneseTokenizer"),
        ({"cls_token": "<s>"}, False, "<s> or .* is not in the vocabulary"),
        ({"do_lower_case": "yes"}, True, "cannot be read"),
    ],
)
def test_a_setting_that_is_not_obeyed_is_refused(tmp_path: Path, settings: dict[str, Any], reason: str, *, has_json: bool) -> None:
    """By its name."""
    with pytest.raises(BadModel, match=reason):
        build_tokenizer(written(tmp_path, settings, has_json=has_json))


def test_a_tokenizer_without_special_tokens_is_refused(tmp_path: Path) -> None:
    """Truncation and windows keep the first and the last token of a text as special ones."""
    written(tmp_path, {"tokenizer_class": "PreTrainedTokenizerFast"})
    found = json.loads((tmp_path / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps(found | {"post_processor": None}))
    with pytest.raises(BadModel, match="puts 0 special tokens around a text"):
        build_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("length", "expected"), [(77, 77), (1e30, int(1e30)), (None, None), (0, None), ("x", None), (float("inf"), None)]
)
def test_the_longest_text_is_read(tmp_path: Path, length: object, expected: int | None) -> None:
    """A number, or none."""
    written(tmp_path, {"model_max_length": length})
    assert read_max_tokens(tmp_path) == expected


def test_texts_are_lower_cased_first_where_that_is_asked_for(tmp_path: Path) -> None:
    """Their places are those in the text as it was."""
    backend = build_tokenizer(written(tmp_path, {"do_lower_case": False}), is_lowercased=True)
    encoding = backend.encode("PARIS İstanbul")
    assert encoding.tokens[1] == "paris"
    assert encoding.offsets[1] == (0, 5)
    assert max(end for _, end in encoding.offsets) <= len("PARIS İstanbul")


@pytest.mark.parametrize("normalizer", [CASED, {"type": "Sequence", "normalizers": [{"type": "NFKC"}, CASED]}])
def test_without_settings_the_defaults_of_the_class_hold(tmp_path: Path, normalizer: dict[str, Any]) -> None:
    """A directory without `tokenizer_config.json` has the tokens of transformers, whatever its normaliser says."""
    written(tmp_path, {}, normalizer)
    (tmp_path / "tokenizer_config.json").unlink()
    assert_same(tmp_path)


def test_special_tokens_in_a_map_of_their_own_are_compared(tmp_path: Path) -> None:
    """A token that transformers would add is refused by name."""
    written(tmp_path, {})
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"additional_special_tokens": ["<TAG>"]}))
    with pytest.raises(BadModel, match="<TAG>"):
        build_tokenizer(tmp_path)


def test_another_token_for_the_unknown_is_refused(tmp_path: Path) -> None:
    """The vocabulary decides, and a configuration that names another token is not ignored."""
    written(tmp_path, {"unk_token": "[MASK]"})
    with pytest.raises(BadModel, match="unk_token"):
        build_tokenizer(tmp_path)


OTHER_CLASSES: list[tuple[str, str, str, dict[str, Any], str | None]] = [
    ("wordpiece", "mpnet", "MPNetTokenizer", {"do_lower_case": False}, None),
    ("wordpiece", "mpnet", "MPNetTokenizerFast", {"strip_accents": False}, None),
    ("bytes", "roberta", "RobertaTokenizer", {"add_prefix_space": True}, None),
    ("bytes", "roberta", "RobertaTokenizerFast", {"add_prefix_space": False}, None),
    ("bytes", "roberta", "PreTrainedTokenizerFast", {"add_prefix_space": True}, None),
    ("unigram", "deberta-v2", "DebertaV2Tokenizer", {"do_lower_case": False, "split_by_punct": False}, None),
    ("unigram", "deberta-v2", "DebertaV2Tokenizer", {"do_lower_case": True}, "do_lower_case is True"),
    ("unigram", "deberta-v2", "DebertaV2TokenizerFast", {"split_by_punct": True}, "split_by_punct is True"),
    ("unigram", "xlm-roberta", "XLMRobertaTokenizer", {"add_prefix_space": False}, "add_prefix_space is False"),
    ("unigram", "camembert", "", {"add_prefix_space": False}, "add_prefix_space is False"),
]


@pytest.mark.parametrize(("kind", "family", "name", "settings", "reason"), OTHER_CLASSES)
def test_settings_of_other_classes_are_obeyed_or_refused(
    tmp_path: Path, kind: str, family: str, name: str, settings: dict[str, Any], reason: str | None
) -> None:
    """A setting that contradicts `tokenizer.json` is not ignored, and a family without a class has the class of transformers."""
    from transformers import AutoTokenizer  # noqa: PLC0415  heavy

    build_published(kind).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
    rewrite(tmp_path / "tokenizer_config.json", tokenizer_class=name or None, **settings)
    if reason is not None:
        with pytest.raises(BadModel, match=rf"tokenizer_config\.json: {reason}, and tokenizer\.json contradicts it"):
            build_tokenizer(tmp_path)
        return
    theirs, ours = AutoTokenizer.from_pretrained(tmp_path), build_tokenizer(tmp_path)
    for text in ("The café's NAÏVE waiter", " London", "Müller in Zürich", ""):
        expected = theirs(text, return_offsets_mapping=True)
        assert ours.encode(text).ids == expected["input_ids"]
        assert ours.encode(text).offsets == expected["offset_mapping"]


@pytest.mark.parametrize("flag", ["lstrip", "rstrip", "single_word", "normalized"])
@pytest.mark.parametrize("kind", ["bytes", "unigram"])
def test_an_added_token_takes_the_characters_around_it_as_configured(tmp_path: Path, kind: str, flag: str) -> None:
    """`tokenizer_config.json` decides, as in transformers, and not the same token in `tokenizer.json`."""
    from transformers import AutoTokenizer  # noqa: PLC0415  heavy

    build_published(kind).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "roberta"}))
    flags = dict.fromkeys(("lstrip", "rstrip", "single_word", "normalized"), False) | {flag: True, "special": True}
    rewrite(tmp_path / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    rewrite(tmp_path / "tokenizer_config.json", added_tokens_decoder={"4": {"content": "<mask>", **flags}})
    theirs, ours = AutoTokenizer.from_pretrained(tmp_path), build_tokenizer(tmp_path)
    for text in ("Paris <mask> London", "x<mask>y"):
        expected = theirs(text, return_offsets_mapping=True)
        assert (ours.encode(text).ids, ours.encode(text).offsets) == (expected["input_ids"], expected["offset_mapping"])
