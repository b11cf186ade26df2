"""Forms with files, and JSON inside them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import FormData, UploadFile

from undiffuse.errors import UndiffuseError

T = TypeVar("T")


class WrongKindError(UndiffuseError):
    """A body that is no JSON, or no form."""


def is_json(request: Request) -> bool:
    return "json" in request.headers.get("content-type", "")


@asynccontextmanager
async def form(request: Request, most_files: int, known: Sequence[str]) -> AsyncIterator[FormData]:
    """The parts of a multipart body, all of known fields; its files are on the disk as soon as they are large."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise WrongKindError("This takes a form with files (multipart/form-data)")
    parts = await request.form(max_files=most_files, max_fields=20)
    try:
        for name in parts:
            if name not in known:
                raise UndiffuseError(f"This form knows no field '{name[:40]}': it takes {', '.join(known)}")
        yield parts
    finally:
        await parts.close()


def text_of(parts: FormData, name: str) -> str:
    """A text of a form; '' where it is not there."""
    value = parts.get(name)
    return value if isinstance(value, str) else ""


async def file_of(parts: FormData, name: str) -> bytes | None:
    value = parts.get(name)
    return await value.read() if isinstance(value, UploadFile) else None


def json_of(text: str, kind: type[T]) -> T:
    try:
        return TypeAdapter(kind).validate_python(json.loads(text or "{}"))
    except ValidationError as error:
        raise UndiffuseError(sentence(error.errors())) from None
    except (ValueError, RecursionError):
        raise UndiffuseError("The field 'request' should hold JSON") from None


def sentence(errors: Any) -> str:
    """The first of a validator's complaints, in words."""
    first = errors[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path")) or "the request"
    message = str(first["msg"])
    return f"{place}: {message[:1].lower()}{message[1:]}"[:300]


def multipart(
    fields: dict[str, dict[str, Any]], required: tuple[str, ...] = (), one_of: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The description of a form for the interface's page; of ``one_of`` exactly one field is to be sent."""
    schema: dict[str, Any] = {"type": "object", "properties": fields, "required": list(required)}
    if one_of:
        schema["oneOf"] = [{"required": [name]} for name in one_of]
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


FILE = {"type": "string", "format": "binary"}
