"""A `TrainingModule` under the machinery of Lightning and of accelerate: steps, accumulation, checkpoints."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import undiffuse

SMALL = {
    "base": 8,
    "multipliers": (1,),
    "blocks": 1,
    "attention_levels": (),
    "middle_attention": False,
    "patch": 1,
    "timesteps": 8,
}


def learner_of():
    return undiffuse.TrainingModule((1, 8, 8), classes=2, **SMALL)


def loader_of(count=24):
    images = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(images, torch.arange(count) % 2), batch_size=4)


def same(first, second):
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def lightning():
    return pytest.importorskip("lightning", reason="learns in Lightning's loop, which is not installed")


@pytest.fixture
def module_of(lightning):
    class Bridge(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.learner = learner_of()

        def training_step(self, batch):
            return self.learner(batch[0], label=batch[1])

        def validation_step(self, batch):
            self.log("loss", self.learner(batch[0], label=batch[1]))

        def configure_optimizers(self):
            return self.learner.follow(torch.optim.Adam(self.learner.parameters(), 1e-3))

    return Bridge


@pytest.fixture
def fit(lightning, tmp_path):
    def fit_(module, epochs, ckpt=None, **options):
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        trainer = lightning.Trainer(max_epochs=epochs, default_root_dir=tmp_path, **quiet, **options)
        trainer.fit(module, loader_of(), loader_of(8), ckpt_path=ckpt)
        return trainer

    return fit_


OF_LIGHTNING = pytest.mark.filterwarnings("ignore::Warning:lightning", "ignore:.*LeafSpec", "ignore:.*num_workers")


@OF_LIGHTNING
def test_a_training_of_lightning_that_goes_on_is_the_uninterrupted_one(module_of, fit, tmp_path):
    whole, first, second = (module_of() for _ in range(3))
    fit(whole, 2, enable_checkpointing=False)
    fit(first, 1).save_checkpoint(tmp_path / "half.ckpt")
    fit(second, 2, ckpt=tmp_path / "half.ckpt")
    assert same(whole, second)
    assert whole.learner.steps == 12
    assert not same(whole, first)
    loaded = module_of.load_from_checkpoint(tmp_path / "half.ckpt")
    assert loaded.learner.averaged().sample(1, steps=1).array.shape == (1, 1, 8, 8)


@OF_LIGHTNING
def test_the_average_moves_with_the_optimizer_and_not_with_batches(module_of, fit):
    module = module_of()
    fit(module, 1, accumulate_grad_batches=3, precision="bf16-mixed", enable_checkpointing=False)
    assert (module.learner.calls, module.learner.steps) == (6, 2)


def test_accelerate_accumulates_and_goes_on_from_its_checkpoint(tmp_path):
    accelerate = pytest.importorskip("accelerate", reason="learns in accelerate's loop, which is not installed")
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=3)

    def learn(learner, halves, resume=False):
        optimizer = torch.optim.Adam(learner.parameters(), 1e-3)
        wrapped, optimizer, loader = accelerator.prepare(learner, optimizer, loader_of())
        learner.follow(optimizer)
        if resume:
            accelerator.load_state(tmp_path / "state")
        for _ in range(halves):
            for images, labels in loader:
                with accelerator.accumulate(wrapped):
                    accelerator.backward(wrapped(images, label=labels))
                    optimizer.step()
                    optimizer.zero_grad()
        return learner

    whole, first, second = (learner_of() for _ in range(3))
    learn(whole, 2)
    assert (whole.calls, whole.steps) == (12, 4)
    accelerator.free_memory()
    learn(first, 1)
    accelerator.save_state(tmp_path / "state")
    accelerator.free_memory()
    learn(second, 1, resume=True)
    assert same(whole, second)
    assert accelerator.unwrap_model(second).averaged().provenance["step"] == 4
