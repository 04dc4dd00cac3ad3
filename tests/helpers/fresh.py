"""Python code in processes without a past: forks of one that has imported the package only.

A process that imports torch and the package takes four seconds of processor time.  The one that is
forked computes nothing, so it has no threads, and its strings have other hashes than those here.
"""

import atexit
import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1]

SERVER = """
import json, os, signal, sys, traceback
import sktransfer.estimators

def run(code, arguments, environment, folder, printed, errors):
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    os.dup2(os.open(printed, os.O_WRONLY | os.O_APPEND), 1)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_APPEND), 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.alarm(240)
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})

for line in sys.stdin:
    pid = os.fork()
    if not pid:
        status = 1
        try:
            run(*json.loads(line))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


@cache
def server():
    """Start the process that is forked; it ends with this one."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(process.communicate)
    return process


def run_fresh(code, *arguments):
    """Return what Python code prints in a process of its own; it must not fail there."""
    if not hasattr(os, "fork"):
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    with tempfile.NamedTemporaryFile("r") as printed, tempfile.NamedTemporaryFile("r") as errors:
        how = [*map(str, arguments)], dict(os.environ), str(Path.cwd())
        process = server()
        request = json.dumps([code, *how, printed.name, errors.name])
        print(request, file=process.stdin, flush=True)
        status = process.stdout.readline()
        assert status == "0\n", f"the process ended with {status}{errors.read()}"
        return printed.read()
