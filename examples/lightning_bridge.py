"""A model that learns in Lightning's loop: discs and squares, each by its class.

python examples/lightning_bridge.py    (pip install undiffuse lightning)
"""

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import undiffuse


class Shapes(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.learner = undiffuse.TrainingModule((1, 16, 16), classes=("disc", "square"), parameterization="v")

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = batch
        loss: Tensor = self.learner(images, label=labels)
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:  # of the averaged weights
        images, labels = batch
        self.log("val_loss", self.learner(images, label=labels), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.learner.follow(torch.optim.Adam(self.learner.parameters(), lr=1e-3))


def shapes(count: int, seed: int) -> TensorDataset:
    """White discs and squares on black, from 0 to 1 as torchvision's ToTensor makes them."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (count,), generator=random)
    right, down, size = torch.rand(3, count, 1, 1, 1, generator=random)
    x, y = torch.arange(16.0) - 5 - 6 * right, torch.arange(16.0)[:, None] - 5 - 6 * down
    away = torch.where(labels.reshape(-1, 1, 1, 1) == 0, x.hypot(y), torch.maximum(x.abs(), y.abs()))
    return TensorDataset((away < 2 + 3 * size).float(), labels)


def main(epochs: int = 10, count: int = 4000, folder: str = ".") -> None:
    module = Shapes()
    trainer = lightning.Trainer(max_epochs=epochs, default_root_dir=folder, enable_checkpointing=False, logger=False)
    trainer.fit(module, DataLoader(shapes(count, 0), 32, shuffle=True), DataLoader(shapes(256, 1), 256))

    path = module.learner.averaged().save(f"{folder}/shapes.safetensors", overwrite=True)
    model = undiffuse.load(path)
    model.sample(16, classes=("disc", "square"), guidance=2.0).grid().save(f"{folder}/shapes.png")


if __name__ == "__main__":
    main()
