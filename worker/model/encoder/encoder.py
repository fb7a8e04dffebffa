"""A sentence encoder, whole in one file, over texts packed without padding.

The architecture is that of Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers" (2019): learned absolute
positions, post-layer-norm, a GELU feed-forward of four times the width. `EncoderConfig` says in what a family differs.

All texts of a batch lie end to end in one matrix of `T` tokens, so that the matrix products pay for no padding; positions restart
with each text. Only attention needs to know where a text ends: it looks at texts of similar length side by side, in slots.

Shapes: `T` tokens, `H` hidden, `A` heads of width `D = H / A`, `F` feed-forward; a group of `n` texts in slots of `L` tokens.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from worker.batches import LIVE_PASS, PassContext
from worker.errors import BadModel
from worker.model.architectures.distances import compute_rotary, find_bias_buckets, find_distance_rows
from worker.model.encoder.encoder_weights import EncoderWeights, name_sources, read_published

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from worker.model.encoder.encoder_config import EncoderConfig
    from worker.model.encoder.packed_tensors import PackedTensors, TextGroup

_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_new": lambda x: functional.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
}


class Attention(nn.Module):
    """Every token looks at the tokens of its own text, through `A` heads."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.config = config.attention
        self.query_key_value = _linear(config, "attention.query_key_value", 3 * config.hidden_size, config.hidden_size)
        self.output = _linear(config, "attention.output", config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, batch: PackedTensors) -> Tensor:
        """[T, H] → [T, H]."""
        projected = self.query_key_value(x)  # [T, 3H]
        mixed = [self._attend(projected[group.tokens], group) for group in batch.groups]
        flat = mixed[0] if len(mixed) == 1 else torch.cat(mixed)  # [places, H]
        output: Tensor = self.output(flat[batch.place_of_token])  # [T, H]
        return output

    def _attend(self, projected: Tensor, group: TextGroup) -> Tensor:
        """[n, L, 3H] → [n * L, H]."""
        n, length, width = projected.shape
        query, key, value = self._split(projected)  # three of [n, A, L, D]
        if group.rotary is not None:
            query, key = _rotate(query, group.rotary), _rotate(key, group.rotary)
        mask, scale = group.mask, None
        if group.distances is not None:
            mask, scale = self._score_distances(query, key, group)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)  # [n, A, L, D]
        return mixed.transpose(1, 2).reshape(n * length, width // 3)

    def _split(self, projected: Tensor) -> Tensor:
        """[n, L, 3H] → [3, n, A, L, D]."""
        n, length, width = projected.shape
        return projected.view(n, length, 3, self.num_heads, width // 3 // self.num_heads).permute(2, 0, 3, 1, 4)

    def _score_distances(self, query: Tensor, key: Tensor, group: TextGroup) -> tuple[Tensor | None, float]:
        """Return what distances add to the scores, `[n, A, L, L]`, and the scale of the scores of contents."""
        assert group.distances is not None  # noqa: S101  the caller knows
        embeddings, rows = group.distances
        position_query, position_key, _ = self._split(self.query_key_value(embeddings)[None])  # [1, A, 2 * span, D]
        parts = self.config.has_content_to_position + self.config.has_position_to_content
        scale, total = (query.shape[-1] * (1 + parts)) ** -0.5, group.mask
        index = rows.expand(*query.shape[:2], *rows.shape)
        if self.config.has_content_to_position:
            added = (query @ position_key.transpose(-1, -2)).gather(-1, index) * scale
            total = added if total is None else total + added
        if self.config.has_position_to_content:
            added = (key @ position_query.transpose(-1, -2)).gather(-1, index.transpose(-1, -2)).transpose(-1, -2) * scale
            total = added if total is None else total + added
        return total, scale


def _rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Turn pairs of numbers of queries or keys, `[n, A, L, D]`, by the angles of their positions."""
    (first, second), (cosines, sines) = x.chunk(2, dim=-1), rotary
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)


def _linear(config: EncoderConfig, name: str, outputs: int, inputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=name not in config.without_bias)


def _norm(config: EncoderConfig, width: int | None = None) -> nn.LayerNorm:
    return nn.LayerNorm(width or config.hidden_size, eps=config.layer_norm_eps, bias="norm" not in config.without_bias)


class Layer(nn.Module):
    """Attention and feed-forward, each added to what came in, then normalised; or normalised first."""

    def __init__(self, config: EncoderConfig, number: int = 1) -> None:
        """Build the layer of a number, from 0."""
        super().__init__()
        self.config = config
        self.attention = Attention(config)
        # Of norms that come first the first is that of the embeddings.
        self.attention_norm = _norm(config) if number or not config.is_norm_first else nn.Identity()
        width = config.intermediate_size * (2 if config.is_gated else 1)
        self.expand = _linear(config, "expand", width, config.hidden_size)
        self.contract = _linear(config, "contract", config.hidden_size, config.intermediate_size)
        self.feed_forward_norm = _norm(config)
        self.activation = _ACTIVATIONS[config.hidden_act]

    def forward(self, x: Tensor, batch: PackedTensors) -> Tensor:
        """[T, H] → [T, H]."""
        if self.config.is_norm_first:
            x = x + self.attention(self.attention_norm(x), batch)
            return x + self.feed_forward(self.feed_forward_norm(x))
        x = self.attention_norm(x + self.attention(x, batch))
        output: Tensor = self.feed_forward_norm(x + self.feed_forward(x))
        return output

    def feed_forward(self, x: Tensor) -> Tensor:
        """[T, H] → [T, H]."""
        inner = self.expand(x)
        if self.config.is_gated:
            halves = inner.chunk(2, dim=-1)
            activated = self.config.is_second_half_activated
            inner = self.activation(halves[activated]) * halves[not activated]
        else:
            inner = self.activation(inner)
        output: Tensor = self.contract(inner)
        return output


class Encoder(nn.Module):
    """Token ids in, hidden states out."""

    def __init__(self, config: EncoderConfig) -> None:
        """Build the encoder with random weights; `load_published` replaces them."""
        super().__init__()
        self.config = config
        narrow = config.embedding_size or config.hidden_size
        self.words = nn.Embedding(config.vocab_size, narrow)
        self.positions = nn.Embedding(config.max_position_embeddings, narrow) if config.has_positions else None
        self.types = nn.Embedding(config.type_vocab_size, narrow) if config.type_vocab_size else None
        self.norm = None if config.is_static else _norm(config, narrow)
        self.project = nn.Linear(narrow, config.hidden_size) if config.embedding_size else None
        own = config.attention
        self.distance_bias = nn.Embedding(own.num_bias_buckets, config.num_attention_heads) if own.num_bias_buckets else None
        self.distances = nn.Embedding(2 * own.span, config.hidden_size) if own.span else None
        self.distance_norm = _norm(config) if own.has_distance_norm else None
        self.layers = nn.ModuleList(Layer(config, number) for number in range(config.num_hidden_layers))
        self.final_norm = _norm(config) if config.is_norm_first else None

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
        states = dict(known or {0: self.embed(batch.ids, batch.positions)})
        batches = [self._add_distances(batch, is_local=is_local) for is_local in (False, True)]
        for number in range(max(states) + 1, max(layers) + 1):
            context.yield_to_live()
            own = batches[number - 1 in self.config.attention.local_layers]
            states[number] = self.layers[number - 1](states[number - 1], own)
        if self.final_norm is not None and (last := len(self.layers)) in layers and last not in (known or {}):
            states[last] = self.final_norm(states[last])
        return {number: states[number] for number in layers}

    def embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Return the embeddings `[T, H]` of tokens `[T]` at positions `[T]` of their texts."""
        x: Tensor = self.words(ids)
        if self.positions is not None:
            x = x + self.positions(positions + self.config.first_position if self.config.first_position else positions)
        if self.types is not None:
            # A single text is a sentence of type 0.
            x = x + self.types.weight[0]
        for module in (self.norm, self.project):
            x = x if module is None else module(x)
        return x

    def _add_distances(self, batch: PackedTensors, *, is_local: bool) -> PackedTensors:
        """Return the batch with what attention adds for distances, in local layers or in others."""
        if self.config.attention.is_plain or (is_local and not self.config.attention.local_layers):
            return batch
        return replace(batch, groups=tuple(self._add_group_distances(group, is_local=is_local) for group in batch.groups))

    def _add_group_distances(self, group: TextGroup, *, is_local: bool) -> TextGroup:
        config, length = self.config.attention, group.tokens.shape[1]
        like = self.words.weight
        places = torch.arange(length, device=like.device)
        distances = places[:, None] - places[None, :]  # [L, L], from a key to a query
        mask, rotary, embedded = group.mask, None, None
        if is_local:
            far = torch.zeros(length, length, dtype=like.dtype, device=like.device)
            far.masked_fill_(distances.abs() > config.window, float("-inf"))
            mask = far if mask is None else mask + far
        if base := config.local_rotary_base if is_local else config.rotary_base:
            width = self.config.hidden_size // self.config.num_attention_heads
            cosines, sines = compute_rotary(base, config.rotary_divisor, width, length)
            rotary = (torch.from_numpy(cosines).to(like), torch.from_numpy(sines).to(like))
        if self.distance_bias is not None:
            buckets = torch.from_numpy(find_bias_buckets(config.num_bias_buckets, length)).to(like.device)
            bias = self.distance_bias(buckets[length - 1 - distances]).permute(2, 0, 1)  # [A, L, L]
            mask = bias if mask is None else mask + bias
        if self.distances is not None:
            rows = torch.from_numpy(find_distance_rows(config, length)).to(like.device)[length - 1 + distances]
            table = self.distances.weight
            embedded = (table if self.distance_norm is None else self.distance_norm(table), rows)
        return replace(group, mask=mask, rotary=rotary, distances=embedded)


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
    if encoder.config.is_static:
        raise BadModel(f"a {encoder.config.family} encoder cannot be tuned: train heads on it instead")
    state = encoder.state_dict()
    return {
        source: piece.detach().float().clone()
        for name, sources in name_sources(encoder.config).items()
        for source, piece in zip(sources, state[name].chunk(len(sources)), strict=True)
    }
