"""The smallest service that a supervisor can run: ready at once, drains on SIGTERM, dies when it is told to."""

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer({"ready": True, "pid": os.getpid(), "environment": dict(os.environ)})

    def do_POST(self) -> None:
        os._exit(7)

    def log_message(self, *_: object) -> None:
        """Silent."""

    def _answer(self, content: dict[str, object]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    if os.environ["FLEET_SERVICE"] == os.environ.get("SKETCH_BROKEN"):
        sys.exit("sketch_broken: no such setting")
    server = ThreadingHTTPServer((os.environ["FLEET_HOST"], int(os.environ["FLEET_PORT"])), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()
    sys.stdout.write("drained\n")
