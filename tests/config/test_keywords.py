"""The keyword arguments that editors complete and mypy checks are those of the settings.

python tests/config/test_keywords.py      writes `undiffuse.config.keywords` anew
"""

from __future__ import annotations

import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

from undiffuse.config import distillation, keywords
from undiffuse.config.distillation import StudentConfig
from undiffuse.config.fields import Field, fields_of, variants_of
from undiffuse.config.files import BUDGETS
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import METHODS, TrainConfig
from undiffuse.config.sections import flat_fields, sections
from undiffuse.editing import keywords as edit_keywords
from undiffuse.editing.options import options_of
from undiffuse.editing.registry import EDITS
from undiffuse.training.distillation.request import NOT_OF_STUDENTS

FILE, OF_EDITS = Path(keywords.__file__), Path(edit_keywords.__file__)
OBJECTS = {
    "sampler": "str | Sampler[Any]",
    "guidance": "float | GuidanceRule",
    "schedule": "str | Schedule",
    "optimizer": "str | Callable[..., Optimizer]",
    "loss": "str | Loss",
    "source": "object",
    "pairs": "object",
    "validation": "object",
}
"""Settings that take objects, too."""
FILLED_IN = ("start_sha256", "recipe", "with_critic")
"""Settings that are an argument of their own, or that nobody gives."""
HEAD = '''"""The keyword arguments of Python's functions, for editors and type checkers: every setting with its type.

Made from the dataclasses of settings by ``python tests/config/test_keywords.py``, and tested to agree with them. What a
package's own options add is known at run time alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from undiffuse.diffusion.guidance import GuidanceRule
    from undiffuse.diffusion.losses import Loss
    from undiffuse.diffusion.schedules import Schedule
    from undiffuse.diffusion.trajectory import Sampler
'''

HEAD_OF_EDITS = '''"""The keyword arguments of a model's edits, see `undiffuse.config.keywords`."""

from __future__ import annotations

from typing import Literal, Required

from undiffuse.config.keywords import SampleSettings
'''


def spelled(hint: Any) -> str:
    """A type as it is written, any sequence in place of a tuple."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return spelled(args[0])
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, args)).replace(chr(39), chr(34))}]"
    if origin is tuple:
        each = spelled(args[0])
        return f"{each} | Sequence[{each}]" if each.startswith("Literal") else f"Sequence[{each}]"
    if origin in (Union, types.UnionType):
        return " | ".join(map(spelled, args))
    return "None" if hint is types.NoneType else str(hint.__name__)


def type_of(field: Field) -> str:
    return OBJECTS.get(field.name) or spelled(get_type_hints(field.owner, include_extras=True)[field.name])


def fields_for(cls: type) -> dict[str, Field]:
    """The settings by flat names that the library itself has: of unions, those of its own classes."""
    found = flat_fields(cls)
    students = variants_of(get_type_hints(TrainConfig)["distillation"])
    assert students is not None
    omit = {*FILLED_IN, *(students.fields if cls is TrainConfig else ())}
    return {name: field for name, field in found.items() if name not in omit and _ours(field)}


def for_students() -> dict[str, Field]:
    """The settings that a distillation takes: of the data, of a training, and of the methods."""
    homes, filled_in = sections(TrainConfig), {*fields_of(StudentConfig), *distillation.FILLED_IN}
    apart = {*NOT_OF_STUDENTS, *BUDGETS, "source"}
    of_training = {
        name: field
        for name, field in fields_for(TrainConfig).items()
        if homes[name] in ("data", "objective", "optimizer", "ema", "loop") and name not in apart
    }
    return of_training | {name: field for name, field in METHODS.fields.items() if name not in {*filled_in, *apart}}


def _ours(field: Field) -> bool:
    return field.owner.__module__.startswith("undiffuse.")


def dictionary(name: str, about: str, entries: dict[str, str], parent: str = "TypedDict") -> str:
    lines = "\n".join(f"    {key}: {value}" for key, value in entries.items())
    return f'\n\nclass {name}({parent}, total=False):\n    """{about}"""\n\n{lines}\n'


def text() -> str:
    train = {name: type_of(field) for name, field in fields_for(TrainConfig).items() if name != "source"}
    train["architecture"] = "str"
    train |= {"network": "str | nn.Module | Callable[..., nn.Module]", "objective": "str | Loss"}
    distil = {name: type_of(field) for name, field in for_students().items()}
    sample = {name: type_of(field) for name, field in fields_for(SampleConfig).items()}
    return (
        HEAD
        + dictionary("SampleSettings", "Settings of samples, see `SampleConfig`.", sample)
        + dictionary("TrainSettings", "Settings of a training, see `TrainConfig`.", train)
        + dictionary("DistillationSettings", "Settings of a distillation beside its arguments, see `distill`.", distil)
    )


def text_of_edits() -> str:
    shared = {"n": "int", "seed": "int", "progress": "bool"}
    found = HEAD_OF_EDITS + dictionary("EditKeywords", "What all edits take.", shared, "SampleSettings")
    for cls in {row.options: None for row in EDITS.values()}:
        own = options_of(cls)
        entries = {
            name: f"Required[{type_of(field)}]" if field.required else type_of(field) for name, field in own.items()
        }
        name = cls.__name__.replace("Options", "Keywords")
        found += dictionary(name, f"Options of an edit, see `{cls.__name__}`.", entries, "EditKeywords")
    return found


@pytest.mark.parametrize(("file", "written"), [(FILE, text), (OF_EDITS, text_of_edits)])
def test_keywords_agree_with_the_settings(file, written):
    assert "".join(file.read_text().split()) == "".join(written().split()), f"write it anew: python {__file__}"


if __name__ == "__main__":
    FILE.write_text(text())
    OF_EDITS.write_text(text_of_edits())
