"""Bodies and queries of requests: what several have, and nothing that nobody reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import Request
from fastapi.dependencies.models import Dependant
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, WithJsonSchema

from undiffuse.config.sampling import Compute, Guide, Prompt, SampleConfig, Solver
from undiffuse.errors import UndiffuseError
from undiffuse.studio.limits import EXACT, FOR_THE_COMMAND_LINE


class Body(BaseModel):
    """A request as JSON: unknown names are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


def known_query(request: Request) -> None:
    """A dependency of every route: names after the '?' that the route does not know are refused, as in bodies.

    A route of which a dependency reads the names itself says so by that function's ``reads_query``.
    """
    parts = list(_flat(request.scope["route"].dependant))
    if any(getattr(part.call, "reads_query", False) for part in parts):
        return
    known = [field.alias for part in parts for field in part.query_params]
    for name in request.query_params:
        if name not in known:
            takes = f"takes {', '.join(sorted(known))}" if known else "takes none"
            raise UndiffuseError(f"This address knows no query '{name[:40]}': it {takes}")


def _flat(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for part in dependant.dependencies:
        yield from _flat(part)


_SETTINGS = {
    "title": SampleConfig.__name__,
    "type": "object",
    "properties": {
        name: schema
        for section in (Solver, Prompt, Guide, Compute)
        for name, schema in TypeAdapter(section).json_schema()["properties"].items()
        if name not in FOR_THE_COMMAND_LINE["sample"]
    },
    "additionalProperties": False,
    "description": "Any of the settings of `undiffuse sample`; GET /v1/settings describes them.",
}
Settings = Annotated[dict[str, Any], WithJsonSchema(_SETTINGS)]
"""Settings of a sampler by name; what is left out keeps its default."""
ModelId = Annotated[str, Field(description="The id of a model, from GET /v1/models", max_length=100)]
Seed = Annotated[int, Field(ge=0, le=EXACT, description="Of the noise")]
Index = Annotated[int, Field(ge=0, le=2**31 - 1, description="Number of the sample among those of the seed")]
