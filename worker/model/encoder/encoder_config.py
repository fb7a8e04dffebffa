"""The shape of an encoder of any family: sizes, norms, positions, attention and feed-forward. Without torch."""

from __future__ import annotations

from dataclasses import dataclass

#: The activations of the feed-forward that are known.
ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu")

#: The products of a layer whose inputs are calibrated for 8-bit products.
CALIBRATED = ("query_key_value", "output", "expand")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionConfig:
    """How attention uses the distance of two tokens, and how far a token sees. The default is BERT's: no distances, no limit."""

    #: The base of the rotary positions of queries and keys; 0 for none. Local layers may have another.
    rotary_base: float = 0.0
    local_rotary_base: float = 0.0
    #: What the frequencies of the rotary positions are divided by.
    rotary_divisor: float = 1.0
    #: The layers, from 0, whose tokens see `window` tokens on either side and no further.
    local_layers: tuple[int, ...] = ()
    window: int = 0
    #: The buckets of a bias by head and distance (Raffel et al., "T5", 2020), which all layers share; 0 for none.
    num_bias_buckets: int = 0
    #: The largest distance in `disentangled` attention (He et al., "DeBERTa", 2021), after bucketing; 0 for another attention.
    span: int = 0
    #: The distance from which on all are in the last bucket; 0 where distances are not put into buckets.
    max_distance: int = 0
    has_content_to_position: bool = False
    has_position_to_content: bool = False
    has_distance_norm: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether attention is that of BERT."""
        return self == AttentionConfig()


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig:
    """The shape of an encoder; by default a BERT."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    #: The rows of the table of positions; without a table the longest text.
    max_position_embeddings: int
    #: The rows of the table of token types; 0 for no table. A text is of type 0.
    type_vocab_size: int = 2
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    #: The family that names the published tensors.
    family: str = "bert"
    #: The width of the embeddings where a linear map makes states of them; 0 where they are states.
    embedding_size: int = 0
    has_positions: bool = True
    #: The position of a text's first token.
    first_position: int = 0
    #: Whether attention and feed-forward read a norm of the state, and are added to the state itself.
    is_norm_first: bool = False
    #: Whether the activated half of the feed-forward is multiplied with the other; the second half is activated where so said.
    is_gated: bool = False
    is_second_half_activated: bool = False
    #: The linear maps without a bias, by the names of `encoder.Layer`; "norm" for all norms.
    without_bias: tuple[str, ...] = ()
    attention: AttentionConfig = AttentionConfig()

    @property
    def max_tokens(self) -> int:
        """The longest text in tokens."""
        return self.max_position_embeddings - self.first_position

    @property
    def is_static(self) -> bool:
        """Whether a state is the embedding of its token alone: no layer, no norm."""
        return self.num_hidden_layers == 0

    @property
    def is_plain(self) -> bool:
        """Whether the layers are those of BERT."""
        return not (self.is_norm_first or self.is_gated or self.without_bias or self.is_static) and self.attention.is_plain
