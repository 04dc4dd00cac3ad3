"""The sizes of images that a network can take."""

from __future__ import annotations

from dataclasses import dataclass

from .._support.validation import check_int


@dataclass(frozen=True)
class ImageSizes:
    """The sizes that a network can take.

    Parameters
    ----------
    minimum : int, default=32
        The least side, in pixels.
    multiple : int, default=1
        Sides are multiples of this.
    only : tuple of int, default=()
        Where it is not empty, the only sides.

    Examples
    --------
    >>> from sktransfer.data import ImageSizes
    >>> ImageSizes(multiple=32).check(224)
    224
    """

    minimum: int = 32
    multiple: int = 1
    only: tuple[int, ...] = ()

    def check(self, size: int) -> int:
        """Return ``size``, in pixels, if the network can take it.

        Raises
        ------
        ValueError
            Naming the sizes that it can take.
        """
        size = check_int("image_size", size, 1)
        if self.only and size not in self.only:
            listed = ", ".join(map(str, self.only))
            raise ValueError(f"image_size must be {listed}, which the network takes; got {size}.")
        if not self.only and (size < self.minimum or size % self.multiple):
            multiple = f" and a multiple of {self.multiple}" if self.multiple > 1 else ""
            raise ValueError(f"image_size must be at least {self.minimum}{multiple}; got {size}.")
        return size
