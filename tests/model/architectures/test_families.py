"""Every family gives the states of transformers, packed with any neighbours; what computes something else is refused."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from transformers import AutoModel

from tests.model.backends import native
from tests.model.checkpoint.published import rewrite
from tests.model.published import FAMILIES, publish_family
from worker.errors import BadModel
from worker.model.backends.arithmetics import FLOAT32
from worker.model.backends.compiled import Compiled
from worker.model.backends.native.build import BackendUnavailable
from worker.model.checkpoint import checkpoint
from worker.model.checkpoint.publication import read_config
from worker.model.encoder.encoder import build_encoder, load_published
from worker.model.encoder.encoder_weights import read_published
from worker.model.encoder.packed_tensors import PackedTensors
from worker.model.encoder.quantization import LEAST_COSINE, measure_ranges
from worker.model.text.packing import pack

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from worker.model.backends.arithmetics import Arithmetic
    from worker.model.backends.native.build import Variant
    from worker.model.encoder.encoder_weights import EncoderWeights

pytestmark = pytest.mark.model
CPU = torch.device("cpu")
# Shorter and longer than a local window, a bucket and a slot; the longest text of all families.
LENGTHS = (1, 2, 7, 17, 40, 100, 160, 33)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the directory of a tiny model of a family."""
    return lru_cache(lambda family: publish_family(tmp_path_factory.mktemp("families") / family, family))


def random_texts(num_words: int) -> list[NDArray[np.int32]]:
    """Return texts of random tokens that are not special."""
    rng = np.random.default_rng(0)
    return [rng.integers(5, num_words, length).astype(np.int32) for length in LENGTHS]


@lru_cache
@torch.inference_mode()
def compute_reference(directory: Path, num_words: int) -> list[torch.Tensor]:
    """Return the states after every layer by transformers, `[layers + 1, tokens, H]` for each random text alone."""
    texts = random_texts(num_words)
    model = AutoModel.from_pretrained(directory).eval()
    return [torch.cat(model(torch.tensor(text[None].astype(np.int64)), output_hidden_states=True).hidden_states) for text in texts]


@pytest.mark.parametrize("family", FAMILIES)
def test_states_are_those_of_transformers(published: Any, family: str) -> None:
    """After every layer, within 1e-4, for texts packed together."""
    directory = published(family)
    config = read_config(directory / "config.json")
    encoder, texts = load_published(config, directory / "model.safetensors"), random_texts(config.vocab_size)
    packed = pack(texts)
    with torch.inference_mode():
        states = encoder(PackedTensors.from_packed(packed, device=CPU, dtype=torch.float32), range(config.num_hidden_layers + 1))
    found = torch.split(torch.stack(list(states.values())), packed.lengths.tolist(), dim=1)
    for ours, theirs in zip(found, compute_reference(directory, config.vocab_size), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@lru_cache
def read_weights(directory: Path) -> tuple[EncoderWeights, dict[str, NDArray[np.float32]]]:
    """Return the weights of a published directory, and the ranges of a calibration on the random texts."""
    weights = read_published(read_config(directory / "config.json"), directory / "model.safetensors")
    packed = pack(random_texts(weights.config.vocab_size))
    return weights, measure_ranges(build_encoder(weights), iter([packed]))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("variant", "arithmetic"), native.WAYS, ids=native.IDS)
def test_kernels_give_the_states_of_transformers(published: Any, variant: Variant, arithmetic: Arithmetic, family: str) -> None:
    """After every layer within 1e-4 in float32; in others a cosine of 0.999, or that of 8-bit products."""
    weights, ranges = read_weights(published(family))
    if arithmetic.is_tiled and not weights.config.is_plain:
        with pytest.raises(BackendUnavailable, match=f"the layers of {family} do not run on tiles"):
            Compiled(weights, arithmetic, variant=variant, ranges=ranges)
        return
    config = weights.config
    if arithmetic.is_tiled and config.embedding_size:
        pytest.skip("embeddings on tiles are as wide as states")
    encoder = Compiled(weights, arithmetic, variant=variant, ranges=ranges)
    packed = pack(random_texts(config.vocab_size))
    states = np.stack(list(encoder.encode(packed, range(config.num_hidden_layers + 1)).values()))
    expected = torch.cat(compute_reference(published(family), config.vocab_size), dim=1).numpy()
    if arithmetic.name == "float32":
        np.testing.assert_allclose(states, expected, atol=1e-4, rtol=0)
    norms = np.linalg.norm(states, axis=2) * np.linalg.norm(expected, axis=2)
    assert ((states * expected).sum(axis=2) / norms).min() > (LEAST_COSINE if arithmetic.is_calibrated else 0.999)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("hidden_size", "num_heads"), [(128, 2), (64, 2)])
