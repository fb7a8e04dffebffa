"""Records that nobody should have sent: each has one fate, and all others go on as if it were not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from tests.faults.lab.lab import Lab
from tests.faults.lab.strange import LETTER, RESULTS, Strange, good
from tests.integration.support.raw import flip_last_byte, produce_bomb, produce_nothing, produce_poisoned
from worker.pipeline import ESTIMATED_BYTES_PER_TOKEN

if TYPE_CHECKING:
    from tests.faults.lab.cluster import Cluster
    from tests.faults.lab.oracle import Mode

pytestmark = [pytest.mark.faults, pytest.mark.kafka, pytest.mark.timeout(600)]


def guessed_tokens(num_bytes: int) -> int:
    """Return what a record weighs until its tokens are counted; any number of these may be in one poll."""
    return num_bytes // ESTIMATED_BYTES_PER_TOKEN


def request(text: object, **fields: object) -> bytes:
    """Return a request."""
    return orjson.dumps({"text": text, **fields})


# Texts that a model must read, whatever they are: a number stands in each, as the deterministic model wants.
TEXTS = {
    "nul": "record 1 with \0 in it",
    "nul_alone": "a 1 " + "\0" * 500,
    "controls": "a 1 \x01\x02\x1b[31m\x7f\x85\u2028",
    "zero_width": "a 1 \u200b\u200c\u200d\u2060\ufeff" * 300,
    "right_to_left": "a 1 \u202e\u05e9\u05dc\u05d5\u05dd\u202c \u0645\u0631\u062d\u0628\u0627 \u2067x\u2069",
    "emoji": "a 1 👩‍👩‍👧‍👦🏳️‍🌈👍🏿" * 50,
    "combining": "a 1 " + "e" + "\u0301" * 5_000,
    "private": "a 1 \ue000\U000f0000\U0010ffff\ufffe\uffff",
    "cjk": "a 1 " + "漢字" * 3_000,
    "one_word": "a 1 " + "x" * 900_000,
    "many_words": "a 1 " + "of " * 300_000,
    "punctuation": "a 1 " + "!?" * 10_000,
    "markup": "a 1 [CLS] [SEP] [MASK] [PAD] [UNK] <s> </s> ##ing " * 100,
    "surrogate_pair": "a 1 \U0001f600\U00010437",
}

# What is no request: each is one dead letter.
REFUSED = {
    "empty": b"",
    "invalid_utf8": b'{"text":"a 1 \xff\xfe\xc3("}',
    "truncated_utf8": b'{"text":"a 1 \xf0\x9f\x98"}',
    "overlong_utf8": b'{"text":"a 1 \xc0\xaf"}',
    "lone_surrogate": b'{"text":"a 1 \\ud800"}',
    "swapped_surrogates": b'{"text":"a 1 \\udc00\\ud800"}',
    "utf16": '{"text":"a 1"}'.encode("utf-16"),
    "byte_order_mark": b'\xef\xbb\xbf{"text":"a 1"}',
    "deep": b'{"text":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "deep_objects": b'{"text":"a 1","x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
    "number": request(1),
    "list": request(["a 1"]),
    "object": request({"text": "a 1"}),
    "null": request(None),
    "array": b'["a 1"]',
    "string": b'"a 1"',
    "nan": b'{"text":NaN}',
    "huge_number": b'{"text":"a 1","x":1e999999}',
    "blank": request(" \n\t\u3000"),
    "zeros": bytes(1_000),
    "binary": bytes(range(256)) * 1_000,
    "id_is_a_fraction": request("a 1", id=7.5),
    "id_with_nul": request("a 1", id="x\0"),
    "id_too_long": request("a 1", id="x" * 100_000),
    "unknown_task": request("a 1", tasks=["dance"]),
    "tasks_is_a_number": request("a 1", tasks=7),
}


async def test_hostile_texts_have_one_fate_each(broker: Cluster, mode: Mode, seed: int) -> None:
    """For any bytes a record has three outputs or one dead letter, and other records are unaffected."""
    async with Lab(mode=mode, seed=seed, cluster=broker, num_strange=1) as lab:
        strange = Strange(lab)
        worker = lab.worker("a")
        await worker.ready()
        lab.produce(3_000, rate=300)
        names = [*TEXTS, *REFUSED]
        lab.random.shuffle(names)
        worker.max_in_flight_tokens += sum(guessed_tokens(len(body)) for body in [*map(request, TEXTS.values()), *REFUSED.values()])
        lab.fault("hostile_texts", names=names)
        for number, name in enumerate(names):
            await strange.send(request(TEXTS[name]) if name in TEXTS else REFUSED[name], good(number))
        await strange.done(120)
        await lab.settled(120)
        await lab.verify()
        fates, letters = await strange.fates(), await strange.letters()
        wanted = {2 * place: sorted(RESULTS if name in TEXTS else LETTER) for place, name in enumerate(names)}
        wanted |= {2 * place + 1: sorted(RESULTS) for place in range(len(names))}
        assert {names[offset // 2]: fates.get(offset) for offset in wanted if fates.get(offset) != wanted[offset]} == {}
        assert fates.keys() == wanted.keys()
        assert {letter["stage"] for letter in letters.values()} == {"decode"}


async def test_hostile_headers_and_keys_have_one_fate_each(broker: Cluster, mode: Mode, seed: int) -> None:
    """Headers may be too many, too large, reserved or malformed; keys may have any size; a record may be a tombstone."""
    many = tuple((f"h{number}", b"") for number in range(10_000))
    cases = [
        (b"k", good(0), (("gist-source-offset", b"7"), ("gist-model", b"\xff")), RESULTS),
        (b"k", good(1), many, LETTER),
        (b"k", good(2), (("h", bytes(500_000)),), LETTER),
        (b"k", good(3), (("h" * 30_000, b""),), LETTER),
        (b"k", good(4), (("", b""), ("\0", b"\0"), ("ü\u200b", b"\xff")), RESULTS),
        (b"k", good(5), (("content-type", b"\xff\xfe"),), LETTER),
        (b"k", b"a 6 \xff", (("content-type", b"text/plain"),), LETTER),
        (b"k", b"a 7 b", (("content-type", b"text/plain; charset=utf-16"),), LETTER),
        (b"k", good(8), (("ce_specversion", b"9.9"),), LETTER),
        (bytes(300_000), good(9), (), RESULTS),
        (None, good(10), (), RESULTS),
        (b"", good(11), (), RESULTS),
        (b"k", None, (), RESULTS),
        (None, None, (), LETTER),
        (None, None, many, LETTER),
        (b"\xff" * 500_000, b"no request", many, LETTER),
        (b"k", good(16), (), RESULTS),
    ]
    async with Lab(mode=mode, seed=seed, cluster=broker, num_strange=1) as lab:
        strange = Strange(lab)
        worker = lab.worker("a")
        await worker.ready()
        lab.produce(1_500, rate=300)
        worker.max_in_flight_tokens += sum(guessed_tokens(len(key or b"") + len(value or b"")) for key, value, *_ in cases)
        lab.fault("hostile_headers", count=len(cases))
        for key, value, headers, _ in cases:
            if key is None and value is None:
                await produce_nothing(strange.connection, strange.partition, headers)
            else:
                await strange.send(value, key=key, headers=headers)
        await strange.done(120)
        await lab.settled(120)
        await lab.verify()
        assert await strange.fates() == {place: sorted(fate) for place, (*_, fate) in enumerate(cases)}


async def test_batches_that_cannot_be_read_are_parked(broker: Cluster, mode: Mode, seed: int) -> None:
    """A header key that is not UTF-8 and corrupt bytes on disk give a dead letter for each range; the rest is processed."""
    async with Lab(mode=mode, seed=seed, cluster=broker, num_strange=1) as lab:
        strange = Strange(lab)
        home = strange.partition
        await strange.send(good(0), good(1))
        await produce_poisoned(strange.connection, home, [good(number) for number in range(2, 10)], poisoned=3)
        await strange.send(good(10))
        await strange.send(request("a 11 that will rot"))
        await strange.send(good(12))
        segment = lab.cluster.nodes[0].directory / "logs" / str(home) / "00000000000000000000.log"
        lab.fault("rot", segment=str(segment))
        flip_last_byte(segment, b"that will rot")
        produced = lab.produce(3_000, rate=300)
        worker = lab.worker("a")
        await worker.ready()
        await produced
        await strange.send(good(13))
        await strange.done(120)
        await lab.settled(120)
        await lab.verify()
        fates, letters = await strange.fates(), await strange.letters()
        ranges = [(letter["source"]["offset"], letter["source"]["next_offset"]) for letter in letters.values()]
        assert ranges == [(5, 10), (11, 12)]
        whole = [0, 1, 2, 3, 4, 10, 12, 13]
        assert fates == {offset: sorted(RESULTS) for offset in whole} | {5: sorted(LETTER), 11: sorted(LETTER)}


async def test_a_compression_bomb_goes_off_outside(broker: Cluster, mode: Mode, seed: int) -> None:
    """A batch of 16 KB that expands to 512 MB is a dead letter, within the worker's memory limit."""
    async with Lab(mode=mode, seed=seed, cluster=broker, num_strange=1) as lab:
        strange = Strange(lab)
        worker = lab.worker("a")
        await worker.ready()
        lab.produce(3_000, rate=300)
        await strange.send(good(0))
        lab.fault("bomb", num_bytes=2**29)
        await produce_bomb(strange.connection, strange.partition, num_bytes=2**29)
        await strange.send(good(2))
        await strange.done(120)
        await lab.settled(120)
        await lab.verify()
        assert worker.is_running
        assert await strange.fates() == {0: sorted(RESULTS), 1: sorted(LETTER), 2: sorted(RESULTS)}
