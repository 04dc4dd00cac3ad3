"""Claim: with batch_size=1, one photo costs at most 2 ms over decoding it and the forward pass.

    python benchmarks/one_photo.py [--quick]

A warm cache answers within 2 ms, too.  The default batch, which computes 16 rows for one photo, is
shown without a bar.
"""

import json
import tempfile
from pathlib import Path
from statistics import median

from _common import QUICK, at_most, seconds, write_photos

from sktransfer import PretrainedFeatureExtractor

BACKBONE, N_REPEATS = ("builtin/mini", 3) if QUICK else ("torchvision/mobilenet_v2", 60)


def milliseconds(job):
    """The median wall time of ``job()``, after one run to warm up."""
    job()
    return 1000 * median(seconds(job)[1] for _ in range(N_REPEATS))


with tempfile.TemporaryDirectory() as name:
    (photo,) = write_photos(Path(name) / "photos", 1)
    model = PretrainedFeatureExtractor(BACKBONE, weights=None, verbose=0).fit([photo])
    prefix, preset = model._fitted.prefix.sized(1), model.backbone_.preset
    result = {"default": milliseconds(lambda: model.transform([photo]))}
    model.set_params(batch_size=1)
    batch = preset.collate([preset(photo)], 1)
    result |= {
        "decode": milliseconds(lambda: preset(photo)),
        "forward": milliseconds(lambda: prefix(batch)),
        "transform": milliseconds(lambda: model.transform([photo])),
    }
    model.set_params(cache=Path(name) / "cache")
    result["warm"] = milliseconds(lambda: model.transform([photo]))

result["over"] = result["transform"] - result["decode"] - result["forward"]
result = {key: round(value, 2) for key, value in result.items()}
told = "{transform} ms, of which {decode} decode and {forward} run the network".format(**result)
rows = [
    at_most("one photo, over decoding it and the forward pass", result["over"], 2, " ms", told),
    at_most("one photo that is cached", result["warm"], 2, " ms"),
]
print(json.dumps({"rows": rows, **result}, indent=2))
assert QUICK or all(row["holds"] for row in rows), "one photo must not cost more"
