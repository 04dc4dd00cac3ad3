"""timm's networks with random weights, and comparisons of backbones with them."""

from functools import cache

import pytest
import torch

from sktransfer import get_backbone
from sktransfer.testing import check_backbone

timm = pytest.importorskip("timm", reason="needs the extra 'timm'")


def enlivened(net):
    """Add random values to constant tensors of a new network: zeros would hide differences."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in [*net.parameters(), *net.buffers()]:
            if tensor.is_floating_point() and tensor.min() == tensor.max():
                tensor.add_(0.1 * torch.rand(tensor.shape, generator=generator))
    return net.eval()


def lively(name, **config):
    """Build timm's network with random weights and statistics, in evaluation mode."""
    torch.manual_seed(0)
    return enlivened(timm.create_model(name, **config))


def images(backbone):
    """Draw two images, small if the network takes small ones."""
    sizes = backbone.preset.sizes
    size = (
        sizes.only[0] if sizes.only else max(sizes.minimum, 64 // sizes.multiple * sizes.multiple)
    )
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


@cache
def built(name):
    """Return a backbone with random weights and the network that it shares; do not change them."""
    made, create_model = [], timm.create_model

    def spy(*args, **options):
        made.append(create_model(*args, **options))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, "create_model", spy)
        backbone = get_backbone(f"timm/{name}", weights=None)
    return backbone, enlivened(made[-1])


def check_against(backbone, net):
    """Check that a backbone is valid and computes the same as timm's network, bit for bit."""
    batch = images(backbone)
    with torch.no_grad():
        features, logits = net.forward_features(batch), net(batch)
        assert torch.equal(backbone(batch), features)
        assert not torch.equal(*logits)  # equal logits of both images would hide differences
    check_backbone(backbone, batch, (lambda _: logits) if backbone.classifier else None)
    assert backbone.names == ["stem", *(f"layer{i}" for i in range(1, len(backbone.names)))]
    assert 4 <= len(backbone.names) <= 6
