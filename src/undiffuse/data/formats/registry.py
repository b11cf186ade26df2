"""All formats of data, one line for each; they are asked in this order whether something is theirs."""

from __future__ import annotations

from undiffuse.data.formats import (
    archive,
    arrays,
    builtin,
    cifar,
    hugging_face,
    idx,
    lmdb_file,
    parquet,
    pickles,
    shards,
    tiff_pages,
    video,
    volumes,
    webdataset,
)

FORMATS = (
    builtin.FORMAT,
    arrays.NPY,
    parquet.FORMAT,
    lmdb_file.FORMAT,
    shards.FORMAT,
    video.FORMAT,
    volumes.FORMAT,
    pickles.FORMAT,  # before zip files, which some of them are
    arrays.NPZ,
    idx.FORMAT,
    cifar.FORMAT,  # before other tar files
    hugging_face.FORMAT,
    webdataset.FORMAT,
    archive.FORMAT,
    tiff_pages.FORMAT,
)
