"""A fine-tuning written by hand, as a practitioner who knows all of it writes it in plain PyTorch.

An exact head first, on standardised features; then everything is unfrozen, batch norm stays in
evaluation mode, and each stage learns at 0.4 times the rate of the one above it.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from torchvision.models import mobilenet_v2
from torchvision.transforms import v2

STAGES = (slice(0, 4), slice(4, 8), slice(8, 15), slice(15, 19))
HEAD_LR, LAST_STAGE_LR, DECAY = 1e-3, 3e-4, 0.4
BATCH_SIZE = 32

normalised = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)])


class Standardise(nn.Module):
    """Features of mean 0 and deviation 1, as the frozen network gives them."""

    def __init__(self, features):
        super().__init__()
        self.register_buffer("mean", features.mean(0))
        self.register_buffer("scale", features.std(0, correction=0).clamp(min=1e-6))

    def forward(self, features):
        """Standardised features."""
        return (features - self.mean) / self.scale


def batches(photos, parts, transform):
    """The batches of some parts of the photos; the next one is decoded while one is used."""

    def load(rows):
        opened = (Image.open(photos[row]).convert("RGB") for row in rows)
        pixels = torch.stack([transform(v2.functional.pil_to_tensor(photo)) for photo in opened])
        return rows, normalised(pixels).contiguous(memory_format=torch.channels_last)

    with ThreadPoolExecutor(1) as pool:  # one thread: what is drawn is drawn in one order
        waiting = [pool.submit(load, rows) for rows in parts[:2]]
        for rows in [*parts[2:], None, None][: len(parts)]:
            batch = waiting.pop(0).result()
            if rows is not None:
                waiting.append(pool.submit(load, rows))
            yield batch


def in_order(model, photos, size, dtype):
    """The model's outputs for photos, each seen once, at its centre."""
    transform = v2.Compose([v2.Resize(round(size / 0.875)), v2.CenterCrop(size)])
    parts = np.split(np.arange(len(photos)), range(BATCH_SIZE, len(photos), BATCH_SIZE))
    with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        outputs = [model(x).float() for _, x in batches(photos, parts, transform)]
    return torch.cat(outputs)


def exact_head(features, targets, n_classes):
    """A linear layer that says what logistic regression says."""
    exact = LogisticRegression(C=0.01, max_iter=1000).fit(features.numpy(), targets.numpy())
    coef, bias = torch.from_numpy(exact.coef_), torch.from_numpy(exact.intercept_)
    if n_classes == 2:  # it has one score for two classes
        coef, bias = torch.cat([-coef, coef]) / 2, torch.cat([-bias, bias]) / 2
    head = nn.Linear(features.shape[1], n_classes)
    with torch.no_grad():
        head.weight.copy_(coef), head.bias.copy_(bias)
    return head


def parameter_groups(body, head):
    """One learning rate for each stage, and the head's."""
    groups = [{"params": list(head.parameters()), "lr": HEAD_LR}]
    for below, stage in enumerate(reversed(STAGES)):
        groups.append(
            {"params": list(body[stage].parameters()), "lr": LAST_STAGE_LR * DECAY**below}
        )
    return groups


def train(model, groups, photos, targets, *, size, n_epochs, dtype):
    """Train ``model``, whose batch norm is in evaluation mode, in place."""
    n_steps = -(-len(photos) // BATCH_SIZE)
    optimizer = AdamW(groups)
    rates = [group["lr"] for group in groups]
    schedule = OneCycleLR(optimizer, rates, total_steps=n_epochs * n_steps)
    views = v2.Compose([v2.RandomResizedCrop(size, (0.5, 1.0)), v2.RandomHorizontalFlip()])
    for _ in range(n_epochs):
        order = np.random.permutation(len(photos))  # noqa: NPY002 - seeded with all else
        parts = np.split(order, range(BATCH_SIZE, len(photos), BATCH_SIZE))
        for rows, x in batches(photos, parts, views):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                logits = model(x)
            cross_entropy(logits.float(), targets[rows], label_smoothing=0.1).backward()
            optimizer.step()
            schedule.step()


def fit_by_hand(photos, labels, weights, *, seed, size=224, n_epochs=6, dtype=torch.float32):
    """A function of photos that gives their labels.

    Parameters
    ----------
    photos : sequence of paths
    labels : sequence of str
    weights : path
        A state dict of torchvision's mobilenet_v2; its pixels have mean 0.5 and deviation 0.5.
    seed : int
    size : int
        Side of what the network sees, in pixels.
    n_epochs : int
    dtype : torch.dtype
        Of the forward pass.
    """
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the order of an epoch is drawn from it
    classes, targets = np.unique(labels, return_inverse=True)
    targets = torch.from_numpy(targets)
    net = mobilenet_v2()
    net.load_state_dict(load_file(weights))
    body = net.features.eval().to(memory_format=torch.channels_last)
    pooled = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    features = in_order(pooled, photos, size, dtype)
    standardise = Standardise(features)
    head = exact_head(standardise(features), targets, len(classes))
    model = nn.Sequential(pooled, standardise, head)
    groups = parameter_groups(body, head)
    train(model, groups, photos, targets, size=size, n_epochs=n_epochs, dtype=dtype)
    return lambda some: classes[in_order(model, some, size, dtype).argmax(1).numpy()]
