"""The encoder against the reference implementation, alone and packed with any neighbours."""

from __future__ import annotations

import subprocess
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from worker.errors import BadModel
from worker.model.checkpoint.publication import read_config
from worker.model.encoder.encoder import Encoder, load_published
from worker.model.encoder.packed_tensors import PackedTensors
from worker.model.text.packing import pack

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.model
CPU = torch.device("cpu")


@lru_cache
def reference(directory: Path) -> Any:
    """Return the same model by transformers."""
    from transformers import AutoModel  # noqa: PLC0415  heavy

    return AutoModel.from_pretrained(directory, add_pooling_layer=False).eval()


@lru_cache
def encoder(directory: Path) -> Encoder:
    """Return ours."""
    return load_published(read_config(directory / "config.json"), directory / "model.safetensors")


@torch.inference_mode()
def ours(directory: Path, sequences: list[list[int]], dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Return the states after every layer, `[layers + 1, tokens, H]` for each text, all texts packed together."""
    packed = pack([np.array(sequence, dtype=np.int32) for sequence in sequences])
    model = encoder(directory)
    states = model(PackedTensors.from_packed(packed, device=CPU, dtype=dtype), range(model.config.num_hidden_layers + 1))
    stacked = torch.stack(list(states.values()))
    return list(torch.split(stacked, packed.lengths.tolist(), dim=1))


@torch.inference_mode()
def theirs(directory: Path, sequence: list[int]) -> torch.Tensor:
    """Return the same of one text, by the reference."""
    states = reference(directory)(torch.tensor([sequence]), output_hidden_states=True).hidden_states
    return torch.cat(states)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(1000, 29_000), min_size=1, max_size=60), min_size=1, max_size=12))
def test_minilm_gives_what_the_reference_gives(minilm: Path, sequences: list[list[int]]) -> None:
    """After every layer, within 1e-4, whatever stands beside a text."""
    for sequence, found in zip(sequences, ours(minilm, sequences), strict=True):
        torch.testing.assert_close(found, theirs(minilm, sequence), atol=1e-4, rtol=0)


def test_the_longest_text_has_its_positions(minilm: Path) -> None:
    """512 tokens, beside a text of one."""
    sequences = [list(range(2000, 2512)), [101]]
    for sequence, found in zip(sequences, ours(minilm, sequences), strict=True):
        torch.testing.assert_close(found, theirs(minilm, sequence), atol=1e-4, rtol=0)


def test_gists_shape_loads_through_the_same_path(gist_shaped: Path) -> None:
    """Twelve layers of it, and every one agrees with the reference."""
    sequences = [[101, 7592, 102], [101, 2054, 1037, 2154, 102], [101, 102]]
    for sequence, found in zip(sequences, ours(gist_shaped, sequences), strict=True):
        assert len(found) == 13
        torch.testing.assert_close(found, theirs(gist_shaped, sequence), atol=1e-4, rtol=0)


def test_only_what_is_asked_for_is_computed(minilm: Path) -> None:
    """A head that reads layer 3 does not pay for the layers above."""
    model = encoder(minilm)
    calls: list[int] = []
    hooks = [layer.register_forward_hook(lambda *_, n=n: calls.append(n)) for n, layer in enumerate(model.layers, start=1)]
    packed = PackedTensors.from_packed(pack([np.array([101, 102], dtype=np.int32)]), device=CPU, dtype=torch.float32)
    with torch.inference_mode():
        assert set(model(packed, {3})) == {3}
    for hook in hooks:
        hook.remove()
    assert calls == [1, 2, 3]


def test_loading_weights_leaves_torchs_compilers_alone(minilm: Path) -> None:
    """In a process of its own: they would take a fifth of a GB of each worker, for nothing."""
    code = f"""
import sys
from pathlib import Path
from worker.model.encoder.encoder import load_published
from worker.model.checkpoint.publication import read_config
directory = Path({str(minilm)!r})
load_published(read_config(directory / "config.json"), directory / "model.safetensors")
print(not {{"torch._dynamo", "sympy", "triton"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_weights_with_a_prefix_load_too(minilm: Path, tmp_path: Path) -> None:
    """Some publishers keep the name of the model before each tensor."""
    save_file(
        {f"bert.{name}": tensor for name, tensor in load_file(minilm / "model.safetensors").items()}, tmp_path / "model.safetensors"
    )
    loaded = load_published(read_config(minilm / "config.json"), tmp_path / "model.safetensors")
    torch.testing.assert_close(loaded.words.weight, encoder(minilm).words.weight)


@pytest.mark.parametrize(
    ("name", "tensor"), [("encoder.layer.5.output.dense.weight", None), ("embeddings.LayerNorm.bias", torch.zeros(7))]
)
def test_weights_that_do_not_fit_are_refused(minilm: Path, tmp_path: Path, name: str, tensor: torch.Tensor | None) -> None:
    """A missing tensor and one of another shape are named."""
    tensors = load_file(minilm / "model.safetensors")
    if tensor is None:
        del tensors[name]
    else:
        tensors[name] = tensor
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(BadModel, match="not the weights of this encoder") as caught:
        load_published(read_config(minilm / "config.json"), tmp_path / "model.safetensors")
    assert name in str(caught.value) or "norm.bias" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not the configuration"),
        ('{"model_type": "gpt2"}', "of type 'gpt2', and supported are bert, camembert"),
        ('{"model_type": "bert", "position_embedding_type": "relative_key"}', "absolute positions"),
        ('{"model_type": "bert"}', "not the configuration"),
        ("[]", "not an object"),
    ],
)
def test_another_architecture_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    """With the file and the reason."""
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(BadModel, match=reason):
        read_config(tmp_path / "config.json")
