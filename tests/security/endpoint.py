"""A token endpoint with https. It returns a token for the client secret, and can be made to fail."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qs

from tests.security.certificates import HERE
from tests.security.secured_kafka import build_token

if TYPE_CHECKING:
    from types import TracebackType

    from tests.security.certificates import Identity

CLIENT_ID, CLIENT_SECRET, SCOPE = "worker", "cs-4f1d0a77c2e94b", "kafka"


class TokenEndpoint:
    """Listens inside its `with` block."""

    def __init__(self, identity: Identity) -> None:
        """Choose a port."""
        # The tokens that were issued.
        self.issued: list[str] = []
        # The lifetime of the next token, in seconds.
        self.lifetime_s = 600.0
        # The status and content of the response in place of a token.
        self.response: tuple[int, bytes] | None = None
        self._server = ThreadingHTTPServer((HERE, 0), self._handler())
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.cert_file, identity.key_file)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://{HERE}:{self._server.server_port}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, authorization: str, form: dict[str, list[str]]) -> tuple[int, bytes]:
        if self.response is not None:
            return self.response
        if authorization != "Basic " + base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode():
            error = {"error": "invalid_client", "error_description": f"not known: {authorization}"}
            return 401, json.dumps(error).encode()
        if form != {"grant_type": ["client_credentials"], "scope": [SCOPE]}:
            return 400, b'{"error": "invalid_scope"}'
        self.issued.append(build_token(lifetime_s=self.lifetime_s))
        return 200, json.dumps({"access_token": self.issued[-1], "expires_in": self.lifetime_s, "token_type": "Bearer"}).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                status, content = endpoint._answer(self.headers.get("Authorization", ""), form)
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "https://127.0.0.1:1/")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Write no log."""

        return Handler
