"""The package pytorch_grad_cam explains ``module_`` as a few lines of torch do."""

import numpy as np
import pytest
import torch

pytorch_grad_cam = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed")


def heat(module, stage, batch, column):
    """Return the heat map of a class for each row of a batch."""
    kept = {}
    hook = stage.register_forward_hook(lambda _stage, _inputs, maps: kept.update(maps=maps))
    scores = module(batch)[:, column].sum()
    hook.remove()
    (slopes,) = torch.autograd.grad(scores, kept["maps"])
    weights = slopes.mean((2, 3), keepdim=True)
    return (weights * kept["maps"]).sum(1).relu().detach().numpy()


@pytest.mark.parametrize("column", [0, 2])
def test_the_maps_are_those_of_torch(classifier, paths, column):
    from pytorch_grad_cam.utils.image import scale_cam_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    X, y = paths
    model = classifier(unfreeze=1).fit(X, y)
    module, preset = model.module_, model.backbone_.preset
    stage = module.backbone.stages["layer1"]
    batch = preset.collate([preset(path) for path in X[:6]], 6)
    with pytorch_grad_cam.GradCAM(model=module, target_layers=[stage]) as explain:
        found = explain(batch, [ClassifierOutputTarget(column)] * 6)
    expected = heat(module, stage, batch, column)
    assert (expected.max((1, 2)) > 0).any()
    side = batch.shape[-1]
    # the package scales the map of each photo to its size, and to values from 0 to 1
    scaled = scale_cam_image(scale_cam_image(expected, (side, side)))
    np.testing.assert_allclose(found, scaled, rtol=1e-4, atol=1e-5)
