"""A server of files on this machine."""

from http.server import BaseHTTPRequestHandler

BODY = bytes(range(256)) * 5000


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
            self.trickle(chunked="chunked" in self.path)
        else:
            self.send_response(200)
            length = {"/cut.pth": len(BODY) + 7, "/huge.pth": 2**60}.get(self.path, len(BODY))
            if self.path != "/unannounced.pth":
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(BODY)

    def trickle(self, chunked):
        """Send twenty bytes, each when the client has read the last one."""
        self.protocol_version = "HTTP/1.1"
        self.send_response(200)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", "20")
        self.end_headers()
        for position in range(20):
            self.server.may_send.acquire()
            byte = BODY[position : position + 1]
            self.wfile.write(b"1\r\n" + byte + b"\r\n" if chunked else byte)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args):
        pass
