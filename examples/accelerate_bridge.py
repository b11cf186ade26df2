"""A model that learns in accelerate's loop, in as many processes as accelerate starts: handwritten digits by class.

accelerate launch examples/accelerate_bridge.py    (pip install undiffuse accelerate)
"""

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, TensorDataset

import undiffuse
from undiffuse.config.data import DataConfig
from undiffuse.data.preparation.prepare import prepare


def main(steps: int = 1500, batch: int = 32, folder: str = ".") -> None:
    accelerator = Accelerator()
    data = prepare(DataConfig("digits"))  # or any images, uint8 or floats from 0 to 1
    images, labels = torch.from_numpy(np.array(data.images)), torch.tensor(data.labels)
    loader = DataLoader(TensorDataset(images, labels), batch, shuffle=True, drop_last=True)

    learner = undiffuse.TrainingModule(data.info.shape, classes=data.info.classes, parameterization="v")
    optimizer = learner.follow(torch.optim.Adam(learner.parameters(), lr=1e-3))
    loss_of, optimizer, loader = accelerator.prepare(learner, optimizer, loader)

    step = 0
    while step < steps:
        for pictures, classes in loader:
            loss = loss_of(pictures, label=classes)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(learner.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            if step % 50 == 0:
                accelerator.print(f"step {step}: loss {loss.item():.4f}")
            if step == steps:
                break

    if accelerator.is_main_process:
        path = learner.averaged().save(f"{folder}/digits-accelerated.safetensors", overwrite=True)
        model = undiffuse.load(path)
        model.sample(40, guidance=2.0).grid().save(f"{folder}/digits-accelerated.png")
    accelerator.end_training()


if __name__ == "__main__":
    main()
