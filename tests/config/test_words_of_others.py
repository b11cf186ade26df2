"""What other programs call a setting leads to ours."""

from __future__ import annotations

import pytest

from undiffuse.config.files import override
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.errors import UndiffuseError

TRAINING = {
    "learning_rate": "lr",
    "train_batch_size": "batch",
    "num_train_epochs": "images",
    "ema_decay": "ema",
    "gradient_accumulation_steps": "accumulate",
    "mixed_precision": "precision",
    "lr_warmup_steps": "warmup",
    "prediction_type": "parameterization",
    "dim_mults": "multipliers",
    "beta_schedule": "schedule",
    "max_grad_norm": "clip",
    "report_to": "track",
    "class_cond": "condition",
    "train_num_steps": "steps",
}
SAMPLING = {
    "num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "scheduler": "sampler",
    "negative_prompt": "avoid",
    "class_labels": "classes",
}


@pytest.mark.parametrize(("theirs", "ours"), TRAINING.items())
def test_settings_of_a_training(theirs, ours):
    with pytest.raises(UndiffuseError, match=f"unknown setting '{theirs}'; perhaps you meant '{ours}'"):
        override(TrainConfig(), **{theirs: 1})


@pytest.mark.parametrize(("theirs", "ours"), SAMPLING.items())
def test_settings_of_samples(theirs, ours):
    with pytest.raises(UndiffuseError, match=f"unknown setting '{theirs}' in the sampling; perhaps you meant '{ours}'"):
        SampleConfig.of(**{theirs: 1})
