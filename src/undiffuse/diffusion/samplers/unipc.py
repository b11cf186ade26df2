"""UniPC: a multistep predictor, corrected as soon as the next step's evaluation is there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.gaussian import Batch, Marginal, Time
from undiffuse.diffusion.samplers.exponential import (
    DATA,
    History,
    differences,
    euler_step,
    half_log_snr,
    moment,
    remember,
    weights,
)
from undiffuse.diffusion.trajectory import Noise


class Predicted(NamedTuple):
    """The step that led here, as the corrector needs it.

    Args:
        first_order: where DDIM would have led, the part of the step that needs no correction.
        h: the step in lambda; infinite where there is nothing to correct.
        history: (lambda, x0) of the evaluations that it used, the newest at its start.
    """

    first_order: Tensor
    h: float
    history: History


@dataclass(frozen=True)
class UniPC:
    """The unified predictor-corrector in x0 (Zhao et al. 2023, algorithms 5-8, https://arxiv.org/abs/2302.04867).

    predictor   x_s  = DDIM + sum_j w_j (m_j - m_t)            through the last ``points`` evaluations
    corrector   x_s <- DDIM + sum_j w'_j (m_j - m_t)           through these and m_s = x0(predicted x_s, s)

    with the weights that integrate the polynomial through all points exactly. m_s is the evaluation that the next step
    makes anyway, so the corrector is free: it runs at the start of the next step, which goes on from the corrected x
    with the evaluation at the predicted one. The last x is a predicted one. Steps to data and from pure noise are
    DDIM's and not corrected.

    Args:
        points: 1, 2 or 3, the paper's p; the corrector lifts the order of convergence to p + 1.
        variant: 'bh2' with B(h) = e^h - 1 or 'bh1' with B(h) = h. They differ only where one difference is weighted, by
            gain B(-h) / (-2h u): in the predictor of two points and the corrector of one.
    """

    points: Literal[1, 2, 3] = 2
    variant: Literal["bh1", "bh2"] = "bh2"

    @property
    def order(self) -> int:
        return self.points + 1

    def init(self) -> Predicted | None:
        return None

    def step(
        self, denoiser: Denoiser, x: Batch, t: Time, s: Time, state: Predicted | None, noise: Noise
    ) -> tuple[Batch, Predicted]:
        q_s, q_t = denoiser.schedule(s), denoiser.schedule(t)
        prediction = denoiser(x, t)
        here = (half_log_snr(q_t), prediction.x0)
        history: History = ()
        if state is not None:
            history = state.history
            if math.isfinite(state.h):
                x = state.first_order + self._higher_order(q_t, state.h, (*history, here))
                prediction = prediction.with_x0(prediction.x0, x, q_t)
        history = remember(history, *here, self.points)
        h = half_log_snr(q_s) - here[0]
        first_order = euler_step(prediction, q_s)
        x_s = first_order + self._higher_order(q_s, h, history) if math.isfinite(h) else first_order
        return x_s, Predicted(first_order, h, history)

    def _higher_order(self, q_s: Marginal, h: float, evaluations: History) -> Batch:
        """sum_j w_j (m_j - m_t) for a step of h to q_s that started at the first of these evaluations."""
        (lambda_t, m_t), *others = evaluations
        nodes = [(place - lambda_t) / h for place, _ in others]
        gain = DATA.gain(q_s, h)
        if len(nodes) == 1:
            w = [gain * (moment(-h, 0) if self.variant == "bh2" else 1.0) / (2 * nodes[0])]
        else:
            w = weights(gain, -h, nodes)
        return differences(w, [m for _, m in others], m_t)
