"""Replace the entities of texts by other entities of the same type. Pure.

The method is mention replacement (Dai and Adel, "An analysis of simple data augmentation for named entity recognition", COLING
2020).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.errors import BadSettings
from worker.training.data.examples import Span, TaggedText

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random


class MentionReplacement:
    """A generator that replaces entities by those of other texts."""

    def __init__(self, texts: Sequence[TaggedText]) -> None:
        """Collect the entities of `texts`; raises `BadSettings` if no type has two different entities."""
        mentions: dict[str, dict[str, None]] = {}
        for text in texts:
            for span in text.spans:
                mentions.setdefault(span.type, {})[text.text[span.start : span.end]] = None
        # Each different entity once: frequent entities are known already.
        self._mentions = {kind: tuple(own_mentions) for kind, own_mentions in mentions.items() if len(own_mentions) > 1}
        self._texts = [text for text in texts if any(span.type in self._mentions for span in text.spans)]
        if not self._texts:
            raise BadSettings("no entities to swap: at least one type needs two different entities")

    def draw(self, random: Random) -> TaggedText:
        """Return a random text in which other entities of the same types replace the entities."""
        source = random.choice(self._texts)
        parts, spans, end, length = [], [], 0, 0
        for span in source.spans:
            before, own = source.text[end : span.start], source.text[span.start : span.end]
            others = [other for other in self._mentions.get(span.type, ()) if other != own]
            mention = random.choice(others) if others else own
            length += len(before)
            spans.append(Span(span.type, length, length + len(mention)))
            parts += [before, mention]
            length, end = length + len(mention), span.end
        return TaggedText("".join([*parts, source.text[end:]]), tuple(spans))
