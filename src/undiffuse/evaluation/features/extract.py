"""Features of many images, batch after batch.

features = extract(extractor, batches(dataset.images, dataset.info), len(dataset), progress=True)
features.moments, features.take([0, 2, 5]).features
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features.extractor import Extractor, Outputs
from undiffuse.runtime.standard_streams import hidden

BATCH = 50
"""Images per pass. It bounds the memory and changes nothing else: an image's features are its own in any batch."""


def unit_range(array: NDArray[Any], info: DataInfo) -> Float[Tensor, "*shape"]:
    """Map the data's values to [0, 1], what extractors take.

        u = (v - low) / (high - low)

    For 8 bits that is v / 255 as float32 rounds it, and not (x0 + 1) / 2 of model space, which differs in the last bit.

    Args:
        array: values of the data's type, any shape.
        info: whose ``low`` and ``high`` to use. Values outside them land outside [0, 1].

    Returns:
        A new float32 CPU tensor of the same shape.
    """
    span = info.high - info.low
    if info.dtype == "float32":  # float64 on the way: high - low of float32 values can need more than 24 bits
        return torch.from_numpy(((array.astype(np.float64) - info.low) / span).astype(np.float32))
    unit = array.astype(np.float32)
    unit -= np.float32(info.low)
    unit /= np.float32(span)
    return torch.from_numpy(unit)


def batches(array: NDArray[Any], info: DataInfo, size: int = BATCH) -> Iterator[Float[Tensor, "batch *shape"]]:
    """`unit_range` of ``size`` images after ``size`` images; reads a memory map as it goes."""
    for start in range(0, len(array), size):
        yield unit_range(np.asarray(array[start : start + size]), info)


def extract(
    extractor: Extractor,
    images: Iterable[Float[Tensor, "batch channels *spatial"]],
    total: int,
    progress: bool = False,
) -> Outputs:
    """Run images through an extractor, one batch at a time; only the features are kept.

    Args:
        images: batches of float32 images in [0, 1]; a batch is let go before the next one is asked for.
        total: number of images; the room for their features is taken once.

    Returns:
        Features on the CPU in the images' order, independent of the batches' sizes up to float rounding.

    Raises:
        UndiffuseError: no images, more or fewer than ``total``, or NaN or infinity among the pixels or the features,
            with the number of the first such image (from 0).
    """
    name = extractor.identity.name
    if total < 1:
        raise UndiffuseError(f"expected images for the extractor '{name}', got none")
    rows: dict[str, Tensor] = {}
    done = 0
    with torch.no_grad(), tqdm(total=total, desc=name, unit="image", disable=hidden(progress)) as bar:
        for batch in images:
            if done + len(batch) > total:
                raise UndiffuseError(f"expected {total} images for the extractor '{name}', got more")
            _check_finite(batch, done, "pixels", "repair or remove it")
            outputs = extractor(batch).tensors()
            found = {key: tensor.detach().to("cpu", torch.float32) for key, tensor in outputs.items()}
            _check_finite(found["features"], done, f"features by '{name}'", "its weights or its input range do not fit")
            for key, tensor in found.items():
                if key not in rows:
                    rows[key] = torch.empty(total, tensor.shape[1])
                rows[key][done : done + len(batch)] = tensor
            done += len(batch)
            bar.update(len(batch))
    if done < total:
        raise UndiffuseError(f"expected {total} images for the extractor '{name}', got {done}")
    return Outputs(**rows)


def _check_finite(values: Tensor, first: int, what: str, remedy: str) -> None:
    bad = ~values.flatten(1).isfinite().all(1)
    if bad.any():
        raise UndiffuseError(
            f"expected finite {what}, got NaN or infinity in image {first + int(bad.nonzero()[0])}; {remedy}"
        )
