"""Linear measurements y = A x + noise, for pictures that are known in part: a new inverse problem is one class.

Every operator acts on batches (batch, channels, *spatial) in any number of spatial dimensions and has

    A(x)                   the measurement
    At(y)                  its adjoint: <A x, y> = <x, At y>
    pinv(y)                the pseudo-inverse: A pinv(A x) = A x, and pinv(y) is the smallest x that explains y
    resolvent(y, damping)  (A At + damping I)^-1 y on the range of A, which posterior methods are made of
    singular_values(shape) all min(size of x, size of y) of them, for x of this shape (channels, *spatial)

They know nothing of diffusion. All four have an A At that is diagonal in a basis at hand, so nothing here iterates.
"""
# ruff: noqa: N802, for A is A

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.errors import UndiffuseError
from undiffuse.runtime.devices import send

Batch = Float[Tensor, "batch channels *spatial"]
Measurement = Float[Tensor, "batch measured_channels *measured"]

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in ITU-R BT.601's luma, by which Pillow, too, makes grey of colour."""


@runtime_checkable
class LinearOperator(Protocol):
    """See the table at the head of this file."""

    def A(self, x: Batch) -> Measurement: ...

    def At(self, y: Measurement) -> Batch: ...

    def pinv(self, y: Measurement) -> Batch: ...

    def resolvent(self, y: Measurement, damping: Tensor) -> Measurement: ...

    def singular_values(self, shape: Sequence[int]) -> Float[Tensor, "rank"]: ...


@dataclass(frozen=True, eq=False)
class Mask:
    """Some of the values: A x = m x, with m = 1 where they are known and 0 elsewhere.

    The measurement keeps x's shape and is 0 where nothing is known, so A = At = pinv.

    Args:
        known: m, of zeros and ones, that broadcasts against x, with sides of 1 for what is shared.
    """

    known: Float[Tensor, "*shape"]

    def __post_init__(self) -> None:
        if not bool(((self.known == 0) | (self.known == 1)).all()):
            raise UndiffuseError("A mask of known values holds zeros and ones; this one has other values, too")

    def A(self, x: Batch) -> Measurement:
        return self.known.to(x) * x

    def At(self, y: Measurement) -> Batch:
        return self.A(y)

    def pinv(self, y: Measurement) -> Batch:
        return self.A(y)

    def resolvent(self, y: Measurement, damping: Tensor) -> Measurement:
        return self.A(y) / (1 + _against(damping, y))

    def singular_values(self, shape: Sequence[int]) -> Float[Tensor, "rank"]:
        return self.known.expand(1, *shape).flatten()


