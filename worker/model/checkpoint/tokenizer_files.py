"""Build a tokenizer as its publisher configured it: `tokenizer.json`, what `tokenizer_config.json` changes of it, or `vocab.txt`.

`transformers` builds a `BertTokenizer` from the vocabulary and from the settings in `tokenizer_config.json`, without the
normaliser in `tokenizer.json`. This module does the same, without `transformers`. Other tokenizers are as `tokenizer.json` has
them, and a setting that contradicts the file is obeyed, or refused by name.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import tokenizers
from tokenizers import normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

from worker.errors import BadModel
from worker.model.architectures.model2vec import read_sizes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_JSON, _CONFIG, _VOCABULARY = "tokenizer.json", "tokenizer_config.json", "vocab.txt"
_SPECIAL, _ADDED = "special_tokens_map.json", "added_tokens.json"
#: The files that say how a text becomes tokens.
TOKENIZER_FILES = (_JSON, _VOCABULARY, _CONFIG, _SPECIAL, _ADDED)
# The classes whose settings replace the normaliser; a directory that names none has a BERT's.
_BERT = frozenset({"BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MPNetTokenizer"})
# The class of a tokenizer by the family of the encoder, if no file names a class; other families have that of BERT.
_CLASSES = {
    "roberta": "RobertaTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "camembert": "CamembertTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
}
# Settings of these classes, and what `tokenizer.json` holds where the file agrees with the setting.
_SIGNS: Mapping[tuple[str, str, bool], bytes] = {
    ("DebertaV2Tokenizer", "do_lower_case", True): b'"Lowercase"',
    ("DebertaV2Tokenizer", "split_by_punct", True): b'"Punctuation"',
    ("XLMRobertaTokenizer", "add_prefix_space", False): b'"never"',
    ("CamembertTokenizer", "add_prefix_space", False): b'"never"',
}
# The special tokens of BERT by their names in the configuration, in the order in which they are added.
_NAMES = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]"}
# The flags of an added token.
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
# The special tokens around a text.
_NUM_SPECIAL = 2
_CONVERT = f"Write {_JSON} with `AutoTokenizer.from_pretrained(…).save_pretrained(…)`, which may need the package sentencepiece"


def build_tokenizer(directory: Path, *, is_lowercased: bool = False) -> tokenizers.Tokenizer:
    """Return the tokenizer of a published directory; with `is_lowercased` texts are lower-cased before all else.

    Raises `BadModel` where a file is missing or broken, and for a setting that is not obeyed.
    """
    try:
        config, encoder = _read(directory / _CONFIG), _read(directory / "config.json") or {}
        if encoder.get("model_type") == "model2vec":
            return _build_static(directory)
        name = (
            (config or {}).get("tokenizer_class") or encoder.get("tokenizer_class") or _CLASSES.get(str(encoder.get("model_type")))
        )
        is_bert = name is None or name.removesuffix("Fast") in _BERT
        backend = _backend(directory, config, name, is_bert=is_bert)
        backend.no_padding()
        if is_bert and isinstance(backend.model, WordPiece):
            backend.normalizer = _normalizer(config or {})
            backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        _check(directory, config or {}, backend)
        _obey_added(config or {}, backend)
        _obey_class(directory, config or {}, backend, str(name).removesuffix("Fast"))
    except BadModel:
        raise
    except Exception as error:  # the library raises bare Exception for every fault of the file
        raise BadModel(f"{directory}: its tokenizer cannot be read: {error}") from error
    if is_lowercased:
        first = [normalizers.Lowercase()]
        backend.normalizer = normalizers.Sequence([*first, backend.normalizer] if backend.normalizer else first)
    if (config or {}).get("split_special_tokens"):
        backend.encode_special_tokens = True
    return backend


def _build_static(directory: Path) -> tokenizers.Tokenizer:
    """Return the tokenizer of a Model2Vec, which has no special tokens: around a text are places that count for nothing."""
    backend = tokenizers.Tokenizer.from_file(str(directory / _JSON))
    empty = ("<empty>", read_sizes(directory)["vocab_size"] - 1)
    backend.post_processor = processors.TemplateProcessing(single=f"{empty[0]} $A {empty[0]}", special_tokens=[empty])
    return backend


def read_max_tokens(directory: Path) -> int | None:
    """Return the longest text that `tokenizer_config.json` allows, in tokens; None where the file does not say."""
    try:
        length = (_read(directory / _CONFIG) or {}).get("model_max_length")
    except (OSError, ValueError, RecursionError) as error:
        raise BadModel(f"{directory / _CONFIG}: {error}") from error
    # A number beyond any text stands for none.
    return int(length) if isinstance(length, int | float) and _NUM_SPECIAL < length < math.inf else None


def _backend(directory: Path, config: Mapping[str, Any] | None, name: str | None, *, is_bert: bool) -> tokenizers.Tokenizer:
    if (directory / _JSON).exists():
        return tokenizers.Tokenizer.from_file(str(directory / _JSON))
    if not (directory / _VOCABULARY).exists():
        raise BadModel(f"{directory}: there is neither {_JSON} nor {_VOCABULARY}. {_CONVERT}")
    if not is_bert:
        raise BadModel(f"{directory}: the tokenizer is a {name}, which is read from {_JSON} alone, and there is none. {_CONVERT}")
    settings = {**(_read(directory / _SPECIAL) or {}), **(config or {})}
    special = {key: _content(settings.get(key)) or default for key, default in _NAMES.items()}
    backend = tokenizers.Tokenizer(WordPiece.from_file(str(directory / _VOCABULARY), unk_token=special["unk_token"]))
    backend.normalizer = _normalizer(config or {})
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    opening, closing = special["cls_token"], special["sep_token"]
    opening_id, closing_id = backend.token_to_id(opening), backend.token_to_id(closing)
    if opening_id is None or closing_id is None:
        raise BadModel(f"{directory / _VOCABULARY}: {opening} or {closing} is not in the vocabulary")
    backend.post_processor = processors.BertProcessing((closing, closing_id), (opening, opening_id))
    backend.add_special_tokens([token for token in special.values() if backend.token_to_id(token) is not None])
    return backend


def _normalizer(config: Mapping[str, Any]) -> normalizers.Normalizer:
    """Return the normaliser of BERT with the settings of a configuration, and the defaults of `transformers`."""
    return normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=config.get("tokenize_chinese_chars", True),
        strip_accents=config.get("strip_accents"),
        lowercase=config.get("do_lower_case", True),
    )


def _check(directory: Path, config: Mapping[str, Any], backend: tokenizers.Tokenizer) -> None:
    """Raise `BadModel` where `tokenizer_config.json` asks for what the tokenizer does not do."""
    path = directory / _CONFIG
    side = config.get("truncation_side") or (backend.truncation or {}).get("direction", "right")
    if side == "left":
        raise BadModel(f"{path}: truncation_side 'left' is not supported: the end of a long text is truncated here")
    for token, number in _added(directory, config):
        found = backend.token_to_id(token)
        if found is None or number not in (None, found):
            raise BadModel(
                f"{path}: the token {token!r} is added there{'' if number is None else f' as {number}'}, and {_JSON} lacks it"
            )
    ids = backend.encode("").ids
    if len(ids) != _NUM_SPECIAL:
        raise BadModel(f"{directory}: the tokenizer puts {len(ids)} special tokens around a text, and {_NUM_SPECIAL} are needed")
    unknown = backend.token_to_id(str(getattr(backend.model, "unk_token", None)))
    for key, number in (("cls_token", ids[0]), ("sep_token", ids[-1]), ("unk_token", unknown)):
        if number is None:
            continue
        named = _content(config.get(key))
        if named is not None and backend.token_to_id(named) != number:
            raise BadModel(f"{path}: {key} is {named!r}, and {_JSON} puts {backend.id_to_token(number)!r} there")


def _obey_added(config: Mapping[str, Any], backend: tokenizers.Tokenizer) -> None:
    """Let added tokens take the spaces around them, and be parts of words or not, as `tokenizer_config.json` says."""
    described = [token for token in (config.get("added_tokens_decoder") or {}).values() if isinstance(token, dict)]
    added = [
        tokenizers.AddedToken(token["content"], **{flag: token[flag] for flag in _FLAGS if flag in token}) for token in described
    ]
    backend.add_tokens([token for token in added if not token.special])
    backend.add_special_tokens([token for token in added if token.special])


def _obey_class(directory: Path, config: Mapping[str, Any], backend: tokenizers.Tokenizer, name: str) -> None:
    """Follow the settings of a class without BERT's; raises `BadModel` for a setting that `tokenizer.json` contradicts."""
    if name == "RobertaTokenizer" and isinstance(backend.pre_tokenizer, pre_tokenizers.ByteLevel):
        has_space, empty = bool(config.get("add_prefix_space")), backend.encode("")
        opening, closing = zip(empty.tokens, empty.ids, strict=True)
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=has_space)
        backend.post_processor = processors.RobertaProcessing(closing, opening, add_prefix_space=has_space)
    # The state of a part is its object in `tokenizer.json`.
    parts = b"".join(part.__getstate__() for part in (backend.normalizer, backend.pre_tokenizer) if part)
    for (owner, key, value), sign in _SIGNS.items():
        if name == owner and config.get(key) is value and sign not in parts:
            raise BadModel(
                f"{directory / _CONFIG}: {key} is {value}, and {_JSON} contradicts it: write the file again with `save_pretrained`"
            )


def _added(directory: Path, config: Mapping[str, Any]) -> Iterator[tuple[str, int | None]]:
    """Yield the tokens that are added to the vocabulary, with their ids where these are given."""
    for number, token in (config.get("added_tokens_decoder") or {}).items():
        yield str(_content(token)), int(number)
    for token, number in (_read(directory / _ADDED) or {}).items():
        yield token, number
    for settings in (config, _read(directory / _SPECIAL) or {}):
        for key in ("additional_special_tokens", "extra_special_tokens"):
            tokens = settings.get(key) or []
            for token in tokens.values() if isinstance(tokens, dict) else tokens:
                yield str(_content(token)), None


def _content(token: Any) -> str | None:
    """Return the text of a token, which is written as a string or as an object."""
    found = token.get("content") if isinstance(token, dict) else token
    return None if found is None else str(found)


def _read(path: Path) -> dict[str, Any] | None:
    """Return the object in a file of JSON; None where there is no file."""
    if not path.exists():
        return None
    found = json.loads(path.read_bytes())
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} is not an object of JSON")  # noqa: TRY004  what `json.loads` raises
    return found
