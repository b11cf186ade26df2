"""The images among the files, and the class of each.

Classes, in this order:

1. ``metadata.jsonl`` or ``metadata.csv`` with ``file_name`` and ``label`` or ``class``, beside the images or above
them. 2. The first folder level below the *base*, where every image lies in a sub-folder of the base. The base is
found by walking down from the top: a level with one folder and nothing else is a wrapper (``photos.zip`` holding
``photos/...``); a level with nothing but splits (``train``, ``test``, ``val``, ...) is entered at ``train``, and the
other splits are set aside and reported, because training on test images should never happen by accident.
``DATA/test`` names another split. 3. Otherwise there are none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import BinaryIO, Protocol, TypeVar
from unicodedata import normalize

from undiffuse.data.files.decode import ForTheEyeError, quiet_pillow, read_header
from undiffuse.data.files.metadata import METADATA_NAMES, NOT_READ, parse_metadata, parse_numbers, parse_texts, unread
from undiffuse.errors import UndiffuseError, counted
from undiffuse.provenance.own_pictures import WHY, drawn_for_the_eye, has_own_name, kept_values

T = TypeVar("T")

Refusal = tuple[str, str]
"""Name of a file and the reason why it is not used."""

READABLE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".gif", ".apng"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)
OTHER_IMAGE_SUFFIXES = frozenset(
    {".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".psd", ".svg", ".exr", ".hdr", ".tga", ".ico", ".eps"}
    | {".dng", ".cr2", ".nef", ".arw"}
)
ARCHIVE_SUFFIXES = frozenset(
    {".zip", ".tar", ".tgz", ".txz", ".tbz", ".tbz2", ".gz", ".xz", ".bz2", ".7z", ".rar", ".zst"}
    | {".npz", ".npy", ".parquet"}
)
TEXT_SUFFIXES = frozenset(
    {".txt", ".md", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".html", ".htm", ".py", ".log", ".ini"}
)
_LIKE_METADATA = frozenset({".csv", ".jsonl", ".json", ".tsv", ".parquet", ".xlsx", ".txt"})
SPLITS = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"})
MAX_METADATA = 1 << 28


@dataclass(frozen=True)
class FileEntry:
    """One file of a folder or archive. ``open`` may be called until the next entry is asked for."""

    name: str
    size: int
    open: Callable[[], BinaryIO]


class Files(Protocol):
    """A folder or an archive."""

    @property
    def name(self) -> str:
        """The name that the user gave."""

    def entries(self) -> Iterator[FileEntry | Refusal]:
        """Every regular file, by its safe relative name with forward slashes; a refusal for what must not be opened."""


@dataclass(frozen=True)
class Listing:
    """The contents of a source, by names alone; empty for a file that is one array."""

    images: tuple[str, ...] = ()
    """Names of the files that should be images, in the source's order."""
    classes: dict[str, str] = field(default_factory=dict)
    """Class of each image; empty without classes."""
    refused: tuple[Refusal, ...] = ()
    ignored: tuple[Refusal, ...] = ()
    metadata: tuple[str, ...] = ()
    """The metadata file in use, if there is one."""
    texts: dict[str, str] = field(default_factory=dict)
    """Text of each image that the metadata have one for."""
    numbers: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Numbers that the metadata say of images, in the columns that were asked for; not all need have them."""
    unclassed: str = ""
    """Why there are no classes where folders look like some."""
    labels: str = ""
    """Name of the array that holds labels, in a file of several."""


@dataclass
class _Found:
    images: list[str] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    ignored: list[Refusal] = field(default_factory=list)
    metadata: dict[str, bytes] = field(default_factory=dict)


def is_image(name: str) -> bool:
    """True for names of images, even of kinds that cannot be read."""
    return PurePosixPath(name).suffix.lower() in READABLE_SUFFIXES | OTHER_IMAGE_SUFFIXES


def list_images(files: Files, wanted: Callable[[str], bool] = is_image, columns: tuple[str, ...] = ()) -> Listing:
    """Sort a source's files into images, refused and ignored ones, and find the classes.

    ``wanted`` tells by the name what is meant as data; other kinds than images are volumes and videos. ``columns`` are
    those of the metadata that hold numbers to be told.

    *Refused* are files that the user must have meant as data: their name or their first bytes say image or archive.
    They count towards the five per cent that may be bad. *Ignored* are files that no one would take for an image (a
    README, .DS_Store, captions): listed, not counted, or any folder with as many notes as pictures would be an error.
    """
    found = _Found()
    seen: set[str] = set()
    for entry in files.entries():
        if isinstance(entry, tuple):
            found.refused.append(entry)
        elif entry.name in seen:
            found.refused.append((entry.name, "occurs more than once in the archive; the first one is used"))
        else:
            seen.add(entry.name)
            _judge(entry, found, wanted)
    base, aside = _base(found.images, files.name)
    images = [name for name in found.images if name.startswith(base)]
    refused = [item for item in found.refused if item[0].startswith(base)]
    folder, metadata = _nearest_metadata(base, found)
    if columns and not metadata:
        raise UndiffuseError(
            f"`vectors={','.join(columns)}` needs a metadata.csv (or .jsonl) with the columns file_name and "
            f"{', '.join(columns)} beside the images"
        )
    content = found.metadata.get(metadata, b"")
    labels = parse_metadata(metadata, content) if metadata else None
    missing = list[Refusal]()
    if labels is None:
        classes = _folders(images, base)
    else:
        classes, absent = _of_images(images, labels, folder, metadata, found)
        missing = [(name, f"is named in {metadata} but not there") for name in absent]
        if classes:
            refused += [(name, f"has no class in {metadata}") for name in images if name not in classes]
            images = [name for name in images if name in classes]
    texts, absent = _of_images(images, parse_texts(metadata, content), folder, metadata, found)
    if metadata and (what := unread(metadata, content)):
        found.ignored.append((metadata, what))
    if absent and labels is None:
        found.ignored.append(_gone(absent, metadata))
    _say_unused_metadata(base, metadata, found)
    numbers: dict[str, tuple[float, ...]] = {}
    if columns:
        rows = parse_numbers(metadata, content, columns)
        numbers, unknown = _of_images(images, rows, folder, metadata, found)
        if unknown and not absent and labels is None:
            found.ignored.append(_gone(unknown, metadata))
    used = (metadata,) if labels is not None or texts or columns else ()
    unclassed = "" if classes else _strays(images, base)
    ignored = (*aside, *found.ignored)
    return Listing(tuple(images), classes, (*refused, *missing), ignored, used, texts, numbers, unclassed)


def _judge(entry: FileEntry, found: _Found, wanted: Callable[[str], bool]) -> None:
    path = PurePosixPath(entry.name)
    suffix = path.suffix.lower()
    if any(part.startswith(".") or part in ("__MACOSX", "@eaDir") for part in path.parts):
        found.ignored.append((entry.name, "hidden or system file"))
    elif path.name in METADATA_NAMES:
        if entry.size > MAX_METADATA:
            raise UndiffuseError(
                f"expected at most {MAX_METADATA >> 20} MiB of metadata, got {entry.size >> 20} in {path}"
            )
        with entry.open() as file:
            found.metadata[entry.name] = file.read(MAX_METADATA)
    elif path.stem.lower() == "metadata" and suffix in _LIKE_METADATA:
        found.ignored.append((entry.name, f"{NOT_READ}it would be as {' or '.join(METADATA_NAMES)}"))
    elif has_own_name(path.name) and (shown := _shown(entry, suffix)):
        found.ignored.append((entry.name, shown))
    elif wanted(entry.name):
        found.images.append(entry.name)
    elif path.name == "samples.npz" and (beside := _seen(entry, kept_values, "")):
        if beside == "views":
            raise UndiffuseError(
                f"expected the values of samples, got pictures of them to be looked at beside {entry.name}; name that "
                "file, which has the values (unpacked, where it lies in an archive)"
            )
        found.ignored.append((entry.name, f"{WHY}the values of the samples, which are here as pictures"))
    elif suffix in ARCHIVE_SUFFIXES:
        found.refused.append(
            (entry.name, "is an archive or array file inside the source; unpack it, or name it itself")
        )
    elif suffix in TEXT_SUFFIXES or not _seen(entry, lambda file: looks_like_image(file.read(16)), False):
        found.ignored.append((entry.name, "not an image"))
    else:
        found.images.append(entry.name)


def _shown(entry: FileEntry, suffix: str) -> str:
    """Reason to leave out a picture that undiffuse made to be looked at; '' for any other file."""
    try:
        with entry.open() as file:
            if suffix == ".svg":
                return drawn_for_the_eye(file.read(1 << 12))
            with quiet_pillow():
                read_header(file)
    except ForTheEyeError as error:
        return str(error)
    except Exception:  # whatever is wrong with it is found where the others are read
        return ""
    return ""


def _seen(entry: FileEntry, look: Callable[[BinaryIO], T], otherwise: T) -> T:
    """The result of a look into a file; one that is damaged or locked says nothing of how it was meant."""
    try:
        with entry.open() as file:
            return look(file)
    except Exception:
        return otherwise


def looks_like_image(head: bytes) -> bool:
    """True where the first 16 bytes are those of a readable image format."""
    return (
        head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*"))
        or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")
        or (head.startswith(b"BM") and head[6:10] == bytes(4))
        or (head[:1] == b"P" and head[1:2] in b"123456" and head[2:3] in b" \t\r\n" and len(head) > 2)
    )


def _base(images: Iterable[str], source: str) -> tuple[str, list[Refusal]]:
    """The folder whose sub-folders are the classes ('' or 'a/b/'), and what is set aside on the way to it."""
    base, aside = "", list[Refusal]()
    inside = list(images)
    while inside:
        heads = Counter(name[len(base) :].partition("/")[0] if "/" in name[len(base) :] else "" for name in inside)
        if "" in heads:  # images at this level: nothing to descend into
            break
        head = next(iter(heads))
        if len(heads) > 1:
            if not set(map(str.lower, heads)) <= SPLITS:
                break
            trains = [name for name in heads if name.lower() in ("train", "training")]
            if len(trains) != 1:
                raise UndiffuseError(
                    f"expected one of the splits {', '.join(sorted(heads))} to be 'train'; type {source}/{base}{head} "
                    "to say which one to learn from"
                )
            head = trains[0]
            aside += [
                (
                    f"{base}{name}/",
                    f"another split, set aside with {counted(count, 'image')}; {source}/{base}{name} names it",
                )
                for name, count in heads.items()
                if name != head
            ]
        base += f"{head}/"
        inside = [name for name in inside if name.startswith(base)]
    return base, aside


def _folders(images: list[str], base: str) -> dict[str, str]:
    """The folder of each image as its class; empty where some lie in none."""
    relative = {name: name[len(base) :] for name in images}
    if not all("/" in path for path in relative.values()):
        return {}
    return {name: path.partition("/")[0] for name, path in relative.items()}


def _strays(images: list[str], base: str) -> str:
    """Sentence about the few images that lie beside folders which would be classes (or splits); '' without any."""
    relative = [name[len(base) :] for name in images]
    strays = [path for path in relative if "/" not in path]
    folders = sorted({path.partition("/")[0] for path in relative if "/" in path})
    if not strays or 2 * len(strays) > len(relative):  # the most are no strays, and nothing was meant as a class
        return ""
    which = strays[0] if len(strays) == 1 else f"{len(strays):,} images, {strays[0]} among them,"
    lies, them = ("lies", "it") if len(strays) == 1 else ("lie", "them")
    more = f" and {len(folders) - 3} more" if len(folders) > 3 else ""
    beside = f"the folder{'s' * (len(folders) > 1)} {', '.join(folders[:3])}{more}"
    if len(folders) > 1 and set(map(str.lower, folders)) <= SPLITS:
        return f"{which} {lies} beside {beside}, so that all of these are taken as one set; move {them} away"
    would = "would be the classes" if len(folders) > 1 else "would be a class"
    return f"{which} {lies} beside {beside}, which {would}; move {them} into one of them, or away"


def _say_unused_metadata(base: str, used: str, found: _Found) -> None:
    """Metadata in the classes' own folders: one file says something of all images, or none does."""
    for name in found.metadata:
        if name != used and name.startswith(base) and "/" in name[len(base) :]:
            where = (
                f"beside {used}" if used else f"one {PurePosixPath(name).name} in {base or 'the top folder'} would be"
            )
            found.ignored.append((name, f"{NOT_READ}it lies in a folder of its own, {where}"))


