"""Our measures as metrics of torchmetrics: the values of `undiffuse evaluate`, and torchmetrics' own ways."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from torch import nn

from undiffuse.config.data import DataConfig
from undiffuse.data.preparation.prepare import prepare
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features.extractor import Identity, Outputs
from undiffuse.evaluation.quality.evaluate import evaluate
from undiffuse.evaluation.quality.image_source import DatasetImages
from undiffuse.evaluation.quality.reference import Reference

torchmetrics = pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
ours = pytest.importorskip("undiffuse.evaluation.torchmetrics")
ALL = {
    "frechet": ours.FrechetDistance,
    "kernel": ours.KernelDistance,
    "precision": ours.Precision,
    "recall": ours.Recall,
    "density": ours.Density,
    "coverage": ours.Coverage,
    "inception_score": ours.InceptionScore,
}


class Quarters:
    """The means of the quarters of an image, which are features and classes at once."""

    identity = Identity("quarters", "a" * 64, "averaged to 2 x 2")

    def __call__(self, images):
        quarters = nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)
        return Outputs(quarters, logits=20 * quarters)


class Net(nn.Module):
    """A fixed random network of 12 features."""

    def __init__(self):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.register_buffer("weight", torch.randn(64, 12, generator=draw))
        self.drop = nn.Dropout(0.5)

    def forward(self, images):
        x = images.to(self.weight.dtype).flatten(1) / (255 if images.dtype == torch.uint8 else 1)
        return self.drop(torch.tanh(x @ self.weight / 4))


def pictures(count, seed, low=0):
    return np.random.default_rng(seed).integers(low, 256, (count, 1, 8, 8), np.uint8)


REAL, FAKE = pictures(130, 0), pictures(110, 1, 40)


def updated(metric, fake=FAKE, real=REAL, size=37, change=torch.from_numpy):
    for images, is_real in ((real, True), (fake, False)):
        for start in range(0, len(images), size):
            metric.update(change(images[start : start + size]), real=is_real)
    return metric


@pytest.fixture(scope="module")
def quality(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quality")

    def open_(name, images):
        np.save(folder / name, images[:, 0])
        return prepare(DataConfig(str(folder / name)), folder / "cache", progress=False)

    fake, real = DatasetImages.of(open_("fake.npy", FAKE)), Reference(open_("real.npy", REAL))
    return evaluate(fake, real, [Quarters()], cache=folder / "cache")


@pytest.mark.parametrize("name", ALL)
def test_values_are_those_of_an_evaluation(quality, name):
    expected = quality.figure(name).value
    rel = 1e-12 if name == "frechet" else 0  # whose moments are put together in another order
    assert updated(ALL[name](Quarters())).compute().item() == pytest.approx(expected, rel=rel, abs=0)
    floats = updated(ALL[name](Quarters()), change=lambda images: torch.from_numpy(images).float() / 255)
    assert floats.compute().item() == pytest.approx(expected, rel=rel, abs=0)


def test_the_frechet_distance_is_that_of_torchmetrics():
    theirs = torchmetrics.image.fid.FrechetInceptionDistance(Net().eval(), input_img_size=(1, 8, 8))
    mine = updated(ours.FrechetDistance(Net()))
    updated(theirs.set_dtype(torch.float64))
    assert mine.compute().item() == pytest.approx(theirs.compute().item(), rel=1e-4)
    assert mine.compute() > 0.1


def test_a_module_keeps_its_mode_and_stays_out_of_the_state():
    net = Net().train()
    metric = updated(ours.KernelDistance(net))
    assert net.training
    assert metric.state_dict() == {}
    assert metric.compute() == updated(ours.KernelDistance(Net().eval())).compute()


@pytest.mark.filterwarnings("ignore:The ``compute`` method .* was called before")
@pytest.mark.parametrize("name", ALL)
def test_reset_forgets_and_may_keep_what_is_real(name):
    metric, keeping = ALL[name](Quarters()), ALL[name](Quarters(), reset_real_features=False)
    value = updated(metric).compute()
    for one in (metric, keeping):
        updated(one, pictures(50, 3))
        one.reset()
    with pytest.raises(
        UndiffuseError, match=r"update\(images, real=True\) comes" if name in ("frechet",) else "seen no"
    ):
        metric.compute()
    assert updated(metric).compute() == value
    assert updated(keeping, real=REAL[:0]).compute() == pytest.approx(value.item(), rel=1e-12)


def test_a_collection_computes_features_of_a_kind_once():
    class Counted(Quarters):
        calls = 0

        def __call__(self, images):
            Counted.calls += 1
            return super().__call__(images)

    collection = torchmetrics.MetricCollection({name: kind(Counted()) for name, kind in ALL.items()})
    updated(collection, size=40)
    alone = {name: updated(kind(Quarters()), size=40).compute() for name, kind in ALL.items()}
    assert collection.compute() == alone
    before = Counted.calls
    updated(collection, size=40)
    assert Counted.calls - before == 7 + 7 + 3  # of moments, of features, of classes of samples alone
    collection.reset()
    updated(collection, size=40)
    assert collection.compute() == alone


def test_a_collection_keeps_extractors_apart_that_have_seen_nothing_yet():
    class Halves(Quarters):
        identity = Identity("halves", "b" * 64, "averaged to 2")

        def __call__(self, images):
            return Outputs(super().__call__(images).features[:, :2])

    collection = torchmetrics.MetricCollection(
        {"quarters": ours.FrechetDistance(Quarters()), "halves": ours.FrechetDistance(Halves())}
    )
    collection.update(torch.from_numpy(REAL[:0]), real=True)
    updated(collection)
    assert collection.compute()["halves"] == updated(ours.FrechetDistance(Halves())).compute()


def test_a_call_is_an_update():
    metric = ours.FrechetDistance(Quarters())
    assert metric(torch.from_numpy(REAL), real=True) is None
    assert metric(torch.from_numpy(FAKE), real=False) is None
    assert metric.compute() == updated(ours.FrechetDistance(Quarters()), size=200).compute()


def test_it_is_copied_and_pickled():
    metric = updated(ours.FrechetDistance("pixels"))
    assert copy.deepcopy(metric).compute() == pickle.loads(pickle.dumps(metric)).compute() == metric.compute()


@pytest.mark.filterwarnings("ignore::Warning:lightning", "ignore:.*LeafSpec", "ignore:.*num_workers")
def test_lightning_logs_them(tmp_path):
    lightning = pytest.importorskip("lightning", reason="logs in Lightning, which is not installed")

    class Watched(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 1)
            self.measures = nn.ModuleDict({name: kind(Quarters()) for name, kind in ALL.items()})

        def training_step(self, batch):
            return self.layer(batch[:, :1, 0, 0].float()).mean()

        def validation_step(self, batch):
            for name, metric in self.measures.items():
                metric.update(batch, real=True)
                metric.update(255 - batch, real=False)
                self.log(name, metric)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    module, loader = Watched(), torch.utils.data.DataLoader(torch.from_numpy(REAL), 26)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = lightning.Trainer(max_epochs=2, default_root_dir=tmp_path, enable_checkpointing=False, **quiet)
    trainer.fit(module, loader, loader)
    for name, kind in ALL.items():
        expected = updated(kind(Quarters()), 255 - REAL, size=26).compute().item()
        assert trainer.callback_metrics[name].item() == pytest.approx(expected, rel=1e-6)


SCRIPT = """
import json, sys
import numpy as np, torch
from torch import nn
import undiffuse.evaluation.torchmetrics as ours

torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
real, fake = (torch.from_numpy(np.load(f"{name}.npy")) for name in ("real", "fake"))
found = {}
for name in ("FrechetDistance", "KernelDistance", "Precision", "Coverage"):
    for idle in (False, True):  # the second process sees no samples, and less of what is real
        metric = getattr(ours, name)("pixels")
        metric.update(real[:70] if rank == 0 else real[70:], real=True)
        if not idle or rank == 0:
            metric.update(fake if idle else fake[55 * rank : 55 * rank + 55], real=False)
        found[f"{name} {idle}"] = metric.compute().item()
        metric.update(fake[:1], real=False)  # the states are this process's again
        own = 55 if not idle else 110 * (rank == 0)
        assert name == "FrechetDistance" or sum(len(rows) for rows in metric._stored("fake")) == own + 1
with open(f"found-{rank}.json", "w") as file:
    json.dump(found, file)
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_have_the_value_of_one(tmp_path):
    np.save(tmp_path / "real.npy", REAL)
    np.save(tmp_path / "fake.npy", FAKE)
    (tmp_path / "script.py").write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "script.py"]
    done = subprocess.run(launch, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    both = [json.loads((tmp_path / f"found-{rank}.json").read_text()) for rank in (0, 1)]
    assert both[0] == both[1]
    for key, value in both[0].items():
        alone = updated(getattr(ours, key.split()[0])("pixels"), size=200)
        assert value == pytest.approx(alone.compute().item(), rel=1e-9), key


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (torch.zeros(4, 1, 8, 8).long(), "these are int64"),
        (torch.linspace(-1, 1, 256).reshape(4, 1, 8, 8), "floats from -1 to 1: scale or clamp"),
        (np.zeros((4, 1, 8, 8)), "got a ndarray"),
        (torch.zeros(4, 8), r"these have the shape \(4, 8\)"),
        (torch.full((4, 1, 8, 8), torch.nan), "NaN or infinity in image 0"),
    ],
)
def test_images_of_another_kind_are_refused(images, sentence):
    with pytest.raises(UndiffuseError, match=sentence):
        ours.FrechetDistance("pixels").update(images, real=True)


def test_mistakes_are_sentences():
    with pytest.raises(UndiffuseError, match=r"unknown extractor 'pixel'; perhaps you meant 'pixels'"):
        ours.Precision("pixel")
    with pytest.raises(UndiffuseError, match=r"a name such as 'inception' or 'pixels', or a module .* got a int"):
        ours.Precision(2048)
    with pytest.raises(UndiffuseError, match="'pixels' gives no logits"):
        ours.InceptionScore("pixels").update(torch.from_numpy(FAKE))
    with pytest.raises(UndiffuseError, match="expected 'Flatten' to give features"):
        ours.Recall(nn.Flatten(0)).update(torch.from_numpy(FAKE), real=True)
    metric = updated(ours.FrechetDistance("pixels"), FAKE[:1], REAL[:1])
    with pytest.raises(UndiffuseError, match="at least 2 images"):
        metric.compute()


def test_without_torchmetrics_a_sentence_says_what_to_install():
    code = """
    import sys
    sys.modules["torchmetrics"] = None
    from undiffuse.errors import UndiffuseError
    try:
        import undiffuse.evaluation.torchmetrics
    except UndiffuseError as error:
        print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert "needs the package torchmetrics: " in done.stdout
    assert "[torchmetrics]'" in done.stdout
    assert done.stdout.count("\n") == 1


def test_importing_undiffuse_imports_no_bridge():
    names = "undiffuse.TrainingModule, undiffuse.from_diffusers, undiffuse.evaluation"
    code = f"import undiffuse, sys; {names}; print({{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"lightning", "accelerate", "torchmetrics", "diffusers"} & set(eval(done.stdout))
