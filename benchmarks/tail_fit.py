"""Claim: one fit of two stages, 10 epochs, is 2 times faster than in fastai and in a plain loop.

    python benchmarks/tail_fit.py [--quick] [--data DIR] [--weights FILE] [--repeats N]

MobileNetV2 on two thirds of hymenoptera, no augmentation, nothing cached before: frozen stages run
once for each photo, where the others run them in each epoch.  Where photos or weights are not
there, they are made, and only seconds compare; where fastai is not installed it is skipped.

The plain PyTorch loop decodes its photos once and keeps them as tensors, asks for no gradient of
what is frozen, and has the memory layout that suits it best.  fastai is frozen up to the same
stage, gain and bias of batch norm included, so that its backward pass ends there.
"""

import json
import tempfile
from pathlib import Path

from _common import QUICK, SIZE, photo_task, seconds
from _fits import BATCH_SIZE, Fit, compare, faster, fit_options, hold, ours
from _plain import LAYOUTS, STAGES, fastest, plain_fit

BAR = 2
N_EPOCHS, N_STAGES = 2 if QUICK else 10, 2


def fastai(photos, labels, n_epochs):
    from _fastai import learner_of, predictor, silent
    from fastai.torch_core import params

    def groups(model):
        features, cut = model[0][0], STAGES[-N_STAGES].start
        return [params(part) for part in (features[:cut], features[cut:], model[1:])]

    def run():
        how = {"bs": BATCH_SIZE, "train_bn": False, "splitter": groups}
        learner = learner_of(photos, labels, task.weights, SIZE, **how)
        learner.freeze_to(1)
        with silent(learner):
            learner.fit_one_cycle(n_epochs)
        return learner

    learner, whole = seconds(run)
    return Fit(predictor(learner), whole)


given = fit_options().parse_args()
with tempfile.TemporaryDirectory() as name:
    task = photo_task(given, Path(name))
    loops = {layout: plain_fit(task.weights, N_STAGES, layout=layout) for layout in LAYOUTS}
    layout, loop = fastest(loops, task)
    own = ours(task.weights, unfreeze=N_STAGES, augment=None)
    results = compare(own, {"fastai": fastai, "loop": loop}, task, N_EPOCHS, given.repeats)

claim = f"two stages of `mobilenet_v2`, {N_EPOCHS} epochs, against"
rows = [
    faster(f"{claim} fastai", BAR, results, "fastai"),
    faster(f"{claim} a plain loop", BAR, results, "loop", f"photos in memory, {layout}"),
]
print(json.dumps({"rows": rows, "task": task.about(), "results": results}, indent=2))
assert QUICK or hold(rows), "two stages must train twice as fast"
