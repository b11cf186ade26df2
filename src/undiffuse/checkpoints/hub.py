"""The Hugging Face hub: a model by its name there, ``ORG/NAME`` or ``ORG/NAME@REVISION``, in the hub's own cache.

Notable choices:

* The network is touched only for a name of this form that is nothing on the disk. A path whose first folder is there
  is a misspelt path, and so is one in ``runs/``: nobody wants those names sent to a server.
* Only the files that a reader here may read are fetched: settings and safetensors, no pickles, no code.
* What is in the cache is used without a network (``HF_HUB_OFFLINE=1``, or none to be had).
* A model remembers the commit that it came from, so its pictures can be made again from the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from undiffuse.checkpoints.foreign.diffusers.folder import FILES, VARIANTS
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.installing import need

MODEL = "model.safetensors"
"""A model of ours in one file, as `undiffuse.checkpoints.model_file` writes it."""
_NAME = re.compile(r"([\w-][\w.-]{0,95}/[\w-][\w.-]{0,95})(?:@([\w.-]{1,100}))?", re.ASCII)


@dataclass(frozen=True)
class HubName:
    """A repository, and perhaps a branch, a tag or a commit in it."""

    repo: str
    revision: str | None = None


def hub_name(name: str | Path) -> HubName | None:
    """The repository that a path which is not there may mean; None for anything else, such as a text './NAME'."""
    path = Path(name)
    found = _NAME.fullmatch(name if isinstance(name, str) else name.as_posix())
    if found is None or path.exists() or path.parts[0] == "runs" or Path(path.parts[0]).exists():
        return None
    return HubName(found[1], found[2])


def require_hub(name: str) -> None:
    need("huggingface_hub", f"{name} is no path here, and a model of the Hugging Face hub needs", "hub")


def failures() -> tuple[type[Exception], ...]:
    """All that the hub's package raises, and the library by which it connects, from which its own errors derive."""
    from huggingface_hub.errors import HfHubHTTPError

    return (OSError, ValueError, *HfHubHTTPError.__bases__)


def fetch(name: HubName) -> Path:
    """The folder in the hub's cache with the files of a repository; its name is the commit."""
    require_hub(name.repo)
    from huggingface_hub import errors, snapshot_download

    try:
        folder = Path(snapshot_download(name.repo, revision=name.revision, allow_patterns=[*FILES, MODEL]))
        if not any(folder.rglob("*.safetensors")):
            patterns = [*FILES, *VARIANTS]
            folder = Path(snapshot_download(name.repo, revision=name.revision, allow_patterns=patterns))
    except errors.GatedRepoError:
        raise UndiffuseError(
            f"{name.repo} is open only to those who accepted its terms: accept them on its page at the hub, "
            "then log in with: hf auth login"
        ) from None
    except errors.RevisionNotFoundError:
        raise UndiffuseError(f"{name.repo} has no revision '{name.revision}'") from None
    except errors.RepositoryNotFoundError:
        raise UndiffuseError(
            f"There is no {name.repo}, neither as a path here nor on the hub, or it is private: check the spelling, or "
            "log in with: hf auth login"
        ) from None
    except errors.LocalEntryNotFoundError:
        raise UndiffuseError(
            f"{name.repo} is no path here, is not in the hub's cache, and the hub cannot be reached: connect, with "
            "HF_HUB_OFFLINE unset"
        ) from None
    except failures() as error:
        reason = str(error).strip().partition("\n")[0]
        raise UndiffuseError(f"{name.repo} could not be fetched from the hub: {reason[:300]}") from None
    if not any(folder.rglob("*.safetensors")):
        raise UndiffuseError(
            f"{name.repo} has no safetensors where undiffuse looks for them ({MODEL}, or unet/ as diffusers has them), "
            "or not in the cache; pickled weights are not fetched: download those that you trust and give their folder"
        )
    return folder
