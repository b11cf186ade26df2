"""The file in a run's folder that holds times which were chosen for its model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from undiffuse.config.sections import from_plain
from undiffuse.errors import UndiffuseError, counted, quoted

Cost = Literal["bound", "error"]
FORMAT = 1
MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class LearnedTimesteps:
    """Times that were chosen for one model and one number of evaluations; `undiffuse timesteps` writes them.

    Args:
        times: falling, without the final 0.
        cost: what they are the best for, see `evaluation.samplers.optimal_timesteps`.
        total: that cost of the whole walk.
        images: how many it was measured on.
        step: training step of the weights.
        weights_sha256: of the weights' file; with other weights other times are best.
    """

    times: tuple[float, ...]
    cost: Cost
    total: float
    images: int
    step: int
    weights_sha256: str

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def file(cls, folder: Path, steps: int) -> Path:
        """The place of the times for ``steps`` evaluations in a run's folder."""
        return folder / f"timesteps-{steps}.json"

    @classmethod
    def read(cls, folder: Path, steps: int, weights_sha256: str, name: str = "") -> LearnedTimesteps:
        """The times for ``steps`` evaluations of these weights.

        Args:
            name: what the model is called; by default the folder.
        """
        path = cls.file(folder, steps)
        again = f"choose them with undiffuse timesteps {quoted(name or folder)} --evaluations {steps}"
        if not path.exists():
            raise UndiffuseError(f"{name or folder} has no learned timesteps for {counted(steps, 'step')}: {again}")
        try:
            with path.open("rb") as file:
                found = json.loads(file.read(MAX_BYTES))
        except (OSError, ValueError, RecursionError):
            raise UndiffuseError(f"{path} should hold JSON, but cannot be read: {again} --overwrite") from None
        if not isinstance(found, dict) or found.pop("format", None) != FORMAT:
            raise UndiffuseError(f"{path} has another format than {FORMAT}, the one this undiffuse reads: {again}")
        try:
            learned = from_plain(cls, found, str(path))
        except UndiffuseError as error:
            raise UndiffuseError(f"{error}: {again} --overwrite") from None
        if learned.weights_sha256 != weights_sha256:
            raise UndiffuseError(
                f"{path} was made for other weights (step {learned.step}, sha256 {learned.weights_sha256[:10]}...) "
                f"than those that were loaded ({weights_sha256[:10]}...): {again} --overwrite"
            )
        if len(learned.times) != steps:
            raise UndiffuseError(
                f"{path} should hold {counted(steps, 'time')} and holds {len(learned.times)}: {again} --overwrite"
            )
        return learned
