"""Send numbered texts to a running stack and count its outputs.

python deploy/docker/count.py BOOTSTRAP_SERVERS FIRST COUNT      exits 1 if an output is missing, duplicated or late
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

import orjson

from worker.broker.connection.connection import Connection
from worker.broker.tools.clients import follow, open_producer

_TOPICS = ["texts.embeddings", "texts.labels", "texts.entities"]
_LIMIT_S = 180


async def main(bootstrap_servers: str, first: int, count: int) -> int:
    """Send the texts, read until all outputs have arrived, print the counts, and return the exit code."""
    connection = Connection(bootstrap_servers=bootstrap_servers)
    wanted = {f"n-{number}" for number in range(first, first + count)}
    async with open_producer(connection) as producer:
        for name in sorted(wanted):
            await producer.send("texts", orjson.dumps({"id": name, "text": f"Ada met Grace in London, {name}."}), key=name.encode())
    found: Counter[tuple[str, str]] = Counter()
    try:
        async with asyncio.timeout(_LIMIT_S):
            async for records in follow(connection, _TOPICS, from_beginning=True):
                found.update((record.partition.topic, orjson.loads(record.value or b"{}")["id"]) for record in records)
                if sum(1 for _, name in found if name in wanted) == len(_TOPICS) * count:
                    break
    except TimeoutError:
        sys.stderr.write(f"outputs are missing after {_LIMIT_S} s\n")
    missing = [(topic, name) for topic in _TOPICS for name in wanted if not found[topic, name]]
    duplicated = [output for output, count in found.items() if count > 1]
    sys.stdout.write(f"  {sum(found.values()):,} outputs so far, {len(missing)} missing, {len(duplicated)} duplicated\n")
    return 1 if missing or duplicated else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
