"""Progressive lossy compression: how much of an image is known after how many bits (Ho et al. 2020, section 4.3).

A receiver who was sent x_T, ..., x_t has paid L_T + sum_{s > t} L_{s-1} and sees x0_hat(x_t):

    rate(t) = L_T + sum_{s = t+1..T} L_{s-1}        distortion(t) = sqrt(E |x0 - x0_hat(x_t)|^2 / D)

Most of the bits of a likelihood-trained model go into the last, invisible details: the curve falls steeply first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.evaluation.likelihood.bound import Terms
from undiffuse.evaluation.likelihood.evaluate import csv_text
from undiffuse.evaluation.likelihood.units import Units
from undiffuse.visualization.plot import Axis, Series, line_plot


@dataclass(frozen=True)
class Curve:
    """Points from noise to data; the last one is t = 0: everything is sent and nothing is wrong any more.

    Args:
        t: mean of the times behind a point.
        rate: bits per dimension sent so far (nats for floats).
        distortion: root of the mean square error over images and dimensions, in the data's own values: 0..255.
    """

    t: Float[Tensor, "points"]
    rate: Float[Tensor, "points"]
    distortion: Float[Tensor, "points"]
    units: Units

    def csv(self) -> str:
        rate, distortion = f"rate ({self.units.name})", "distortion (RMSE)"
        columns = {"t": self.t.tolist(), rate: self.rate.tolist(), distortion: self.distortion.tolist()}
        return csv_text(columns, ".6g")

    def svg(self) -> str:
        """A plot that stands alone."""
        plot = line_plot(
            [Series("distortion", self.rate.tolist(), self.distortion.tolist())],
            Axis(f"rate, {self.units.name}"),
            Axis("distortion, RMSE in the data's values", low=0.0),
            "Rate and distortion",
        )
        return plot.replace("<svg ", '<svg style="background:#fff;color:#222" ', 1)


def rate_distortion(terms: Terms, units: Units) -> Curve:
    """The curve of the mean image, from the terms of its bound.

    With a sample of the timesteps, each stands for its stratum: the rate is then that of the stratum's middle.
    """
    share = (terms.size * terms.term).mean(0).flip(0)  # of each stratum, from noise to data
    before = terms.prior.mean() + share.cumsum(0) - share
    # x0_hat(x_t) is known once all before L_{t-1} was sent; in a stratum of n times, so was half of its others.
    size = terms.size[0].flip(0)
    rate = before + share * (size - 1) / (2 * size)
    error = terms.x0_error.mean(0).flip(0).sqrt() * units.half_range
    zero = torch.zeros(1, dtype=torch.float64)
    return Curve(
        torch.cat([terms.t.mean(0).flip(0), zero]),
        units.of_difference(torch.cat([rate, terms.total.mean()[None]])),
        torch.cat([error, zero]),
        units,
    )