def test_kernels_fit_other_shapes(tmp_path: Path, family: str, hidden_size: int, num_heads: int) -> None:
    """Heads of 64 numbers, and a narrower state; a text has the same state alone and among others."""
    known: dict[str, Any] = {"hidden_size": hidden_size, "num_attention_heads": num_heads}
    if family == "distilbert":
        known |= {"dim": hidden_size, "n_heads": num_heads}
    directory = publish_family(tmp_path, family, **known)
    weights = read_published(read_config(directory / "config.json"), directory / "model.safetensors")
    encoder, last, texts = Compiled(weights, FLOAT32), weights.config.num_hidden_layers, random_texts(weights.config.vocab_size)
    packed = pack(texts)
    together = np.split(encoder.encode(packed, [last])[last], packed.cu_seqlens[1:-1])
    for text, found, states in zip(texts, together, compute_reference(directory, weights.config.vocab_size), strict=True):
        np.testing.assert_allclose(found, states[-1].numpy(), atol=1e-4, rtol=0)
        np.testing.assert_allclose(encoder.encode(pack([text]), [last])[last], found, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("family", "changes", "reason"),
    [
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ("bert", {"model_type": "llama"}, "of type 'llama', and supported are bert, camembert"),
        ("roberta", {"hidden_act": "tanh"}, "the activation 'tanh' is not one of"),
        ("deberta-v2", {"conv_kernel_size": 3}, "conv_kernel_size = 3"),
        ("deberta-v2", {"share_att_key": False}, "share_att_key = False"),
        ("modernbert", {"rope_scaling": {"type": "yarn"}}, "scaled rotary positions"),
        ("nomic_bert", {"qkv_proj_bias": True}, "qkv_proj_bias = True"),
        ("nomic_bert", {"causal": True}, "causal = True"),
        ("nomic_bert", {"scale_attn_weights": False}, "scale_attn_weights = False"),
        ("nomic_bert", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx = True"),
        ("gte", {"rope_scaling": {"type": "dynamic", "factor": 2}}, "of the type 'dynamic'"),
        ("distilbert", {"dim": None}, "'dim' is missing"),
        ("electra", {"auto_map": {"AutoModel": "modeling.Own"}}, "code of its own"),
    ],
)
def test_what_is_computed_otherwise_is_refused(
    published: Any, tmp_path: Path, family: str, changes: dict[str, Any], reason: str
) -> None:
    """The error is one line, which names the setting."""
    (tmp_path / "config.json").write_bytes((published(family) / "config.json").read_bytes())
    rewrite(tmp_path / "config.json", **changes)
    with pytest.raises(BadModel, match=reason) as raised:
        read_config(tmp_path / "config.json")
    assert "\n" not in str(raised.value)


def test_configurations_of_published_code_are_read(tmp_path: Path) -> None:
    """Nomic BERT is published in the words of GPT-2, GTE as `new` with slower rotary positions; their code is never run."""
    rewrite(
        tmp_path / "nomic.json",
        model_type="nomic_bert", auto_map={"AutoModel": "modeling.NomicBertModel"}, vocab_size=30_528, n_embd=768, n_layer=12,
        n_head=12, n_inner=3072, n_positions=8192, layer_norm_epsilon=1e-12, activation_function="swiglu", rotary_emb_base=1000,
        rotary_emb_fraction=1.0, qkv_proj_bias=False, prenorm=False,
    )  # fmt: skip
    config = read_config(tmp_path / "nomic.json")
    assert (config.family, config.max_tokens, config.hidden_act, config.attention.rotary_base) == ("nomic_bert", 8192, "silu", 1000)
    rewrite(
        tmp_path / "gte.json",
        model_type="new", architectures=["NewModel"], auto_map={"AutoModel": "modeling.NewModel"}, vocab_size=250_048,
        hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072, max_position_embeddings=8192,
        type_vocab_size=1, rope_theta=20_000, rope_scaling={"factor": 8.0, "type": "ntk"},
    )  # fmt: skip
    attention = read_config(tmp_path / "gte.json").attention
    assert (attention.rotary_base, attention.rotary_divisor) == (160_000, 8 ** (2 / 64))


@pytest.mark.parametrize("family", ["modernbert", "deberta-v2", "mpnet"])
def test_long_texts_have_the_states_of_transformers(tmp_path: Path, family: str) -> None:
    """Texts beyond the tokens that the kernels score at once, and beyond every window and bucket."""
    directory = publish_family(tmp_path, family, max_position_embeddings=702)
    weights = read_published(read_config(directory / "config.json"), directory / "model.safetensors")
    texts = [
        np.random.default_rng(length).integers(5, weights.config.vocab_size, length).astype(np.int32) for length in (700, 5, 385)
    ]
    last, model = weights.config.num_hidden_layers, AutoModel.from_pretrained(directory).eval()
    with torch.inference_mode():
        expected = [model(torch.tensor(text[None].astype(np.int64))).last_hidden_state[0].numpy() for text in texts]
    found = Compiled(weights, FLOAT32).encode(pack(texts), [last])[last]
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tuned_encoder_is_published_as_its_source(published: Any, tmp_path: Path, family: str) -> None:
    """Every parameter has a gradient, and a checkpoint of the changed encoder has the changed states."""
    source = published(family)
    loaded = checkpoint.load(str(source))
    encoder, last = loaded.encoder, loaded.weights.config.num_hidden_layers
    packed = pack(random_texts(loaded.weights.config.vocab_size)[:5])
    batch = PackedTensors.from_packed(packed, device=CPU, dtype=torch.float32)
    encoder(batch, [last])[last].square().sum().backward()
    assert [name for name, parameter in encoder.named_parameters() if parameter.grad is None] == []
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(1.01)
    options: dict[str, Any] = {"name": "n", "encoder_reference": str(source), "heads": [], "training": {}, "card": ""}
    checkpoint.save(tmp_path / "own", encoder=encoder, **options)
    with torch.inference_mode():
        states = checkpoint.load(str(tmp_path / "own")).encoder(batch, [last])[last]
        torch.testing.assert_close(states, encoder(batch, [last])[last])