@dataclass(frozen=True)
class Downsample:
    """Average pooling: y is the mean of each block of ``factor`` ^ dims values.

    A At = I / n with n = factor^dims values a block, so pinv = n At: every value becomes a block, "nearest".

    Args:
        factor: side of a block, at least 1; it must divide x's sides.
    """

    factor: int

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise UndiffuseError(f"A picture is made smaller by a factor of at least 1, not {self.factor}")

    def _count(self, dims: int) -> int:
        return int(self.factor**dims)

    def A(self, x: Batch) -> Measurement:
        if any(side % self.factor for side in x.shape[2:]):
            raise UndiffuseError(f"Sides must be multiples of the factor {self.factor}; these are {tuple(x.shape[2:])}")
        sides = [part for side in x.shape[2:] for part in (side // self.factor, self.factor)]
        return x.reshape(*x.shape[:2], *sides).mean(dim=list(range(3, 2 + len(sides), 2)))

    def At(self, y: Measurement) -> Batch:
        return self.pinv(y) / self._count(y.ndim - 2)

    def pinv(self, y: Measurement) -> Batch:
        for axis in range(2, y.ndim):
            y = y.repeat_interleave(self.factor, dim=axis)
        return y

    def resolvent(self, y: Measurement, damping: Tensor) -> Measurement:
        return y / (1 / self._count(y.ndim - 2) + _against(damping, y))

    def singular_values(self, shape: Sequence[int]) -> Float[Tensor, "rank"]:
        n = self._count(len(shape) - 1)
        return torch.full((math.prod(shape) // n,), n**-0.5)


@dataclass(frozen=True)
class Gray:
    """One channel of many: y = sum_c w_c x_c. A At = |w|^2 I.

    Args:
        weights: w, one a channel; the default is luma. They sum to 1 where [-1, 1] should stay what it is.
    """

    weights: tuple[float, ...] = LUMA

    @property
    def _square(self) -> float:
        return sum(w * w for w in self.weights)

    def _column(self, like: Tensor) -> Tensor:
        weights = send(torch.tensor(self.weights, dtype=torch.float64).to(like.dtype), like.device)
        return weights.reshape(-1, *[1] * (like.ndim - 2))

    def A(self, x: Batch) -> Measurement:
        if x.shape[1] != len(self.weights):
            raise UndiffuseError(f"Grey is made of {len(self.weights)} channels here; these data have {x.shape[1]}")
        return (self._column(x) * x).sum(1, keepdim=True)

    def At(self, y: Measurement) -> Batch:
        return self._column(y) * y

    def pinv(self, y: Measurement) -> Batch:
        return self.At(y) / self._square

    def resolvent(self, y: Measurement, damping: Tensor) -> Measurement:
        return y / (self._square + _against(damping, y))

    def singular_values(self, shape: Sequence[int]) -> Float[Tensor, "rank"]:
        return torch.full((math.prod(shape[1:]),), self._square**0.5)


WIDEST = 1000.0
"""Pixels; of a picture that was blurred wider nothing is left but its mean."""


@dataclass(frozen=True)
class Blur:
    """A blur by the same symmetric kernel along every axis, the picture mirrored at its borders.

    y_i = k_0 x_i + sum_j k_j (x_{i-j} + x_{i+j}) along each axis, with x_{-1-i} = x_i beyond the border ("reflected",
    half-sample symmetric). This is diagonal in the orthonormal cosine basis C (DCT-II) of each axis:

        A = C' diag(l) C,   l_m = k_0 + 2 sum_j k_j cos(pi m j / n),   and l_m l_m' for two axes

    so A is symmetric. A blur destroys what it makes smaller than the rounding of the values: singular values below
    ``cutoff`` count as zero in `pinv` and in an undamped `resolvent`, and A pinv(A x) = A x to that accuracy.

    Args:
        kernel: k_0, k_1, ...; k_0 + 2 (k_1 + ...) = 1 keeps the brightness.
        cutoff: positive.
    """

    kernel: tuple[float, ...]
    cutoff: float = 0.02

    @classmethod
    def gaussian(cls, std: float) -> Blur:
        """A Gaussian of this standard deviation in pixels, cut off after four of them.

        Raises:
            UndiffuseError: it is not above 0, or is beyond any picture.
        """
        if not 0 < std <= WIDEST:
            raise UndiffuseError(
                f"The standard deviation of a blur lies above 0 and up to {WIDEST:g} pixels; it is {std:g}"
            )
        half = [math.exp(-0.5 * (j / std) ** 2) for j in range(1 + max(1, math.ceil(4 * std)))]
        total = half[0] + 2 * sum(half[1:])
        return cls(tuple(value / total for value in half))

    def A(self, x: Batch) -> Measurement:
        return self._filtered(x, lambda values: values)

    def At(self, y: Measurement) -> Batch:
        return self.A(y)

    def pinv(self, y: Measurement) -> Batch:
        return self._filtered(y, lambda values: torch.where(values.abs() < self.cutoff, 0.0, 1 / values))

    def resolvent(self, y: Measurement, damping: Tensor) -> Measurement:
        def invert(values: Tensor) -> Tensor:
            damped = values.square() + _against(damping.double().cpu(), values)
            return torch.where(damped < self.cutoff**2, 0.0, 1 / damped)

        return self._filtered(y, invert)

    def singular_values(self, shape: Sequence[int]) -> Float[Tensor, "rank"]:
        return self._eigenvalues(shape[1:]).abs().flatten().repeat(shape[0])

    def _filtered(self, x: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
        """C' gain(l) C x, in float64 on the CPU only for the coefficients."""
        sides = x.shape[2:]
        bases = [send(_cosines(side).to(x.dtype), x.device) for side in sides]
        for axis, basis in enumerate(bases, start=2):
            x = _along(x, basis, axis)
        values = self._eigenvalues(sides).reshape(1, 1, *sides)
        x = x * send(gain(values).to(x.dtype), x.device)
        for axis, basis in enumerate(bases, start=2):
            x = _along(x, basis.T, axis)
        return x

    def _eigenvalues(self, sides: Sequence[int]) -> Tensor:
        product = torch.ones((), dtype=torch.float64)
        kernel = torch.tensor(self.kernel, dtype=torch.float64)
        twice = torch.cat([kernel[:1], 2 * kernel[1:]])
        for n in sides:
            angle = math.pi / n * torch.arange(n, dtype=torch.float64)[:, None] * torch.arange(len(kernel))
            product = product[..., None] * (angle.cos() @ twice)
        return product


def _cosines(n: int) -> Float[Tensor, "n n"]:
    """The orthonormal DCT-II: C_mi = sqrt(2 / n) cos(pi m (i + 1/2) / n), row 0 divided by sqrt 2."""
    index = torch.arange(n, dtype=torch.float64)
    basis = math.sqrt(2 / n) * torch.cos(math.pi / n * index[:, None] * (index + 0.5))
    basis[0] /= math.sqrt(2)
    return basis


def _along(x: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """The matrix applied to one axis."""
    return (x.movedim(axis, -1) @ matrix.T).movedim(-1, axis)


def _against(coefficient: Tensor, like: Tensor) -> Tensor:
    """A number, or one a sample, shaped to broadcast against ``like``."""
    coefficient = send(coefficient.to(like.dtype), like.device)
    return coefficient.reshape(-1, *[1] * (like.ndim - 1)) if coefficient.ndim else coefficient
