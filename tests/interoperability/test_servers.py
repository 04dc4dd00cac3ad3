"""Servers that load a model once and fork serve predictions."""

import http.client
import os
import socket
import subprocess
import sys
import time

import pytest
from helpers.forked import needs_computing_forks, run_program

pytestmark = needs_computing_forks

FORK_SERVER = """
import os, signal
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.request import urlopen
from helpers.tiny import coloured_photos, tiny_backbone
from sktransfer import FineTuneClassifier

X, y = coloured_photos(n_each=10)
model = FineTuneClassifier(tiny_backbone, max_epochs=1, random_state=0).fit(X, y)
expected = " ".join(model.predict(X))

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(" ".join(model.predict(X)).encode())

    def log_message(self, *args):
        pass

with HTTPServer(("127.0.0.1", 0), Handler) as server:
    workers = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            signal.alarm(200)
            server.serve_forever()
        workers.append(pid)
    try:
        for _ in range(6):
            answer = urlopen(f"http://127.0.0.1:{server.server_port}/", timeout=60).read().decode()
            assert answer == expected
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
"""

POOL = """
import multiprocessing
import numpy as np
from helpers.tiny import coloured_photos, tiny_backbone
from sktransfer import FineTuneClassifier

X, y = coloured_photos(n_each=10)
model = FineTuneClassifier(tiny_backbone, max_epochs=1, random_state=0).fit(X, y)
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["sktransfer.estimators"])
with context.Pool(2) as pool:
    parts = pool.map_async(model.predict_proba, np.split(X, 2)).get(200)
np.testing.assert_allclose(np.concatenate(parts), model.predict_proba(X), rtol=1e-5)
"""

APP = """
from helpers.tiny import coloured_photos, tiny_backbone
from sktransfer import FineTuneClassifier

X, y = coloured_photos(n_each=10)
model = FineTuneClassifier(tiny_backbone, max_epochs=1, random_state=0).fit(X, y)
expected = " ".join(model.predict(X))

def application(environ, start_response):
    body = str(" ".join(model.predict(X)) == expected).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def test_the_children_of_a_preloaded_server_predict():
    run_program(FORK_SERVER)


def test_a_pool_of_a_preloading_fork_server_predicts():
    run_program(POOL)


class Connection(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.host)


def ask(address, seconds=120):
    """Ask until the server answers."""
    end = time.monotonic() + seconds
    while True:
        try:
            connection = Connection(str(address))
            connection.request("GET", "/", headers={"Host": "server"})
            return connection.getresponse().read()
        except (FileNotFoundError, ConnectionError):
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def test_gunicorn_serves_a_preloaded_model(tmp_path, importable):
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    (tmp_path / "app.py").write_text(APP)
    command = [
        sys.executable, "-m", "gunicorn", "--preload", "--workers", "2",
        "--bind", f"unix:{tmp_path}/s", "app:application",
    ]  # fmt: skip
    threads = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}
    server = subprocess.Popen(command, cwd=tmp_path, env=os.environ | threads)
    try:
        assert [ask(tmp_path / "s") for _ in range(4)] == [b"True"] * 4
    finally:
        server.terminate()
        server.wait(60)
