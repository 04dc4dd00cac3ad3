"""Operations that torchvision's networks run between their submodules, as modules."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.models import VisionTransformer

# ImageNet's mean and standard deviation of the channels red, green, blue.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Rescale(nn.Module):
    """Change the normalisation of images from ImageNet's to mean 0.5 and standard deviation 0.5.

    GoogLeNet and Inception were trained with the latter, in another library.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the rescaled images, (b, 3, h, w)."""
        moments = zip(MEAN, STD, strict=True)
        # Python floats, because a buffer would be rounded in half precision
        channels = [
            x[:, index : index + 1] * (std / 0.5) + (mean - 0.5) / 0.5
            for index, (mean, std) in enumerate(moments)
        ]
        return torch.cat(channels, 1)  # (b, 3, h, w)


class Mean(nn.Module):
    """Average a feature map over its positions."""

    def forward(self, x: Tensor) -> Tensor:
        """Return one vector for each image, (b, c)."""
        return x.mean([2, 3])  # (b, c)


class ClassToken(nn.Module):
    """Take the first token of a sequence."""

    def forward(self, x: Tensor) -> Tensor:
        """Return one vector for each image, (b, d)."""
        return x[:, 0]  # (b, d)


class Tokens(nn.Module):
    """Convert an image to tokens: a class token and its patches, with position embeddings.

    For an image size other than that of the training, the position embedding is interpolated like
    in torchvision's ``interpolate_embeddings``.

    Parameters
    ----------
    vit : torchvision.models.VisionTransformer
        Its submodules and parameters are shared.
    """

    def __init__(self, vit: Any):
        super().__init__()
        self.conv_proj: nn.Module = vit.conv_proj
        self.class_token: nn.Parameter = vit.class_token
        self.pos_embedding: nn.Parameter = vit.encoder.pos_embedding
        self.dropout: nn.Module = vit.encoder.dropout

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens, (b, 1 + n_patches, d)."""
        x = self.conv_proj(x)  # (b, d, h, w)
        position = self._position(x.shape[2], x.shape[3])
        x = x.flatten(2).permute(0, 2, 1)  # (b, h * w, d)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)  # (b, 1 + h * w, d)
        out: Tensor = self.dropout(x + position)
        return out

    def _position(self, height: int, width: int) -> Tensor:
        side = round((self.pos_embedding.shape[1] - 1) ** 0.5)
        if (height, width) == (side, side):
            return self.pos_embedding
        token, grid = self.pos_embedding[:, :1], self.pos_embedding[:, 1:]
        grid = grid.permute(0, 2, 1).reshape(1, -1, side, side)  # (1, d, side, side)
        grid = interpolate(grid, size=(height, width), mode="bicubic", align_corners=True)
        return torch.cat([token, grid.flatten(2).permute(0, 2, 1)], dim=1)  # (1, 1 + h * w, d)


def glue(net: nn.Module) -> dict[str, nn.Module]:
    """Return the operations between submodules, by the names that the tables use."""
    glue = {
        "average": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(1),
        "mean": Mean(),
        "rectify": nn.ReLU(),
        "rescale": Rescale() if getattr(net, "transform_input", False) else nn.Identity(),
    }
    if isinstance(net, VisionTransformer):
        glue |= {"tokens": Tokens(net), "first_token": ClassToken()}
    return glue
