"""An HTTP service that collapses over its knee, as a process of its own.

Below `KNEE` calls at once each takes 20 ms; above, all grow slower by the square of the overload.
While a file named `down` lies in its folder nothing is answered in time. `/counts` tells how many
calls there were, and how many at once at most.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

KNEE, QUICK = 6, 0.02
folder = Path(sys.argv[1])
lock = threading.Lock()
flying = calls = most = 0


class Handler(BaseHTTPRequestHandler):
    """Answers after a while, or too late."""

    def do_GET(self) -> None:
        global flying, calls, most
        if self.path == "/counts":
            self._answer(json.dumps({"calls": calls, "most_at_once": most, "knee": KNEE}).encode())
            return
        with lock:
            flying, calls = flying + 1, calls + 1
            crowd, most = flying, max(most, flying)
        try:
            load = max(1.0, crowd / KNEE)
            time.sleep(1.0 if (folder / "down").exists() else QUICK * load * load)
            self._answer(b"")
        except OSError:
            pass
        finally:
            with lock:
                flying -= 1

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
(folder / "port.new").write_text(str(server.server_address[1]))
(folder / "port.new").rename(folder / "port")
server.serve_forever()
