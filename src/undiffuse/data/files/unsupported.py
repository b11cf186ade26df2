"""Images of kinds that are not read, told apart from damaged ones by their first bytes or names.

A camera's raw file begins like a TIFF, and what could be read of it is a thumbnail; so its name decides.
"""

from __future__ import annotations

from pathlib import PurePosixPath

RAW_SUFFIXES = frozenset(
    {".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2", ".raf", ".pef", ".srw", ".x3f"}
)
_BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF", b"avif": "AVIF"}
_BRANDS |= {b"avis": "AVIF", b"crx ": "raw"}
_HEADS = {
    b"8BPS": "PSD",
    b"\x76\x2f\x31\x01": "OpenEXR",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x01\x00": "icon",
    b"#?RADIANCE": "Radiance HDR",
    b"%!PS": "EPS",
    b"\xc5\xd0\xd3\xc6": "EPS",
    b"%PDF": "PDF",
}


def is_raw(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in RAW_SUFFIXES


def kind_not_read(name: str, head: bytes) -> str:
    """The reason why an image of another kind is not read, by its name and first 1,024 bytes; '' for no such kind."""
    kind = _BRANDS.get(head[8:12], "") if head[4:8] == b"ftyp" else ""
    if is_raw(name) or kind == "raw":
        return "is a camera's raw file, which is not read; develop it to TIFF, PNG or JPEG"
    if b"<svg" in head:
        return "is a drawing (SVG), not pixels; export it as PNG"
    kind = kind or next((found for start, found in _HEADS.items() if head.startswith(start)), "")
    if not kind and PurePosixPath(name).suffix.lower() == ".tga":  # has no mark at its beginning
        kind = "TGA"
    if kind in ("EPS", "PDF"):
        return f"is a drawing ({kind}), not pixels; export it as PNG"
    return f"is {kind}, which is not read; convert it to JPEG or PNG" if kind else ""
