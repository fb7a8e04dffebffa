"""The token budget of a batch: a fixed number, or the tokens of a forward pass of a given duration. Pure.

The speed of the model depends on the machine, on its load and on the model, so that the budget follows from finished passes. A
number of tokens that suits one processor is a delay of seconds on another.
"""

from __future__ import annotations

# A smaller batch costs more processor time for each token: the weights of the model are read once for each group of texts.
MIN_TOKENS = 256
# A larger batch has no more throughput, on a GPU either.
MAX_TOKENS = 16_384
# At most this fraction of the tokens in flight is in one batch. The next batches must be ready while a pass runs.
_IN_FLIGHT_DIVISOR = 4
# A clock may show no time at all for a pass.
_MIN_PASS_S = 1e-6
# The weight of the last pass in the mean of the speed. A pause of the machine then changes the budget only a little.
_SMOOTHING = 0.2


class BatchBudget:
    """The maximum number of tokens of a batch.

    With `fixed_tokens` the budget never changes. Else the budget is the number of tokens that one pass computes in `max_pass_s`, a
    power of two or half-way to the next power of two, which are the shapes that a GPU captures. The pass then has the processor for
    itself: two passes at a time take up to twice as long. The budget starts at `MIN_TOKENS`, so that the first burst is no
    long pass on a slow processor.
    """

    def __init__(self, *, fixed_tokens: int, max_pass_s: float, max_in_flight_tokens: int) -> None:
        """Start with `fixed_tokens`; 0 for a budget by duration."""
        self._max_pass_s = max_pass_s
        self._is_fixed = fixed_tokens > 0
        self._ceiling = max(1, min(MAX_TOKENS, max_in_flight_tokens // _IN_FLIGHT_DIVISOR))
        # The mean speed of full passes; 0 before the first of them.
        self._tokens_per_s = 0.0
        #: The maximum number of tokens of the next batch.
        self.max_tokens = fixed_tokens or min(MIN_TOKENS, self._ceiling)

    def note_pass(self, num_tokens: int, seconds: float) -> None:
        """Learn from a finished pass, which takes `seconds` alone.

        Passes below half of the budget are ignored, because they cost more for each token.
        """
        if self._is_fixed or 2 * num_tokens < self.max_tokens:
            return
        speed = num_tokens / max(seconds, _MIN_PASS_S)
        self._tokens_per_s += (speed - self._tokens_per_s) * (_SMOOTHING if self._tokens_per_s else 1.0)
        wanted = int(min(self._tokens_per_s * self._max_pass_s, self._ceiling))
        self.max_tokens = _round_down(max(wanted, min(MIN_TOKENS, self._ceiling)))


def _round_down(num_tokens: int) -> int:
    """Return the largest number up to `num_tokens` that is a power of two or half-way to the next one."""
    power = 1 << (num_tokens.bit_length() - 1)
    return power * 3 // 2 if power * 3 // 2 <= num_tokens else power
