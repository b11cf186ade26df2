"""The noise that pictures come from under DDIM, and how well it gives them back.

  undiffuse edit invert runs/NAME photo.png --steps 200
  undiffuse edit invert runs/NAME photo.png --steps 50 --exact

Writes the reconstruction, and the latent as NAME-latent.npz (key 'latent', float32, channels x height x width).
"""

from __future__ import annotations

import io
import warnings
from argparse import Namespace
from pathlib import Path

from undiffuse.cli.edit.common import Desk, add_edit
from undiffuse.cli.parse_values import number, whole
from undiffuse.cli.parser import Parser
from undiffuse.config.sampling import SampleConfig
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.durable_files import NAME_BYTES, shortened


def configure(parser: Parser) -> None:
    group = add_edit(parser, "invert")
    group.add_argument("--exact", action="store_true", help="solve each step by fixed-point iteration")
    text = "evaluations that an exact step may take (default: 20)"
    group.add_argument("--iterations", type=whole("--iterations", 1), metavar="N", help=text)
    text = "error at which an exact step is done, in model space (default: 1e-4)"
    group.add_argument("--within", type=number("--within", 0), metavar="X", help=text)


def run(typed: Namespace) -> None:
    import numpy as np

    from undiffuse.editing import Inverter, invert
    from undiffuse.editing.images import view
    from undiffuse.provenance.png import check_free, write_file

    options = vars(typed)
    inverter = Inverter("exact" in options, options.get("iterations", 20), options.get("within", 1e-4))
    desk = Desk("invert", vars(typed), SampleConfig(sampler="ddim", steps=100, spacing="linspace"))
    if desk.settings.sampler != "ddim" or desk.settings.eta != 0:
        raise UndiffuseError("Only DDIM without noise is inverted: leave out --sampler and --eta")
    if desk.copies > 1:
        raise UndiffuseError("A picture has one latent: leave out -n")
    overwrite = "overwrite" in options
    for picture in desk.pictures:
        check_free(latent_file(desk, picture.path.stem), overwrite)
    for batch in desk.batches():
        found = invert(desk.editor(batch.indices, batch.x0.shape[2:]), batch.x0, inverter)
        for picture, latent, error, psnr in zip(
            batch.pictures, found.latents, found.error.tolist(), found.psnr.tolist(), strict=True
        ):
            packed = io.BytesIO()
            np.savez_compressed(packed, latent=latent.numpy())
            path = latent_file(desk, picture.path.stem)
            write_file(path, packed.getvalue(), overwrite)
            print(f"{picture.path}: comes back within {error * 127.5:.2f} / 255 (root mean square), {psnr:.1f} dB")
            print(path)
        info = desk.model.info
        given = [
            [("given", view(x, info)), ("latent", view(latent / 3, info))]
            for x, latent in zip(batch.x0, found.latents, strict=True)
        ]
        desk.write(batch, found.reconstructions, given)
        if found.warning:
            warnings.warn(found.warning, stacklevel=1)


def latent_file(desk: Desk, stem: str) -> Path:
    return desk.folder / f"{shortened(f'{stem}-latent', NAME_BYTES - len('.npz'))}.npz"
