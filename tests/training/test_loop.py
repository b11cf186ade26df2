"""The loop: exact accumulation, streams that are functions of the step, and nothing but finite numbers."""

import math
from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch import nn

from undiffuse.model import build_model
from undiffuse.training.build import make_train_state, make_train_step
from undiffuse.training.loop import PATIENCE, NonFiniteError, forward_backward, training
from undiffuse.training.optim.optimizer import learning_rate


def pieces(config, data, total=12):
    model = build_model(config, data.info)
    return make_train_state(model), make_train_step(model, data, total)


def weights_of(train_state):
    return {name: tensor.clone() for name, tensor in train_state.network.state_dict().items()}


def equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_every_step_is_reported_once(data, settings):
    config = settings()
    train_state, train_step = pieces(config, data)
    results = list(training(train_step, train_state))
    assert [r.step for r in results] == list(range(1, 13))
    assert [r.images for r in results] == list(range(4, 49, 4))
    assert [r.lr for r in results] == [learning_rate(config.optimizer, step, 12) for step in range(12)]
    for result in results:
        assert result.t.shape == result.losses.shape == (4,)
        assert result.loss == pytest.approx(result.losses.mean().item(), rel=1e-6)
        assert not result.skipped
        assert 0 <= result.loading <= result.seconds
    assert (train_state.step, train_state.images, train_state.skipped) == (12, 48, 0)


def test_training_lowers_the_loss(data, settings):
    train_state, train_step = pieces(settings(dropout=0.0, lr=3e-3, batch=16, decay="constant"), data, total=60)
    losses = [result.loss for result in training(train_step, train_state)]
    assert sum(losses[-20:]) < 0.8 * sum(losses[:20])


def test_equal_settings_train_equal_weights_and_another_seed_trains_others(data, settings):
    runs = []
    for seed in (1, 1, 2):
        train_state, train_step = pieces(settings(seed=seed), data)
        torch.manual_seed(len(runs))  # the caller's global stream has no say
        torch.randn(3)
        for _ in training(train_step, train_state):
            torch.rand(1)
        runs.append(weights_of(train_state))
    assert equal(runs[0], runs[1])
    assert not equal(runs[0], runs[2])


def test_the_callers_random_stream_is_left_alone(data, settings):
    train_state, train_step = pieces(settings(dropout=0.5), data)
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    first, *_ = (torch.rand(1) for _ in islice(training(train_step, train_state), 1))
    assert torch.equal(torch.cat([first, torch.rand(1)]), expected)


TIMES = torch.linspace(1, 8, 8, dtype=torch.float64).round(), torch.linspace(0.5, 2, 8, dtype=torch.float64)
"""Times and weights of a batch of 8."""


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_an_accumulated_gradient_is_the_undivided_one(data, settings, parts):
    whole, train_step = pieces(settings(dropout=0.0, batch=8), data)
    split, split_task = pieces(settings(dropout=0.0, batch=8, accumulate=parts), data)
    losses = forward_backward(train_step, whole.network, train_step.batch(3), *TIMES, 3)
    split_losses = forward_backward(split_task, split.network, split_task.batch(3), *TIMES, 3)
    torch.testing.assert_close(losses, split_losses, rtol=1e-6, atol=1e-7)
    for one, two in zip(whole.network.parameters(), split.network.parameters(), strict=True):
        scale = one.grad.abs().max().item()
        torch.testing.assert_close(one.grad, two.grad, rtol=0, atol=4e-6 * scale + 1e-9)


def test_an_accumulated_gradient_is_the_undivided_one_to_the_last_digits_in_float64(data, settings):
    """In double precision the two differ by rounding alone, so no term is missing or weighed wrongly."""
    gradients = []
    for parts in (1, 3):
        train_state, train_step = pieces(settings(dropout=0.0, batch=8, accumulate=parts), data)
        train_state.network.double()
        batch = train_step.batch(0)
        batch = replace(batch, x0=batch.x0.double(), eps=batch.eps.double())
        forward_backward(train_step, train_state.network, batch, *TIMES, 0)
        gradients.append(torch.cat([p.grad.flatten() for p in train_state.network.parameters()]))
    assert (gradients[0] - gradients[1]).norm() <= 1e-6 * gradients[0].norm()


def test_batches_are_functions_of_the_step_whatever_came_before(data, settings):
    _, train_step = pieces(settings(), data)
    forwards = [train_step.batch(step) for step in range(4)]
    for step in (2, 0, 3, 1):
        again = train_step.batch(step)
        assert torch.equal(again.x0, forwards[step].x0)
        assert torch.equal(again.eps, forwards[step].eps)
    assert not torch.equal(forwards[0].eps, forwards[1].eps)


def test_an_epoch_shows_every_image_once_and_flips_about_half(data, settings):
    _, plain = pieces(settings(flip=False, batch=8), data)
    _, flipping = pieces(settings(flip=True, batch=8), data)
    seen = torch.cat([plain.batch(step).x0 for step in range(5)])
    images = torch.from_numpy(data.images).float() / 127.5 - 1
    torch.testing.assert_close(seen.flatten(1).sum(1).sort()[0], images.flatten(1).sum(1).sort()[0])
    flipped = torch.cat([flipping.batch(step).x0 for step in range(5)])
    mirrored = [(torch.equal(a, b.flip(-1)), torch.equal(a, b)) for a, b in zip(flipped, seen, strict=True)]
    assert all(a != b for a, b in mirrored)
    assert 8 <= sum(a for a, _ in mirrored) <= 32