def _of_images(
    images: list[str], rows: dict[str, T], folder: str, metadata: str, found: _Found
) -> tuple[dict[str, T], list[str]]:
    """The images' rows of the metadata, and the names in these for which there is no file.

    One name may be written in two ways in Unicode (an e and its accent, as macOS has it, or one letter): they are the
    same file.
    """
    known = {*found.images, *(name for name, _ in found.refused)}
    composed = {normalize("NFC", name): name for name in known}
    named = {
        name if name in known else composed.get(normalize("NFC", name), name): row
        for name, row in ((folder + name, row) for name, row in rows.items())
    }
    absent = [name for name in named if name not in known]
    if rows and found.images and len(absent) == len(named):
        here = next((name for name in found.images if name.startswith(folder)), found.images[0])
        raise UndiffuseError(
            f"expected names of images in the file_name of {metadata}, as seen from where it lies, such as "
            f"'{here.removeprefix(folder)}', got '{absent[0].removeprefix(folder)}', and none of the {len(named):,} "
            "is there; write them so"
        )
    return {name: named[name] for name in images if name in named}, absent


def _gone(absent: list[str], metadata: str) -> Refusal:
    return metadata, f"{NOT_READ}what it says of {counted(len(absent), 'file')} not there, such as {absent[0]}"


def _nearest_metadata(base: str, found: _Found) -> tuple[str, str]:
    """The metadata file beside the images or next above them, and its folder; both empty where there is none."""
    folders = ["", *(base[: i + 1] for i, letter in enumerate(base) if letter == "/")]
    for folder in reversed(folders):
        here = [folder + name for name in METADATA_NAMES if folder + name in found.metadata]
        if len(here) > 1:
            raise UndiffuseError(f"expected one metadata file, got {' and '.join(here)}; remove one of them")
        if here:
            return folder, here[0]
    return "", ""


def sort_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Class names in the order of their labels: by number where all are numbers, else by alphabet."""
    unique = set(names)
    if all(name.isascii() and name.isdigit() for name in unique):
        return tuple(sorted(unique, key=lambda name: (int(name), name)))
    return tuple(sorted(unique))
