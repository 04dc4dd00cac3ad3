"""Claim: ``import sktransfer`` and ``sktransfer --help`` load no torch.

python benchmarks/import_time.py [--quick]
"""

import json
import subprocess
import sys
from statistics import median

from _common import QUICK, seconds

N_REPEATS = 1 if QUICK else 7
HELP = """
from sktransfer.cli.app import main
sys.argv = ['sktransfer', '--help']
try:
    main()
except SystemExit:
    pass
"""
SCRIPTS = {"import sktransfer": "import sktransfer", "sktransfer --help": HELP}


def run(script):
    """Return True if a new process loads torch, and its wall time in seconds."""
    command = [sys.executable, "-c", f"import sys\n{script}\nprint('torch' in sys.modules)"]
    done, time = seconds(
        lambda: subprocess.run(command, capture_output=True, text=True, check=True)
    )
    return done.stdout.splitlines()[-1] == "True", time


run("import torch")  # warms the disk
runs = {
    name: [(run("import torch"), run(script)) for _ in range(N_REPEATS)]
    for name, script in SCRIPTS.items()
}
result = {
    name: {
        "loads torch": any(loads for _, (loads, _) in pairs),
        "import torch / this": round(median(torch[1] / own[1] for torch, own in pairs), 2),
        "seconds": round(median(own[1] for _, own in pairs), 3),
    }
    for name, pairs in runs.items()
}
rows = [
    {
        "claim": f"`{name}`",
        "bar": "loads no torch",
        "measured": "loads torch" if found["loads torch"] else "loads none",
        "details": "{seconds} s; `import torch` takes {import torch / this} times as long".format(
            **found
        ),
        "holds": not found["loads torch"],
    }
    for name, found in result.items()
]
print(json.dumps({"rows": rows, **result}, indent=2))
assert all(row["holds"] for row in rows), "neither may load torch"
