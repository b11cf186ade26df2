"""3 x 3 convolutions on a CPU with a quarter of the multiplications.

A direct convolution takes 9 multiplications an output and pair of channels. Winograd's way computes 4 x 4 outputs
from a 6 x 6 patch of the input at once: patch and kernel are each transformed to 36 numbers, multiplied number by
number, and the products transformed back, which is 36 / 16 = 2.25 multiplications an output and pair of channels:

    Y = A^T [(G g G^T) * (B^T d B)] A        d: 6 x 6 input, g: 3 x 3 kernel, Y: 4 x 4 output

(Lavin & Gray 2016, https://arxiv.org/abs/1509.09308, eq. 8.) Over all patches and channels the product in the middle is
36 ordinary matrix products, so everything here is a few calls of well-tuned libraries. Notable choices:

* The matrices are those of polynomial interpolation at the points 0, +-2/3, +-3/2 and infinity, not at 0, +-1, +-2: the
  rounding error halves (Barabasz et al. 2020, https://arxiv.org/abs/1803.10986, on the choice of points), to a
  millionth of the result's scale, one to five times that of a direct float32 convolution.
* A batch is worked on in parts whose transformed patches fit into the processor's cache; without that most of the gain
  is lost to memory.
* Whether it is used is a fixed rule of the shapes and the number of threads (`applies`), never a measurement at run
  time: the same model gives the same bits in every process that has as many.
* One thread alone, as torchrun gives each process: thin matrix products and copies do not divide well, and with two
  threads the direct convolution was faster again (docs/develop/lab-notes.md).
* Both gradients go the same way: that of the input is a convolution with the turned kernel, that of the kernel is a sum
  of the same 36 products, transformed by G^T.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

TILE, KERNEL = 4, 3
PATCH = TILE + KERNEL - 1
POINTS = (Fraction(0), Fraction(2, 3), Fraction(-2, 3), Fraction(3, 2), Fraction(-3, 2))
"""Where the polynomials are evaluated, beside infinity."""
CACHE = 1 << 19
"""Float32 numbers of transformed patches that are worked on at a time: 2 MiB ..."""
FEWEST = 64
"""... but not fewer patches than this, or the matrix products are too thin."""
PIXELS, CHANNELS = 1024, 80
"""It pays from so many pixels in a batch, over which the transform of the kernel is shared, and from such a harmonic
mean of the channels in and out, times the part of the tiles that is used."""


def _product(roots: tuple[Fraction, ...]) -> list[Fraction]:
    """Coefficients of prod (x - root), lowest first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *coefficients], [root * c for c in coefficients] + [Fraction(0)]
        coefficients = [a - b for a, b in zip(shifted, scaled, strict=True)]
    return coefficients


def _matrices() -> tuple[Tensor, Tensor, Tensor]:
    """A^T (4, 6), G (6, 3) and B^T (6, 6) in float64, of the interpolation at `POINTS` and infinity.

    Row j of G evaluates a kernel, as a polynomial, at point j, over N_j = prod_{l != j} (p_j - p_l); row j of B^T holds
    the coefficients of prod_{l != j} (x - p_l); column j of A^T the powers of p_j. The last ones are infinity's.
    """
    a = [[p**i for p in POINTS] + [Fraction(i == TILE - 1)] for i in range(TILE)]
    g, b = [], []
    for j, p in enumerate(POINTS):
        others = POINTS[:j] + POINTS[j + 1 :]
        norm = Fraction(1)
        for q in others:
            norm *= p - q
        g.append([p**k / norm for k in range(KERNEL)])
        b.append([*_product(others), Fraction(0)])
    g.append([Fraction(k == KERNEL - 1) for k in range(KERNEL)])
    b.append(_product(POINTS))
    a_t, g_, b_t = (torch.tensor([[float(x) for x in row] for row in m], dtype=torch.float64) for m in (a, g, b))
    return a_t, g_, b_t


A_T, G, B_T = (torch.kron(m, m) for m in _matrices())
"""The transforms of both directions at once, over flattened patches: (16, 36), (36, 9), (36, 36); float64."""


