"""A BERT-like sentence encoder, whole in one file, over texts packed without padding.

The architecture is that of Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers" (2019): learned absolute
positions, post-layer-norm, a GELU feed-forward of four times the width. It loads the weights that are published for it.

All texts of a batch lie end to end in one matrix of `T` tokens, so that the matrix products pay for no padding; positions restart
with each text. Only attention needs to know where a text ends: it looks at texts of similar length side by side, in slots.

Shapes: `T` tokens, `H` hidden, `A` heads of width `D = H / A`, `F` feed-forward; a group of `n` texts in slots of `L` tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from worker.batches import LIVE_PASS, PassContext
from worker.model.encoder_weights import EncoderWeights, name_sources, read_published
from worker.model.packing import slots_by_length

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from worker.model.encoder_config import EncoderConfig
    from worker.model.packing import Packed

_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_new": lambda x: functional.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": functional.relu,
}


@dataclass(frozen=True, slots=True)
class PackedTensors:
    """A packed batch on the device, with its slots for the attention."""

    #: int64, shape `[T]`.
    ids: Tensor
    #: int64, shape `[T]`.
    positions: Tensor
    #: For each group: flat tokens `[n, L]`, and an additive mask `[n, 1, 1, L]` or None.
    groups: tuple[tuple[Tensor, Tensor | None], ...]
    #: For each token its place among the places of all groups, shape `[T]`.
    place_of_token: Tensor

    @classmethod
    def from_packed(cls, packed: Packed, *, device: torch.device, dtype: torch.dtype) -> PackedTensors:
        """Copy a packed batch to a device; masks are of the encoder's dtype."""
        groups, place_of_token = slots_by_length(packed)

        def mask(is_token: Any) -> Tensor | None:
            if is_token is None:
                return None
            allowed = torch.from_numpy(is_token)[:, None, None, :]
            return torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, float("-inf")).to(device)

        return cls(
            torch.from_numpy(packed.ids).to(device),
            torch.from_numpy(packed.positions).to(device),
            tuple((torch.from_numpy(group.tokens).to(device), mask(group.is_token)) for group in groups),
            torch.from_numpy(place_of_token).to(device),
        )


class Attention(nn.Module):
    """Every token looks at the tokens of its own text, through `A` heads."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, batch: PackedTensors) -> Tensor:
        """[T, H] → [T, H]."""
        projected = self.query_key_value(x)  # [T, 3H]
        mixed = [self._attend(projected[tokens], mask) for tokens, mask in batch.groups]
        flat = mixed[0] if len(mixed) == 1 else torch.cat(mixed)  # [places, H]
        output: Tensor = self.output(flat[batch.place_of_token])  # [T, H]
        return output

    def _attend(self, projected: Tensor, mask: Tensor | None) -> Tensor:
        """[n, L, 3H] → [n * L, H]."""
        n, length, width = projected.shape
        split = projected.view(n, length, 3, self.num_heads, width // 3 // self.num_heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)  # three of [n, A, L, D]
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)  # [n, A, L, D]
        return mixed.transpose(1, 2).reshape(n * length, width // 3)


class Layer(nn.Module):
    """Attention and feed-forward, each added to what came in, then normalised."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.expand = nn.Linear(config.hidden_size, config.intermediate_size)
        self.contract = nn.Linear(config.intermediate_size, config.hidden_size)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.activation = _ACTIVATIONS[config.hidden_act]

    def forward(self, x: Tensor, batch: PackedTensors) -> Tensor:
        """[T, H] → [T, H]."""
        x = self.attention_norm(x + self.attention(x, batch))
        output: Tensor = self.feed_forward_norm(x + self.contract(self.activation(self.expand(x))))
        return output


class Encoder(nn.Module):
    """Token ids in, hidden states out."""

    def __init__(self, config: EncoderConfig) -> None:
        """Build the encoder with random weights; `load_published` replaces them."""
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.types = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))

    def forward(
        self,
        batch: PackedTensors,
        layers: Collection[int],
        known: Mapping[int, Tensor] | None = None,
        context: PassContext = LIVE_PASS,
    ) -> dict[int, Tensor]:
        """Return the hidden states `[T, H]` after each of `layers`: 0 is the embeddings; what lies above them is not computed.

        Nor is what lies below the highest of the states that are `known` already.
        """
        states = dict(known or {0: self._embed(batch)})
        for number in range(max(states) + 1, max(layers) + 1):
            context.yield_to_live()
            states[number] = self.layers[number - 1](states[number - 1], batch)
        return {number: states[number] for number in layers}

    def _embed(self, batch: PackedTensors) -> Tensor:
        # A single text is a sentence of type 0.
        x = self.words(batch.ids) + self.positions(batch.positions) + self.types.weight[0]
        embedded: Tensor = self.norm(x)  # [T, H]
        return embedded


class _Uninitialized(TorchFunctionMode):
    """Leaves parameters as they are made: to draw random numbers without storage, torch loads its compilers, a fifth of a GB."""

    def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def build_encoder(weights: EncoderWeights) -> Encoder:
    """Build an encoder with a copy of these weights."""
    # Without storage at first: the weights are copied once, straight into their place.
    with torch.device("meta"), _Uninitialized():
        encoder = Encoder(weights.config)
    encoder.load_state_dict({name: torch.tensor(array) for name, array in weights.arrays.items()}, strict=True, assign=True)
    return encoder.eval()


def load_published(config: EncoderConfig, path: Path) -> Encoder:
    """Build an encoder from a published `model.safetensors`; raises `BadModel` where a tensor is missing or of another shape."""
    return build_encoder(read_published(config, path))


def to_weights(encoder: Encoder) -> EncoderWeights:
    """Return the weights of an encoder as arrays, which share its memory where it is in fp32 on a CPU."""
    return EncoderWeights(
        encoder.config, {name: tensor.detach().float().cpu().numpy() for name, tensor in encoder.state_dict().items()}
    )


def published(encoder: Encoder) -> dict[str, Tensor]:
    """Return an encoder's parameters under the names, and in the pieces, in which they are published."""
    state = encoder.state_dict()
    return {
        source: piece.detach().float().clone()
        for name, sources in name_sources(encoder.config).items()
        for source, piece in zip(sources, state[name].chunk(len(sources)), strict=True)
    }