def poison(train_step, steps, value=math.nan):
    """The step with a pixel that is not finite in the batches of these steps."""

    def images(step):
        x0 = train_step.images(step)
        if step in steps:
            x0[0, 0, 0, 0] = value
        return x0

    return replace(train_step, images=images)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_step_that_is_not_finite_moves_nothing_and_is_counted(data, settings, value):
    train_state, train_step = pieces(settings(), data)
    seen = []
    for result in training(poison(train_step, {4, 5}, value), train_state):
        averages = [tensor.clone() for tensor in train_state.ema.averages[0.99]]
        moments = [state["exp_avg"].clone() for state in train_state.optimizer.state.values()]
        seen.append((result.skipped, weights_of(train_state), averages, moments))
    assert [skipped for skipped, *_ in seen] == [False] * 4 + [True] * 2 + [False] * 6
    (_, weights, averages, moments), (_, weights2, averages2, moments2) = seen[3], seen[5]
    assert equal(weights, weights2)
    assert all(map(torch.equal, averages, averages2))
    assert all(map(torch.equal, moments, moments2))
    assert (train_state.skipped, train_state.skipped_in_a_row) == (2, 0)
    assert all(torch.isfinite(tensor).all() for tensor in weights_of(train_state).values())
    assert not equal(seen[5][1], seen[6][1])


def test_a_gradient_that_is_not_finite_under_a_finite_loss_is_skipped(data, settings):
    train_state, train_step = pieces(settings(), data)
    parameter = next(train_state.network.parameters())
    handle = parameter.register_hook(lambda gradient: gradient * math.inf)
    result = next(training(train_step, train_state))
    handle.remove()
    assert math.isfinite(result.loss)
    assert not math.isfinite(result.grad_norm)
    assert result.skipped


def test_ten_in_a_row_stop_and_name_the_input(data, settings):
    train_state, train_step = pieces(settings(), data, total=40)
    before = weights_of(train_state)
    steps = training(poison(train_step, range(40)), train_state)
    assert [next(steps).step for _ in range(PATIENCE)] == list(range(1, 11))
    with pytest.raises(NonFiniteError, match="the input of the network") as caught:
        next(steps)
    assert "step 10 was the 10th in a row" in str(caught.value)
    assert equal(weights_of(train_state), before)


def test_nine_in_a_row_do_not_stop_and_the_count_starts_anew(data, settings):
    train_state, train_step = pieces(settings(), data, total=24)
    bad = {*range(2, 11), *range(12, 21)}
    assert [r.step - 1 for r in training(poison(train_step, bad), train_state) if r.skipped] == sorted(bad)


def test_the_count_in_a_row_goes_on_after_a_resume(data, settings):
    train_state, train_step = pieces(settings(), data, total=40)
    train_state.skipped_in_a_row = 9
    with pytest.raises(NonFiniteError):
        list(training(poison(train_step, range(40)), train_state))
    assert train_state.step == 1


class Exploding(nn.Module):
    def forward(self, x):
        return x * math.inf


def test_the_first_module_with_an_output_that_is_not_finite_is_named(data, settings):
    train_state, train_step = pieces(settings(), data, total=40)
    name = [n for n, module in train_state.network.named_modules() if isinstance(module, nn.Conv2d)][2]
    *path, leaf = name.split(".")
    parent = train_state.network.get_submodule(".".join(path))
    setattr(parent, leaf, Exploding())
    with pytest.raises(NonFiniteError, match=f"the output of module '{name}'"):
        list(training(train_step, train_state))


def test_the_parameter_whose_gradient_is_not_finite_is_named(data, settings):
    train_state, train_step = pieces(settings(), data, total=40)
    name, parameter = list(train_state.network.named_parameters())[3]
    parameter.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(NonFiniteError, match=f"the gradient of parameter '{name}'"):
        list(training(train_step, train_state))


def test_a_parameter_that_is_not_finite_is_named(data, settings):
    train_state, train_step = pieces(settings(), data, total=40)
    name, parameter = list(train_state.network.named_parameters())[2]
    parameter.data.view(-1)[0] = math.nan
    with pytest.raises(NonFiniteError, match=f"parameter '{name}'"):
        list(training(train_step, train_state))


def test_a_finished_learner_takes_no_step(data, settings):
    train_state, train_step = pieces(settings(), data)
    train_state.step = 12
    assert list(training(train_step, train_state)) == []


def test_bfloat16_autocast_trains_with_float32_weights_and_losses(data, settings):
    train_state, train_step = pieces(settings(precision="bfloat16"), data, total=3)
    assert train_step.bfloat16
    seen = []
    conv = next(m for m in train_state.network.modules() if isinstance(m, nn.Conv2d))
    conv.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    results = list(training(train_step, train_state))
    assert set(seen) == {torch.bfloat16}
    assert {p.dtype for p in train_state.network.parameters()} == {torch.float32}
    assert {r.losses.dtype for r in results} == {torch.float32}
    assert all(math.isfinite(r.loss) for r in results)


def test_a_batch_is_in_the_layout_of_the_convolutions(settings, data):
    for last, layout in ((True, torch.channels_last), (False, torch.contiguous_format)):
        _, train_step = pieces(settings(channels_last=last), data)
        assert all(x.is_contiguous(memory_format=layout) for x in (train_step.batch(0).x0, train_step.batch(0).eps))
