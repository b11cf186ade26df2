"""How much may be asked for at once. More is answered by one sentence, before any work is done."""

from __future__ import annotations

from dataclasses import dataclass

from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import METHODS
from undiffuse.errors import UndiffuseError

FOR_THE_COMMAND_LINE = {
    "sample": ("image", "classifier", "compile"),
    "data": ("source", "pairs"),
    "distillation": tuple(METHODS.fields),
    "start": ("start_from", "start_weights", "start_sha256", "prior"),
    "lora": ("lora_rank", "lora_layers"),
    "loop": ("device", "parallel", "compile", "track"),
}
"""Settings that a request may not have, by section: they name files, are the machine's, or send things elsewhere."""


EXACT = 2**53 - 1
"""The largest number that every reader of JSON keeps exactly."""


class TooLargeError(UndiffuseError):
    """More came than is taken."""


@dataclass(frozen=True)
class Limits:
    """The most of everything."""

    count: int = 64
    """Pictures of a request."""
    steps: int = 1000
    """Steps of a sampler."""
    micro_batch: int = 64
    """Pictures of an evaluation."""
    previews: int = 16
    """Pictures that are shown on the way."""
    text: int = 1000
    """Letters of a text, and entries of a list."""
    json_bytes: int = 1 << 20
    """Of a request without files."""
    upload_bytes: int = 64 << 20
    """Of a request with pictures."""
    data_bytes: int = 2 << 30
    """Of a data set."""
    files: int = 10_000
    """Of a data set."""
    pixels: int = 1 << 24
    """Of a picture, in or out."""
    live: int = 8
    """Evaluations of a picture that follows a slider."""
    larger: int = 64
    """Times as many pixels as the model learned, of an edit's results together: a gradient remembers all tiles."""

    def check_pixels(self, height: int, width: int) -> None:
        if height * width > self.pixels:
            raise TooLargeError(f"A picture has at most {self.pixels:,} pixels here; this one has {height} x {width}")

    def check_larger(self, n: int, sides: tuple[int, int], learned: tuple[int, int]) -> None:
        """Check that n results together are not far larger than what the model learned, all (height, width)."""
        times = n * sides[0] * sides[1] / (learned[0] * learned[1])
        if times > self.larger:
            raise TooLargeError(
                f"{n} of {sides[0]} x {sides[1]} have {times:,.0f} times the pixels that this model learned "
                f"({learned[0]} x {learned[1]}); at most {self.larger} times are made here: ask for fewer or smaller"
            )

    def check_settings(self, settings: SampleConfig) -> None:
        _most("steps", max(settings.solver.steps, len(settings.solver.times)), self.steps)
        _most("micro_batch", settings.compute.micro_batch or 1, self.micro_batch)
        for name, value in settings.flat().items():
            if isinstance(value, tuple | str):
                _most(f"letters of {name}" if isinstance(value, str) else name, len(value), self.text)
        if (settings.solver.morph_to or 0) > EXACT:
            raise UndiffuseError(f"morph_to takes a seed of at most {EXACT} here, and it is {settings.solver.morph_to}")
        if settings.solver.sampler == "ode" and settings.solver.tolerance < 1e-7:
            raise UndiffuseError(f"tolerance lies at 1e-7 or above here; it is {settings.solver.tolerance:g}")

    def check_steps(self, steps: int) -> None:
        """Check the steps of a walk that nobody asked for: a student's file says how many they are."""
        _most("steps", steps, self.steps)

    def check_count(self, n: int, what: str = "pictures") -> None:
        _most(what, n, self.count)


def _most(what: str, value: int, most: int) -> None:
    if value > most:
        raise UndiffuseError(f"At most {most:,} {what} are taken here, and {value:,} came")
