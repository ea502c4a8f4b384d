"""Small sets of pictures on disk, for the tests of labels, names and splits."""

from __future__ import annotations

import zipfile

import numpy as np
from PIL import Image

import jaxgan.data


def save(path, value=0):
    """A picture of one grey level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "PNG" if path.suffix.lower() not in (".jpe", ".jfif", ".jpg") else "JPEG"
    Image.fromarray(np.full((4, 4, 1), value, np.uint8)[..., 0]).save(path, kind)
    return path


def numbered(folder, count, ending=".png"):
    for i in range(count):
        save(folder / f"{i:02d}{ending}", 20 * i)
    return folder


def load(spec, **options):
    return jaxgan.data.open(str(spec), progress=False, **options)


def grey(data, array="image"):
    """The grey level of each picture: which files they are."""
    return data.arrays[array][:, 0, 0, 0].tolist()


def pack(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder).as_posix())
    return path


def archive(path, members):
    """A zip file of these (name, content), the names as they are."""
    with zipfile.ZipFile(path, "w") as made:
        for name, content in members:
            info = zipfile.ZipInfo("x")
            info.filename = name
            made.writestr(info, content)
    return f"zip:{path}"
