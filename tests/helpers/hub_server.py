"""A server on this machine that answers as the hub does."""

import threading
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Handler(BaseHTTPRequestHandler):
    """Files of repositories, by ``/OWNER/NAME/resolve/REVISION/FILE``."""

    def do_HEAD(self):
        self.answer(with_content=False)

    def do_GET(self):
        self.answer(with_content=True)

    def answer(self, with_content):
        repository, _, rest = self.path.strip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        self.server.asked.append((repository, revision, name))
        files = self.server.repositories.get(repository)
        if files is None or name not in files:
            code = "RepoNotFound" if files is None else "EntryNotFound"
            self.send_response(404)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{sha256(files[name]).hexdigest()}"')
        self.send_header("Content-Length", str(len(files[name])))
        self.end_headers()
        if with_content:
            self.wfile.write(files[name])

    def log_message(self, *args):
        pass


@contextmanager
def serving_hub(repositories):
    """Serve the files of repositories: contents by name, by the name of the repository."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.url = f"http://127.0.0.1:{server.server_port}"
        server.repositories, server.asked = repositories, []
        server.handle_error = lambda *args: None
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
