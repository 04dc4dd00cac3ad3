"""
Detect objects with a frozen chain
==================================

A detector of torchvision takes any module that returns feature maps as its backbone.
:func:`sktransfer.feature_pyramid` makes one of a chain of stages.  The stages before the cut stay
frozen when the detector trains, including the statistics of their batch norm.
"""

# %%
# Pictures with boxes
# -------------------
#
# Each picture has one or two pieces of fur or petals on gravel, at random places.  The pieces and
# the gravel of the test pictures come from other parts of the photos than those for training.

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import Rectangle

from sktransfer import load_textures

CLASSES = ["gravel", "fur", "petals"]  # a detector counts the background as class 0
SIDE = 64


def make_pictures(subset, n, seed):
    rng = np.random.default_rng(seed)
    textures = load_textures(subset, n_per_class=20)
    photos = {
        name: np.asarray(textures.data)[textures.target == list(textures.target_names).index(name)]
        for name in CLASSES
    }
    pictures, targets = [], []
    for _ in range(n):
        picture = photos["gravel"][rng.integers(20)].copy()
        boxes, labels = [], []
        for left in rng.permutation([0, SIDE // 2])[: rng.integers(1, 3)]:
            label, side = int(rng.integers(1, len(CLASSES))), int(rng.integers(18, 30))
            x = int(left + rng.integers(SIDE // 2 - side + 1))
            y = int(rng.integers(SIDE - side + 1))
            piece = photos[CLASSES[label]][rng.integers(20)]
            picture[y : y + side, x : x + side] = piece[:side, :side]
            boxes.append([x, y, x + side, y + side])
            labels.append(label)
        pictures.append(torch.from_numpy(picture).permute(2, 0, 1) / 255)  # (3, h, w)
        boxes, labels = torch.tensor(boxes, dtype=torch.float32), torch.tensor(labels)
        targets.append({"boxes": boxes, "labels": labels})
    return pictures, targets


pictures, targets = make_pictures("train", 60, seed=0)
test_pictures, test_targets = make_pictures("test", 20, seed=1)

# %%
# The chain as backbone of Faster R-CNN
# -------------------------------------
#
# The detector resizes and normalises the pictures itself, so it needs the mean and the standard
# deviation that belong to the weights.

from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator

from sktransfer import feature_pyramid

torch.manual_seed(0)
pyramid = feature_pyramid("builtin/mini", unfreeze=1, out_channels=32)
preset = pyramid.backbone.preset
detector = FasterRCNN(
    pyramid,
    num_classes=len(CLASSES),
    rpn_anchor_generator=AnchorGenerator(((8,), (16,), (24,), (32,), (48,)), ((1.0,),) * 5),
    min_size=SIDE,
    max_size=SIDE,
    image_mean=preset.mean,
    image_std=preset.std,
    box_batch_size_per_image=32,
    rpn_post_nms_top_n_train=100,
    rpn_post_nms_top_n_test=50,
)
print(pyramid.backbone)

# %%
# Training
# --------

frozen = {
    name: value.clone()
    for name, value in pyramid.backbone.state_dict().items()
    if name.split(".")[1] in pyramid.backbone.names[: pyramid.backbone.cut]
}
trained = [parameter for parameter in detector.parameters() if parameter.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=0.001)
detector.train()
for epoch in range(5):
    losses = []
    for rows in torch.randperm(len(pictures)).split(6):
        found = detector([pictures[row] for row in rows], [targets[row] for row in rows])
        loss = sum(found.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"epoch {epoch + 1}: loss {np.mean(losses):.2f}")

after = pyramid.backbone.state_dict()
moved = sum(not torch.equal(value, after[name]) for name, value in frozen.items())
print(f"{moved} of {len(frozen)} frozen tensors moved")

# %%
# Found boxes
# -----------
#
# A box is found if the detector has one of the same class with an overlap of at least one half.

from torchvision.ops import box_iou

detector.eval()
with torch.no_grad():
    found = detector(test_pictures)
n_found = n_boxes = 0
for boxes, truth in zip(found, test_targets, strict=True):
    sure = boxes["scores"] > 0.5
    same = boxes["labels"][sure][:, None] == truth["labels"]
    overlap = box_iou(boxes["boxes"][sure], truth["boxes"]) * same
    n_found += int((overlap >= 0.5).any(0).sum())
    n_boxes += len(truth["boxes"])
print(f"{n_found} of {n_boxes} boxes found")

figure, axes = plt.subplots(1, 4, figsize=(8, 2.2), layout="constrained")
for axis, picture, boxes in zip(axes, test_pictures, found, strict=False):
    axis.imshow(picture.permute(1, 2, 0).numpy())
    axis.axis("off")
    for (left, top, right, bottom), label, score in zip(
        boxes["boxes"].tolist(), boxes["labels"], boxes["scores"], strict=True
    ):
        if score > 0.5:
            width, height = right - left, bottom - top
            frame = Rectangle((left, top), width, height, fill=False, color=f"C{int(label)}", lw=2)
            axis.add_patch(frame)
            axis.text(
                left, top, CLASSES[label], color="w", backgroundcolor=f"C{int(label)}", size=7
            )
plt.show()
