"""`/docs` of the HTTP endpoint works in a browser, without other hosts and within its policy."""

from __future__ import annotations

import pytest

from tests.api.endpoint import Endpoint
from tests.integration.support.browser import CHROMIUM, open_page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium-headless-shell")


async def test_the_page_shows_the_routes_and_sends_a_request() -> None:
    endpoint = Endpoint()
    async with endpoint.running(), open_page() as page:
        await page.open_until_loaded(f"{endpoint.server.address}/docs")
        await page.until("document.querySelectorAll('details').length == 6")
        assert "Return the vectors of texts, for OpenAI's clients." in await page.read_text("details summary")
        await page.click("details summary")
        await page.click("details button")
        await page.until_text("details pre", "200  fake@1")
        await page.type("details textarea", '{"input": "<img src=x onerror=alert(1)>", "model": "<b>"}')
        await page.click("details button")
        await page.until_text("details pre", "there is no model '<b>'")
        assert all(name for role, name in await page.list_controls() if role in {"button", "textbox", "link"})
        # The browser notes every answer with an error status.
        assert [problem for problem in page.problems if "404" not in problem] == []
