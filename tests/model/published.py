"""Tiny models of every supported family as transformers publishes them: random weights, and a tokenizer of the family's kind."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

# Before any import of the library: nothing is asked of a hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Head = Literal["ForSequenceClassification", "ForTokenClassification", "ForMaskedLM", ""]
TEXTS = [
    "Ada Lovelace moved to London, and Grace Hopper to New York.",
    "I met Søren in Zürich yesterday!",
    "The train to São Paulo is late; nobody came.",
    "Did Mei Lin, of Graz, call? It's fine.",
    "Oslo is where Linus was born (in 1969).",
]
_NUM_PIECES = 300
_HEADS, _LAYERS = 4, 3
#: The shape of every family; the kernels have room for heads of 32 numbers.
SHAPE = {
    "hidden_size": 128,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": _HEADS,
    "intermediate_size": 448,
    "max_position_embeddings": 162,
}
_LAST = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
_ROBERTA = _LAST | {"type_vocab_size": 1}
# For each family its class, the kind of its tokenizer and what its configuration has beyond the shape.
_FAMILIES: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("Bert", "wordpiece", {}),
    "roberta": ("Roberta", "bytes", _ROBERTA),
    "xlm-roberta": ("XLMRoberta", "unigram", _ROBERTA),
    "camembert": ("Camembert", "unigram", _ROBERTA),
    "distilbert": ("DistilBert", "wordpiece", {"dim": 128, "n_layers": _LAYERS, "n_heads": _HEADS, "hidden_dim": 448}),
    "electra": ("Electra", "wordpiece", {"embedding_size": 64}),
    "mpnet": ("MPNet", "wordpiece", _LAST | {"pad_token_id": 1}),
    "modernbert": (
        "ModernBert",
        "bytes",
        _LAST | {"cls_token_id": 0, "sep_token_id": 2, "local_attention": 16, "global_attn_every_n_layers": 2},
    ),
    "deberta-v2": (
        "DebertaV2",
        "unigram",
        {
            "pad_token_id": 1, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 32,
            "norm_rel_ebd": "layer_norm", "share_att_key": True, "position_biased_input": False, "type_vocab_size": 0,
        },
    ),
    "nomic_bert": ("NomicBert", "wordpiece", {}),
    "gte": ("Gte", "unigram", {"pad_token_id": 1}),
}  # fmt: skip
#: The families whose classes transformers has, by `model_type`.
FAMILIES = tuple(_FAMILIES)


def publish_family(directory: Path, family: str, head: Head = "", *, labels: Sequence[str] = (), **config: Any) -> Path:
    """Write a model of a family of transformers, bare or with a head and its `labels`; return its directory.

    `config` changes the configuration: its shape, `problem_type` and whatever else the family has.
    """
    import transformers  # noqa: PLC0415  heavy

    name, kind, own = _FAMILIES[family]
    tokenizer = build_tokenizer(kind)
    if labels:
        config |= {"id2label": dict(enumerate(labels)), "label2id": {label: number for number, label in enumerate(labels)}}
    settings = {"vocab_size": len(tokenizer), **SHAPE, **own, **config}
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}{head or 'Model'}")(getattr(transformers, f"{name}Config")(**settings))
    with torch.no_grad():
        for parameter in model.parameters():
            # Larger than at birth, so that positions and labels count.
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@cache
def build_tokenizer(kind: str) -> Any:
    """Return a small tokenizer of transformers, trained on `TEXTS`: `wordpiece`, `bytes` (byte-level BPE) or `unigram`."""
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415  heavy

    tokenizer, names = {"wordpiece": _train_wordpiece, "bytes": _train_bytes, "unigram": _train_unigram}[kind]()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def _train_wordpiece() -> tuple[Tokenizer, dict[str, str]]:
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    tokenizer = Tokenizer(models.WordPiece(unk_token=names["unk_token"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=_NUM_PIECES, special_tokens=list(names.values())))
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", [("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer, names


_ROBERTA_NAMES = {
    "bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>",
    "cls_token": "<s>", "sep_token": "</s>",
}  # fmt: skip
_ROBERTA_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def _train_bytes() -> tuple[Tokenizer, dict[str, str]]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=_NUM_PIECES + 100, special_tokens=_ROBERTA_SPECIAL, initial_alphabet=alphabet)
    )
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    return tokenizer, _ROBERTA_NAMES


def _train_unigram() -> tuple[Tokenizer, dict[str, str]]:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=_NUM_PIECES, special_tokens=_ROBERTA_SPECIAL, unk_token=_ROBERTA_NAMES["unk_token"]
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> </s> $B </s>", [("<s>", 0), ("</s>", 2)])
    return tokenizer, _ROBERTA_NAMES
