"""The sizes of images that a network accepts."""

from __future__ import annotations

from dataclasses import dataclass

from .._support.validation import check_int


@dataclass(frozen=True)
class ImageSizes:
    """The sizes of square images that a network accepts, in pixels.

    Parameters
    ----------
    minimum : int, default=32
        Minimum side.
    multiple : int, default=1
        The side has to be a multiple of this.
    only : tuple of int, default=()
        If not empty, the sides that the network accepts; ``minimum`` and ``multiple`` are then
        ignored.

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
        """Return ``size``, in pixels, if the network accepts it.

        Raises
        ------
        ValueError
            If it does not.  The message lists the sizes that the network accepts.
        """
        size = check_int("image_size", size, 1)
        if self.only and size not in self.only:
            listed = ", ".join(map(str, self.only))
            raise ValueError(f"image_size must be {listed} for this network; got {size}.")
        if not self.only and (size < self.minimum or size % self.multiple):
            multiple = f" and a multiple of {self.multiple}" if self.multiple > 1 else ""
            raise ValueError(f"image_size must be at least {self.minimum}{multiple}; got {size}.")
        return size
