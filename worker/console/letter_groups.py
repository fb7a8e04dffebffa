"""Groups dead letters by stage and reason, with advice. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from worker.records import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: What to do about the failures of each stage.
ADVICE: Mapping[Stage, str] = {
    Stage.CONSUME: "The broker or the client could not read these offsets. Look at the log of the broker; no replay is possible.",
    Stage.DECODE: "The record violates the wire contract or the input mapping. Correct the producer, or change {settings}, "
    "and replay the records after the worker has restarted.",
    Stage.TOKENIZE: "The tokenizer failed on this text. Try the text with `gist-stream try`, and replay it with another model.",
    Stage.INFER: "The model failed on this text alone. Replay the record once: a failure of the machine does not repeat. "
    "If the record fails again, try the text with `gist-stream try`.",
    Stage.ENCODE: "The results could not be encoded. Look at the reason, and replay the records after the change.",
    Stage.PUBLISH: "A topic refused the output, mostly because of its size. Raise max.message.bytes of the topic, or shorten "
    "the vectors by GIST_EMBEDDING_ENCODING, and replay the records.",
}
_DECODE_SETTINGS = "GIST_TEXT_FIELD, GIST_ID_FROM, GIST_ENVELOPE or GIST_EMPTY_TEXT"
# Numbers and quoted parts differ from record to record.
_DETAILS = re.compile(r"`[^`]*`|'[^']*'|\"[^\"]*\"|\d+(?:\.\d+)?")


def group_letters(letters: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the dead letters by stage, error and reason, the largest group first. Reasons that differ in details are one group."""
    groups: dict[tuple[str, str, str], dict[str, Any]] = {}
    for letter in letters:
        reason = _DETAILS.sub("…", " ".join(str(letter["message"]).split()))
        key = str(letter["stage"]), str(letter["error"]), reason
        group = groups.setdefault(key, {"stage": key[0], "error": key[1], "reason": reason, "letters": []})
        group["letters"].append(letter)
    for group in groups.values():
        messages = {str(letter["message"]) for letter in group["letters"]}
        group["reason"] = messages.pop() if len(messages) == 1 else group["reason"]
        named = re.search(r"GIST_[A-Z_]+", group["reason"])
        group["advice"] = ADVICE[Stage(group["stage"])].format(settings=named[0] if named else _DECODE_SETTINGS)
    return sorted(groups.values(), key=lambda group: -len(group["letters"]))
