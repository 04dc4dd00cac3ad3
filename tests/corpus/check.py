"""Examine every file below a folder: python tests/corpus/check.py DIR."""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

TESTS = Path(__file__).parents[1]

# Number of files that are examined together.  If anything is wrong, each is examined alone.
TOGETHER = 50

# Number of characters that are shown of the last output of a process
SHOWN = 2000

COMMAND = (sys.executable, "-m", "corpus.child")


def check(paths, n_processes, command=COMMAND):
    """Return the results of files, counted, and the faults: pairs of path and description."""
    shares = [paths[start::n_processes] for start in range(n_processes)]
    with ThreadPoolExecutor(n_processes) as pool:
        return _sum(pool.map(lambda share: _check_share(share, command), shares))


def _check_share(paths, command):
    """Examine files in one process at a time."""
    answers = []
    with Child(command) as child:
        for start in range(0, len(paths), TOGETHER):
            chunk = paths[start : start + TOGETHER]
            answer = child.examine(chunk)
            if answer[1] and len(chunk) > 1:
                alone = _sum(child.examine([path]) for path in chunk)
                answer = alone if alone[1] else answer
            answers.append(answer)
    return _sum(answers)


def _sum(answers):
    """Add up counts and join faults."""
    counts, faults = Counter(), []
    for results, found in answers:
        counts.update(results)
        faults.extend(found)
    return counts, faults


class Child:
    """A process that examines files, and is started again when it has ended."""

    def __init__(self, command):
        self._command, self._process = command, None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._end()
        self._errors.close()

    def examine(self, paths):
        """Return the results of some files, counted, and the faults."""
        self._process = self._process or self._start()
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(paths) + "\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if answer:
            results, faults = json.loads(answer)
            return Counter(results), [tuple(fault) for fault in faults]
        status = self._end()
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace")[-SHOWN:]
        return Counter(), [(", ".join(paths), f"ends the process, status {status}: {last}")]

    def _start(self):
        self._errors.seek(0)  # processes write where the last one stopped
        self._errors.truncate()
        path = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
        # More arenas of the C library would reserve memory that they do not use.
        fixed = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "PYTHONPATH": path}
        return subprocess.Popen(
            self._command,
            env=os.environ | fixed,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def _end(self):
        """End the process, and return its status."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.communicate()
        return process.returncode


def main(folder):
    """Print the results of all files below ``folder``, and return 1 if anything is wrong."""
    paths = [str(path) for path in sorted(Path(folder).rglob("*")) if path.is_file()]
    results, faults = check(paths, os.cpu_count())
    for path, fault in faults:
        sys.stdout.write(f"{path!r}: {fault}\n")
    counts = ", ".join(f"{n:,} {result}" for result, n in results.most_common())
    sys.stdout.write(f"{len(paths):,} files: {counts}; {len(faults):,} faults\n")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