def tiles(size: int) -> int:
    """Tiles along a side."""
    return -(-size // TILE)


def pays(batch: int, inputs: int, outputs: int, height: int, width: int) -> bool:
    """True where a convolution of this shape is quicker this way: many pixels and channels, tiles not mostly waste."""
    used = height * width / (tiles(height) * tiles(width) * TILE**2)
    return batch * height * width >= PIXELS and 2 * inputs * outputs / (inputs + outputs) * used >= CHANNELS


def applies(x: Tensor, weight: Tensor) -> bool:
    """True where this way is taken: float32 on one thread of a CPU, run eagerly, and it pays."""
    return (
        not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and torch.get_num_threads() == 1
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and pays(len(x), weight.shape[1], weight.shape[0], x.shape[2], x.shape[3])
    )


Images = Float[Tensor, "batch _ height width"]
Kernel = Float[Tensor, "outputs inputs 3 3"]
Transformed = Float[Tensor, "36 _ _"]


def transform_kernel(weight: Kernel) -> Transformed:
    """G g G^T of every kernel: (36, inputs, outputs), a view of what is laid out by outputs.

    Channels last is how weights lie in memory, so nothing is copied before the one product or after it.
    """
    outputs, inputs = weight.shape[:2]
    rows = weight.permute(0, 2, 3, 1).reshape(outputs, KERNEL**2, inputs)
    return torch.matmul(G.float(), rows).permute(1, 2, 0)


def transform_patches(x: Images) -> Transformed:
    """B^T d B of the overlapping 6 x 6 patches, 4 apart, of images padded with zeros: (36, patches, channels)."""
    batch, channels, height, width = x.shape
    rows, columns = tiles(height), tiles(width)
    after = (columns * TILE + 1 - width, rows * TILE + 1 - height)
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, after[0], 1, after[1]))
    n, h, w, c = padded.stride()
    shape = (PATCH, PATCH, batch, rows, columns, channels)
    patches = padded.as_strided(shape, (h, w, n, h * TILE, w * TILE, c)).reshape(PATCH**2, -1)
    return (B_T.float() @ patches).view(PATCH**2, batch * rows * columns, channels)


def inverse_transform(products: Transformed, batch: int, height: int, width: int) -> Float[Tensor, "batch h w _"]:
    """A^T m A: from (36, patches, channels) to images with channels last, a view of whole tiles cut to size."""
    rows, columns, channels = tiles(height), tiles(width), products.shape[2]
    y = (A_T.float() @ products.view(PATCH**2, -1)).view(TILE, TILE, batch, rows, columns, channels)
    whole = y.permute(2, 3, 0, 4, 1, 5).reshape(batch, rows * TILE, columns * TILE, channels)
    return whole[:, :height, :width]


def parts(x: Images) -> range:
    """First images of the parts that a batch is worked on in."""
    patches = tiles(x.shape[2]) * tiles(x.shape[3])
    wanted = max(CACHE // (PATCH**2 * x.shape[1]), FEWEST)
    return range(0, len(x), max(1, wanted // patches))


def convolve(x: Images, weight: Kernel, bias: Float[Tensor, " outputs"] | None = None) -> Images:
    """The convolution with zero padding of 1: the same as F.conv2d(x, weight, bias, padding=1), with channels last."""
    (batch, _, height, width), outputs = x.shape, len(weight)
    kernel = transform_kernel(weight)
    y = x.new_empty(batch, height, width, outputs)
    spread = parts(x)
    for first in spread:
        part = x[first : first + spread.step]
        found = inverse_transform(torch.bmm(transform_patches(part), kernel), len(part), height, width)
        target = y[first : first + spread.step]
        if bias is None:
            target.copy_(found)
        else:
            torch.add(found, bias, out=target)
    return y.permute(0, 3, 1, 2)


def kernel_gradient(x: Images, gradient: Images) -> Kernel:
    """dL/dg = G^T [sum over patches (B^T d B) (A dL/dY A^T)] G."""
    (_, _, height, width), outputs = x.shape, gradient.shape[1]
    total = x.new_zeros(PATCH**2, outputs, x.shape[1])
    spread = parts(x)
    for first in spread:
        part, dy = x[first : first + spread.step], gradient[first : first + spread.step]
        rows, columns = tiles(height), tiles(width)
        whole = F.pad(dy.permute(0, 2, 3, 1), (0, 0, 0, columns * TILE - width, 0, rows * TILE - height))
        blocks = whole.reshape(len(part), rows, TILE, columns, TILE, outputs).permute(2, 4, 0, 1, 3, 5)
        dm = (A_T.float().T @ blocks.reshape(TILE**2, -1)).view(PATCH**2, -1, outputs)
        total.baddbmm_(dm.transpose(1, 2), transform_patches(part))
    flat = torch.matmul(G.float().T, total.transpose(0, 1))  # (outputs, 9, inputs): channels last, as weights lie
    return flat.view(outputs, KERNEL, KERNEL, x.shape[1]).permute(0, 3, 1, 2)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return convolve(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        dx = convolve(gradient, weight.flip(2, 3).transpose(0, 1)) if wanted[0] else None
        dw = kernel_gradient(x, gradient) if wanted[1] else None
        db = gradient.sum((0, 2, 3)) if wanted[2] else None
        return dx, dw, db


class WinogradConv2d(nn.Conv2d):
    """A 3 x 3 convolution that keeps the size and goes Winograd's way where `applies` says so."""

    def forward(self, x: Images) -> Images:
        if not applies(x, self.weight):
            return super().forward(x)
        if torch.is_grad_enabled():
            y: Tensor = _Convolution.apply(x, self.weight, self.bias)
            return y
        return convolve(x, self.weight, self.bias)
