"""Images that lie on the GPU, where they fit: a step sends their numbers there, and not their pixels.

    x0 = table[images[chosen]]        table: the 256 values of 8 bits in model space, as the codec gives them

So x0 has the very bits that it has on the CPU, and a resumed training may go on without the GPU, or on another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from undiffuse.data.codec import Codec
from undiffuse.runtime.devices import send

PART = 0.25
"""Of the memory that is free when a training starts, which its data may take: the rest is for the network."""


Encoded = Callable[[NDArray[np.int64]], Tensor]
"""``samples -> x0``, float32."""


def resident(images: NDArray[np.uint8], codec: Codec, device: torch.device) -> Encoded:
    """8-bit images on a device."""
    numbers = torch.tensor(images).to(device)
    table = codec.encode(np.arange(256, dtype=np.uint8)).to(device)
    return lambda chosen: table[numbers[send(torch.from_numpy(chosen), device)].long()]


def fits(images: object, device: torch.device) -> bool:
    """True for 8-bit images that a GPU has room for."""
    if device.type != "cuda" or not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return images.nbytes <= PART * free


def encoded(images: Any, codec: Codec, device: torch.device) -> Encoded:
    """The images in model space: on the GPU where they fit there, else on the CPU."""
    if codec.pointwise and fits(images, device):
        return resident(images, codec, device)
    return lambda chosen: codec.encode(images[chosen])
