"""The report describes each stage, and frozen stages that move are an error."""

import numpy as np
import pytest
import torch
from helpers.fine_tuning import classifier, equal
from helpers.tiny import tiny_backbone
from skorch.callbacks import EarlyStopping
from torch import nn

from sktransfer import Backbone, FineTuneClassifier
from sktransfer.exceptions import FreezeError


@pytest.mark.parametrize(
    ("unfreeze", "learns"),
    [
        (0, []),
        (1, ["layer2"]),
        (2, ["layer1", "layer2"]),
        ("layer1", ["layer1", "layer2"]),
        (3, ["stem", "layer1", "layer2"]),
        ("all", ["stem", "layer1", "layer2"]),
        ("auto", ["stem", "layer1", "layer2"]),
    ],
)
@pytest.mark.parametrize("augment", [None, "light"])
def test_stages_before_the_cut_keep_every_bit(photos, unfreeze, learns, augment):
    model = classifier(unfreeze=unfreeze, augment=augment, freeze_bn="frozen").fit(*photos)
    pristine = tiny_backbone().stages
    for name, stage in model.backbone_.stages.items():
        assert equal(stage.state_dict(), pristine[name].state_dict()) == (name not in learns)
    rows = {row["stage"]: row for row in model.report_}
    assert [name for name, row in rows.items() if not row["frozen"]] == [*learns, "head"]
    assert all((rows[name]["moved"] > 0) == (name in learns) for name in pristine)
    modes = {name: rows[name]["batch_norm"] for name in pristine}
    assert modes == {name: "train" if name in learns else "eval" for name in pristine}


def test_freeze_bn_all_keeps_batch_norm_in_evaluation_mode_everywhere(photos):
    model = classifier(freeze_bn="all").fit(*photos)
    for name, value in tiny_backbone().stages.state_dict().items():
        if "running" in name:
            assert torch.equal(model.backbone_.stages.state_dict()[name], value)
    assert {row["batch_norm"] for row in model.report_[:-1]} == {"eval"}


def test_the_report_notes_a_stage_that_was_set_back(photos):
    X, y = photos
    model = classifier(fine_tune_lr=0.01, optimizer="sgd", lr_schedule="constant", max_epochs=1)
    model.fit(X[:24], y[:24], X_val=X[24:], y_val=np.roll(y[24:], 1))
    assert model.best_epoch_ == 0
    assert "reset to its weights before training" in model.report_[0]["note"]


def detached():
    class Detached(nn.Sequential):
        def forward(self, x):
            return super().forward(x).detach()

    backbone = tiny_backbone()
    stages = dict(backbone.stages)
    return Backbone(stages | {"layer2": Detached(*stages["layer2"])}, backbone.preset)


def test_a_trainable_stage_without_a_gradient_is_an_error(photos):
    model = FineTuneClassifier(detached, random_state=0, max_epochs=1)
    with pytest.raises(FreezeError, match="Stage 'stem' is trainable and got no gradient"):
        model.fit(*photos)


def test_a_frozen_stage_that_moves_is_an_error(photos):
    class Mover(EarlyStopping):
        def on_epoch_end(self, net, **kwargs):
            with torch.no_grad():
                next(net.module_.backbone.stages["stem"].parameters()).add_(1)

    model = classifier(unfreeze=1, skorch_callbacks=[Mover("train_loss")])
    with pytest.raises(
        FreezeError,
        match=r"Stage 'stem' is frozen and must not change, but its '0\.weight' changed",
    ):
        model.fit(*photos)
