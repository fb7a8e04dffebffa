"""Send numbered texts to a stack, and count what comes out of it.

python deploy/docker/count.py BOOTSTRAP_SERVERS FIRST COUNT      exits 1 where an output is missing, doubled, or not in time
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
    """Send, read until all is there, and say what was found; return the exit code."""
    connection = Connection(bootstrap_servers=bootstrap_servers)
    wanted = {f"n-{number}" for number in range(first, first + count)}
    async with open_producer(connection) as producer:
        for name in sorted(wanted):
            await producer.send("texts", orjson.dumps({"id": name, "text": f"Ada met Grace in London, {name}."}), key=name.encode())
    found: Counter[tuple[str, str]] = Counter()
    try:
        async with asyncio.timeout(_LIMIT_S):
            async for records in follow(connection, _TOPICS, from_beginning=True):
                found.update((it.partition.topic, orjson.loads(it.value or b"{}")["id"]) for it in records)
                if sum(1 for _, name in found if name in wanted) == len(_TOPICS) * count:
                    break
    except TimeoutError:
        sys.stderr.write(f"not everything came out within {_LIMIT_S} s\n")
    missing = [(topic, name) for topic in _TOPICS for name in wanted if not found[topic, name]]
    doubled = [it for it, num in found.items() if num > 1]
    sys.stdout.write(f"  {sum(found.values()):,} outputs so far, {len(missing)} missing, {len(doubled)} doubled\n")
    return 1 if missing or doubled else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
