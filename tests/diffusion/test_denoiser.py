from __future__ import annotations

import pytest
import torch
from torch import nn

from undiffuse.diffusion import schedules
from undiffuse.diffusion.denoiser import NetworkDenoiser, Prediction
from undiffuse.diffusion.exact_denoisers import MixtureDenoiser
from undiffuse.diffusion.gaussian import q_sample
from undiffuse.diffusion.parameterization import EPSILON, ROWS, X0, V, edm
from undiffuse.diffusion.schedules import VE, VP
from undiffuse.errors import UndiffuseError


class Recorder(nn.Module):
    """Returns a fixed output and remembers what it was asked."""

    def __init__(self, output: torch.Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        self.x, self.time = x, time
        return self.output


@pytest.mark.parametrize("row", [*ROWS.values(), edm()], ids=lambda row: row.name)
def test_a_perfect_network_gives_a_perfect_prediction(row):
    chain = schedules.cosine()
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 4, 1, 3, 3, generator=generator)
    t = torch.tensor([30.0, 300.0, 600.0, 900.0], dtype=torch.float64)
    q_t = chain(t)
    denoiser = NetworkDenoiser(Recorder(row.mix(x0, eps, q_t)), chain, row)
    prediction = denoiser(q_sample(x0, eps, q_t), t)
    torch.testing.assert_close(prediction.x0, x0, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(prediction.eps, eps, rtol=1e-4, atol=1e-4)


def test_the_embedding_sees_the_papers_index():
    network = Recorder(torch.zeros(2, 1, 2))
    denoiser = NetworkDenoiser(network, schedules.linear(), EPSILON)
    denoiser(torch.zeros(2, 1, 2), torch.tensor(1.0, dtype=torch.float64))
    assert network.time.tolist() == [0, 0]  # Ho et al. count their embedding from 0
    denoiser(torch.zeros(2, 1, 2), torch.tensor([1000.0, 1.5], dtype=torch.float64))
    assert network.time.tolist() == [999, 0.5]
    continuous = NetworkDenoiser(network, VP(), EPSILON)
    continuous(torch.zeros(2, 1, 2), torch.tensor(1.0, dtype=torch.float64))
    assert network.time.tolist() == [999, 999]


def test_the_noise_angle_runs_from_zero_to_a_thousand():
    network = Recorder(torch.zeros(3, 1, 2))
    chain = schedules.zero_terminal_snr(schedules.linear())
    t = torch.stack([chain.inverse_log_snr(torch.tensor(v, dtype=torch.float64)) for v in (1e9, 0.0, -1e9)])
    NetworkDenoiser(network, chain, X0, "log-snr")(torch.zeros(3, 1, 2), t.clamp(min=1e-6))
    assert network.time.tolist() == pytest.approx([0, 500, 1000], abs=0.01)


def test_edm_scales_the_networks_input():
    network = Recorder(torch.zeros(1, 1, 1))
    NetworkDenoiser(network, VE(), edm(0.5))(torch.full((1, 1, 1), 3.0), torch.tensor(2.0, dtype=torch.float64))
    assert float(network.x) == pytest.approx(3 / (2**2 + 0.5**2) ** 0.5)


def test_a_doubled_output_carries_the_variance_fraction():
    output = torch.cat([torch.zeros(2, 3, 4), torch.full((2, 3, 4), 0.5)], dim=1)
    prediction = NetworkDenoiser(Recorder(output), schedules.linear(), V)(
        torch.ones(2, 3, 4), torch.tensor(5.0).double()
    )
    assert prediction.variance_fraction is not None
    assert torch.equal(prediction.variance_fraction, torch.full((2, 3, 4), 0.75))
    with pytest.raises(UndiffuseError, match="it got 3 and returned 5"):
        NetworkDenoiser(Recorder(output[:, :5]), schedules.linear(), V)(torch.ones(2, 3, 4), torch.tensor(5.0).double())


def test_a_singular_pair_is_refused_when_it_is_built():
    with pytest.raises(UndiffuseError, match="'epsilon' does not"):
        NetworkDenoiser(nn.Identity(), schedules.zero_terminal_snr(schedules.linear()), EPSILON)


def test_changing_x0_re_derives_eps():
    chain, t = schedules.linear(), torch.tensor([400.0], dtype=torch.float64)
    x0, eps = torch.full((1, 1, 2), 0.3), torch.full((1, 1, 2), -0.8)
    x_t = q_sample(x0, eps, chain(t))
    changed = Prediction(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2)).with_x0(x0, x_t, chain(t))
    torch.testing.assert_close(changed.eps, eps)


def test_a_bfloat16_network_leaves_the_state_in_float32():
    output = torch.zeros(1, 1, 2, dtype=torch.bfloat16)
    prediction = NetworkDenoiser(Recorder(output), schedules.linear(), V)(
        torch.ones(1, 1, 2), torch.tensor(5.0).double()
    )
    assert prediction.x0.dtype == torch.float32


def test_the_log_sigma_input_is_edms_c_noise_and_needs_a_signal_at_the_end():
    network, t = Recorder(torch.zeros(1, 1, 2)), torch.tensor(0.3, dtype=torch.float64)
    NetworkDenoiser(network, VP(), V, "log-sigma")(torch.ones(1, 1, 2), t)
    alpha, sigma = VP()(t)
    assert torch.allclose(network.time.double(), (sigma / alpha).log() / 4)
    with pytest.raises(UndiffuseError, match="use `time_input=log-snr`"):
        NetworkDenoiser(network, schedules.zero_terminal_snr(schedules.linear()), V, "log-sigma")


@pytest.mark.parametrize("t", [-1, 1001, float("nan"), torch.tensor([501, -3]), torch.tensor([1e30, 3.0])])
def test_a_time_that_the_process_does_not_have_is_refused(t):
    x = torch.zeros(2, 1, 2)
    denoiser = NetworkDenoiser(Recorder(x), schedules.linear(), EPSILON)
    for asked in (denoiser, MixtureDenoiser(schedules.linear(), x)):
        asked(x, torch.tensor([0, 1000]))
        with pytest.raises(UndiffuseError, match="from 0, where data are, to 1000, where noise is; got"):
            asked(x, t)


def test_times_are_one_or_as_many_as_samples():
    x = torch.zeros(2, 1, 2)
    denoiser = NetworkDenoiser(Recorder(x), schedules.linear(), EPSILON)
    with pytest.raises(UndiffuseError, match=r"one for each of 2 samples, not \[3\]"):
        denoiser(x, torch.tensor([501, 3, 2]))


@pytest.mark.parametrize("returned", [(2, 3, 1, 1), (1, 3, 4, 4), (2, 3, 4), (2, 6, 2, 4)])
def test_a_network_whose_result_would_be_spread_over_its_input_is_refused(returned):
    denoiser = NetworkDenoiser(Recorder(torch.zeros(returned)), schedules.linear(), EPSILON)
    with pytest.raises(UndiffuseError, match=r"got the shape \[2, 3, 4, 4\] and returned"):
        denoiser(torch.zeros(2, 3, 4, 4), 501)
