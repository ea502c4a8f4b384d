"""The image formats that are read. Content decides, whatever the name of a file says.

Every other format that Pillow knows is refused before its plugin sees a byte: some start other programs (EPS), most are little tested.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from PIL import Image

READ = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM")
"""Pillow's names of the formats that are read. PPM stands for PBM, PGM and PNM, too."""

IN_WORDS = "PNG, JPEG, WebP, GIF, TIFF, BMP and PPM"
PNG = b"\x89PNG\r\n\x1a\n"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# First bytes of files that people rename; "" at the end: any file that begins like this.
_STARTS = (
    *(
        (b"%!PS", "an EPS or PostScript file"),
        (b"\xc5\xd0\xd3\xc6", "an EPS file"),
        (b"%PDF", "a PDF file"),
    ),
    *(
        (b"8BPS", "a Photoshop file"),
        (b"\x01\xda", "an SGI file"),
        (b"\xb1\x68\xde\x3a", "a DCX file"),
    ),
    *(
        (b"\0\0\1\0", "an icon"),
        (b"\0\0\2\0", "a cursor"),
        (b"icns", "an icon"),
        (b"DDS ", "a DDS texture"),
    ),
    *((b"\0\0\0\x0cjP  ", "a JPEG 2000 file"), (b"\xff\x4f\xff\x51", "a JPEG 2000 file")),
    *(
        (b"\0\0\0\x0cJXL ", "a JPEG XL file"),
        (b"\xff\x0a", "a JPEG XL file"),
        (b"qoif", "a QOI file"),
    ),
    *(
        (b"\x59\xa6\x6a\x95", "a Sun raster file"),
        (b"SIMPLE  =", "a FITS file"),
        (b"#?RADIANCE", "a Radiance file"),
    ),
    *(
        (b"\x76\x2f\x31\x01", "an OpenEXR file"),
        (b"\xd7\xcd\xc6\x9a", "a WMF file"),
        (b"/* XPM", "an XPM file"),
    ),
    *(
        (b"FUJIFILMCCD-RAW", "a camera raw file"),
        (b"IIRO", "a camera raw file"),
        (b"IIU\0", "a camera raw file"),
    ),
    *((b"II*\0\x10\0\0\0CR", "a camera raw file"), (b"II\x1a\0\0\0HEAPCCDR", "a camera raw file")),
    *((b"\x93NUMPY", "a NumPy array"), (b"PK\3\4", "a zip file"), (b"<svg", "an SVG file")),
)
_BRANDS = {b"avif": "an AVIF file", b"avis": "an AVIF file", b"crx ": "a camera raw file"}
_BRANDS |= dict.fromkeys(
    (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"), "a HEIC file"
)


class BadImage(Exception):
    """Why one file is no usable image; reads after the file's name: "is empty (0 bytes)"."""


def open_image(file: str | Path | BinaryIO) -> Image.Image:
    """Open an image file as Pillow does, if it is of a format in `READ`. Raises `UnidentifiedImageError` for others."""
    return Image.open(file, formats=READ)


def foreign(data: bytes) -> str:
    """Name the format of a file that is not read, such as "an EPS file"; "" where it is not known."""
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "a video or an image in a video format")
    if data[:1] == b"\x0a" and data[1:2] in b"\0\2\3\4\5" and data[2:3] == b"\1":
        return "a PCX file"
    if data[-18:-1] == b"TRUEVISION-XFILE.":
        return "a TGA file"
    if b"<svg" in data[:1000]:
        return "an SVG file"
    return next((name for start, name in _STARTS if data.startswith(start)), "")


def damage(data: bytes) -> str:
    """Say what is wrong with the chunks of a PNG file: one that is cut off, or whose checksum is wrong; "" for a sound one.

    Pillow does not compare the checksums of the pixels' chunks. What follows the end chunk does not count.
    """
    position, view = len(PNG), memoryview(data)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        name = kind.decode("latin-1")
        if end > len(data):
            return f"the chunk {name!r} is cut off"
        if zlib.crc32(view[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            return f"the checksum of the chunk {name!r} is wrong"
        if kind == b"IEND":
            return ""
        position = end
    return "it is cut off"
