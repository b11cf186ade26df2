"""A model to the Hugging Face hub: a folder that can be looked at, and its upload.

README.md          the model card
samples.png        samples of one seed, not chosen
model.safetensors  the model in one file of ours; or diffusers' files, see `diffusers_folder`
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from undiffuse.checkpoints.foreign.diffusers.folder import CODE, FILES
from undiffuse.checkpoints.hub import MODEL, failures, require_hub
from undiffuse.errors import UndiffuseError, counted, first_line
from undiffuse.export import convert
from undiffuse.export.card import hub_card
from undiffuse.export.preconditions import check_whole
from undiffuse.model import AnyModel, Model
from undiffuse.provenance.png import check_free, write_png
from undiffuse.runtime.durable_files import ELSEWHERE, replace_file

CARD, SAMPLES = "README.md", "samples.png"
FORMATS = ("file", "diffusers")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


def check_repo(repo: str) -> None:
    if not _REPO.fullmatch(repo):
        raise UndiffuseError(f"A model on the hub is called ORG/NAME, with letters, digits and '._-', not '{repo}'")


def prepare(
    model: AnyModel, repo: str, folder: Path, to: str = "file", samples: int = 16, overwrite: bool = False
) -> list[str]:
    """Write the folder; nothing is sent anywhere.

    Args:
        repo: ``ORG/NAME``, which the card tells how to load.
        folder: made if it is not there.
        to: one of `FORMATS`.
        samples: in the grid, numbers 0, 1, ... of seed 0; 0 for no grid.

    Returns:
        Lines to print.

    Raises:
        UndiffuseError: a file is in the way, the format cannot hold the model, or it is a stage, which has no samples.
    """
    check_repo(repo)
    if samples and isinstance(model, Model) and model.config.conditions.upscale > 1:
        raise UndiffuseError(
            "A stage of a cascade draws nothing by itself, so there are no samples to show beside it: push it with "
            "`n=0`"
        )
    for name in (CARD, SAMPLES):
        check_free(folder / name, overwrite)
    lines = convert(model, folder / MODEL if to == "file" else folder, to, overwrite)
    return [*lines, *describe(model, repo, folder, to, samples, overwrite)]


def describe(model: AnyModel, repo: str, folder: Path, to: str, samples: int, overwrite: bool) -> list[str]:
    """The card and the grid, beside weights that are there."""
    model = check_whole(model)
    if samples:
        drawn = model.sample(samples, seed=0)
        drawn = replace(drawn, provenance={**drawn.provenance, "checkpoint": repo})
        sheet = f"a grid of {counted(samples, 'sample')}"
        write_png(folder / SAMPLES, drawn.grid(), drawn.origin(0, samples), overwrite, sheet)
    check_free(folder / CARD, overwrite)
    replace_file(folder / CARD, hub_card(model, repo, to, samples), ELSEWHERE)
    return [f"card    {folder / CARD}" + (f", {counted(samples, 'sample')} in {folder / SAMPLES}" if samples else "")]


def upload(folder: Path, repo: str, private: bool = False) -> str:
    """Send what `prepare` wrote, and nothing else that may lie there; the commit's address.

    Raises:
        UndiffuseError: the hub's package is missing, nobody is logged in, may not write there, or there is no network.
    """
    check_repo(repo)
    require_hub(repo)
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            commit_message="A model made by undiffuse",
            allow_patterns=[CARD, SAMPLES, MODEL, *FILES, *CODE],
        )
    except failures() as error:
        raise UndiffuseError(
            f"{repo} could not be written on the hub ({first_line(error)[:300]}): log in with hf auth login as "
            f"somebody who may; what was to be sent is in {folder}"
        ) from None
    return str(commit.commit_url)
