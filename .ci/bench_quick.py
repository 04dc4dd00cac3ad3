"""Runs every benchmark with --quick, two at a time, in forks of a process that imports the package.

The import takes three seconds, and the quick run of most benchmarks as long again.
"""

import io
import multiprocessing
import runpy
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from pathlib import Path

from joblib.externals.loky import get_reusable_executor

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


def run(path: Path) -> str:
    """Return the output of a benchmark."""
    sys.argv = [str(path), "--quick"]
    sys.path.insert(0, str(FOLDER))
    with redirect_stdout(io.StringIO()) as printed:
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f"{path.name} ended with {end.code}") from end
    # joblib ends its processes when an interpreter ends, which a fork does not do.
    get_reusable_executor().shutdown(wait=True)
    return printed.getvalue()


if __name__ == "__main__":
    paths = sorted(FOLDER.glob("[a-z]*.py"))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "sklearn.pipeline", "sktransfer.estimators"])
    with ProcessPoolExecutor(2, context, max_tasks_per_child=1) as pool:
        for path, printed in zip(paths, pool.map(run, paths), strict=True):
            sys.stdout.write(f"{path.name} {printed}")
