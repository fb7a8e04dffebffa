"""`gist-stream serve` answers stock clients and the examples of docs/use/api.md, without Kafka."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import huggingface_hub.constants
import numpy as np
import openai
import pytest

from tests.integration.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.timeout(300)]

PAGE = Path(__file__).parents[3] / "docs" / "use" / "api.md"
ADDRESS = "http://127.0.0.1:8090"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run `gist-stream serve`, yield its address, and check that SIGTERM ends the process with 0."""
    port, api_port = free_ports(2)
    log = tmp_path_factory.mktemp("serve") / "log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIST_")}
    command = [sys.executable, "-P", "-m", "worker", "serve", "--http-port", str(port), "--api-port", str(api_port)]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, env=environment) as process:
        while not _is_ready(port):
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        try:
            yield f"http://127.0.0.1:{api_port}"
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, log.read_text()
    assert "loved" not in log.read_text()


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_openais_client_reads_vectors_models_and_errors(address: str) -> None:
    """The client asks for base64. The synchronous and the asynchronous client return the same vectors."""
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="unused", max_retries=0)
    (model,) = client.models.list().data
    answer = client.embeddings.create(model=model.id, input=["Ada Lovelace loved London.", "The soup was cold."])
    assert (answer.model, answer.usage.total_tokens) == (model.id, 15)
    vectors = [item.embedding for item in answer.data]
    assert [len(vector) for vector in vectors] == [384, 384]
    with pytest.raises(openai.BadRequestError, match="lists of token numbers are refused"):
        client.embeddings.create(model=model.id, input=[1, 2])
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt'"):
        client.embeddings.create(model="gpt", input="a")
    client.close()

    async def embed() -> list[list[float]]:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="unused") as other:
            found = await other.embeddings.create(
                model="default", input=["Ada Lovelace loved London.", "The soup was cold."], encoding_format="float"
            )
            return [item.embedding for item in found.data]

    assert np.array_equal(np.asarray(asyncio.run(embed()), np.float32), np.asarray(vectors, np.float32))


def test_the_examples_of_the_page_run(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Other tests must not reach the hub.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    commands, code = (_read_example(name).replace(ADDRESS, address) for name in ("curl", "clients.py"))
    shown = subprocess.run(["/bin/sh", "-ec", commands], capture_output=True, text=True, check=True).stdout
    assert shown.count('"model":"minilm') == 2
    assert '"text":"Ada Lovelace"' in shown
    assert '"label":"negative"' in shown
    scope: dict[str, Any] = {}
    exec(code, scope)  # noqa: S102  the example of the page
    assert scope["vector"] == pytest.approx(scope["same"][0].tolist(), abs=1e-6)
    assert scope["labels"][0].label == "negative"
    scope["client"].close()


def _read_example(name: str) -> str:
    found = re.search(rf"<!-- example: {re.escape(name)} -->\n```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]
