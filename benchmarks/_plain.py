"""A plain PyTorch loop around torchvision's mobilenet_v2, as a careful practitioner writes it."""

from time import perf_counter

import numpy as np
import torch
from _common import QUICK, SIZE
from _fits import BATCH_SIZE, Fit
from _recipe import DECAY, HEAD_LR, STAGES
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.models import mobilenet_v2
from torchvision.transforms import v2

LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}

pixels = [
    v2.PILToTensor(),
    v2.ToDtype(torch.float32, scale=True),
    v2.Normalize([0.5] * 3, [0.5] * 3),
]
centred = v2.Compose([v2.Resize(round(SIZE / 0.875)), v2.CenterCrop(SIZE), *pixels])
light = v2.Compose([v2.RandomResizedCrop(SIZE, (0.5, 1.0)), v2.RandomHorizontalFlip(), *pixels])


class Photos(Dataset):
    """Photos of the tutorials, a path opened, then transformed; and their targets."""

    def __init__(self, paths, transform, targets):
        self.paths = paths
        self.transform = transform
        self.targets = targets

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        photo = Image.open(self.paths[index]).convert("RGB")
        return self.transform(photo), self.targets[index]


def network(weights, n_classes, n_stages):
    """The network in evaluation mode with a new classifier, and groups of what trains."""
    net = mobilenet_v2()
    net.load_state_dict(load_file(weights))
    net.classifier = nn.Linear(net.last_channel, n_classes)
    net.eval().features.requires_grad_(False)
    groups = [{"params": net.classifier.parameters(), "lr": HEAD_LR}]
    for depth, stage in enumerate(STAGES[::-1][:n_stages], start=1):
        part = net.features[stage].requires_grad_(True)
        groups.append({"params": part.parameters(), "lr": HEAD_LR * DECAY**depth})
    return net, groups


def train(net, groups, batches, n_epochs, layout, dtype):
    """Train ``net`` in place, one cycle."""
    optimizer = AdamW(groups)
    rates = [group["lr"] for group in groups]
    schedule = OneCycleLR(optimizer, rates, total_steps=n_epochs * len(batches))
    for _ in range(n_epochs):
        for x, target in batches:
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                logits = net(x.contiguous(memory_format=layout))
            cross_entropy(logits.float(), target, label_smoothing=0.1).backward()
            optimizer.step()
            schedule.step()


def plain_fit(
    weights, n_stages, *, augment=False, n_workers=0, layout="contiguous", dtype=torch.float32
):
    """A fit of the loop; without augmentation photos are decoded once, and kept as tensors."""

    def fit(photos, labels, n_epochs):
        start = perf_counter()
        torch.manual_seed(0)
        classes, targets = np.unique(labels, return_inverse=True)
        net, groups = network(weights, len(classes), n_stages)
        net = net.to(memory_format=LAYOUTS[layout])
        data = Photos(photos, light if augment else centred, torch.from_numpy(targets))
        if not augment:
            data = TensorDataset(torch.stack([x for x, _ in data]), data.targets)
        workers = {"num_workers": n_workers, "persistent_workers": n_workers > 0}
        batches = DataLoader(data, batch_size=BATCH_SIZE, shuffle=True, **workers)
        train(net, groups, batches, n_epochs, LAYOUTS[layout], dtype)
        return Fit(lambda some: classes[scores(net, some).argmax(1)], perf_counter() - start)

    return fit


@torch.inference_mode()
def scores(net, photos):
    """The network's outputs for photos, each seen at its centre."""
    data = Photos(photos, centred, np.zeros(len(photos)))
    return torch.cat([net(x) for x, _ in DataLoader(data, batch_size=BATCH_SIZE)]).numpy()


def fastest(candidates, task):
    """The name and the fit of the quickest of some, by two epochs of a few photos."""
    if QUICK:
        return next(iter(candidates.items()))
    few, times = task.few(BATCH_SIZE), {}
    for name, fit in candidates.items():
        fit(task.photos[few], task.labels[few], 1)
        times[name] = fit(task.photos[few], task.labels[few], 2).seconds
    best = min(times, key=times.get)
    return best, candidates[best]
