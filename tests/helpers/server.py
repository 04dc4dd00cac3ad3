"""A server of files on this machine."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY = bytes(range(256)) * 5000
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


class Handler(BaseHTTPRequestHandler):
    """Answers of a server on this machine, by path."""

    def do_GET(self):
        self.server.asked.append(self.path)
        self.server.may_answer.wait()
        if self.path in self.server.files:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.server.files[self.path])
        elif self.path == "/missing.pth":
            self.send_error(404)
        elif self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", self.server.moved_to)
            self.end_headers()
        elif self.path.startswith("/trickle"):
            self.trickle(self.path)
        else:
            self.send_response(200)
            length = {"/cut.pth": len(BODY) + 7, "/huge.pth": 2**60}.get(self.path, len(BODY))
            if self.path != "/unannounced.pth":
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(BODY)

    def trickle(self, path):
        """Send twenty bytes of a part of the answer, each when the client has read the last one."""
        start = b"HTTP/1.1 200 OK\r\n"
        before, slow, after = {
            "/trickle.pth": (start + b"Content-Length: 20\r\n\r\n", BODY[:20], b""),
            "/trickle-chunks.pth": (
                start + CHUNKED,
                [b"1\r\n%c\r\n" % byte for byte in BODY[:20]],
                b"0\r\n\r\n",
            ),
            "/trickle-sizes.pth": (start + CHUNKED, b"1;" + 18 * b"a", b"\r\n0\r\n0\r\n\r\n"),
            "/trickle-status.pth": (b"", b"HTTP/1.1 200 " + 7 * b"a", b"\r\n\r\n"),
            "/trickle-headers.pth": (start, b"a: " + 17 * b"a", b"\r\n\r\n"),
        }[path]
        self.wfile.write(before)
        for part in slow:
            self.server.may_send.acquire()
            self.wfile.write(bytes([part]) if isinstance(part, int) else part)
        self.wfile.write(after)

    def log_message(self, *args):
        pass


@contextmanager
def serving():
    """Start a server; it records requests, and can be made to wait."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.url = f"http://127.0.0.1:{server.server_port}"
        server.asked, server.files, server.moved_to = [], {}, "/net.pth"
        server.handle_error = lambda *args: None  # the tests close connections on purpose
        server.may_answer = threading.Event()
        server.may_answer.set()
        server.may_send = threading.Semaphore(0)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
