"""A writer of TIFF files of any kind, apart from Pillow's, which writes few."""

from __future__ import annotations

import struct
import zlib

import numpy as np

SIZES = {1: 1, 3: 2, 4: 4, 16: 8}
FORMS = {1: "B", 3: "H", 4: "I", 16: "Q"}


def page(
    pixels, photometric, *, order="<", planar=False, deflate=False, rows=3, tile=None, tags=()
):
    """(tags, strips) of one page of pixels [H, W] or [H, W, bands].

    Args:
      rows: of a strip. tile: (height, width) of tiles in place of strips. tags: further (tag, type, values), or others in place of the usual ones.
    """
    cube = pixels[..., None] if pixels.ndim == 2 else pixels
    height, width, bands = cube.shape
    planes = [cube[..., band : band + 1] for band in range(bands)] if planar else [cube]
    step = tile or (rows, width)
    parts = []
    for plane in planes:
        for top in range(0, height, step[0]):
            for left in range(0, width, step[1]):
                part = plane[top : top + step[0], left : left + step[1]]
                if tile:
                    part = np.pad(
                        part, [(0, tile[0] - part.shape[0]), (0, tile[1] - part.shape[1]), (0, 0)]
                    )
                packed = part.astype(part.dtype.newbyteorder(order)).tobytes()
                parts.append(zlib.compress(packed) if deflate else packed)
    numbers = {"u": 1, "i": 2, "f": 3, "c": 6}[pixels.dtype.kind]
    entries = {
        256: (4, (width,)),
        257: (4, (height,)),
        258: (3, (pixels.dtype.itemsize * 8,) * bands),
        259: (3, (8 if deflate else 1,)),
        262: (3, (photometric,)),
        277: (3, (bands,)),
        284: (3, (2 if planar else 1,)),
        339: (3, (numbers,) * bands),
    }
    entries |= {322: (4, (tile[1],)), 323: (4, (tile[0],))} if tile else {278: (4, (rows,))}
    entries |= {tag: (kind, values) for tag, kind, values in tags}
    return entries, parts


def file(*pages, order="<", big=False):
    """The bytes of a file of pages, one after the other."""
    start = (b"II" if order == "<" else b"MM") + struct.pack(
        order + ("HHHQ" if big else "HI"), *((43, 8, 0, 16) if big else (42, 8))
    )
    width, forms = (8, ("Q", "HHQ", "Q")) if big else (4, ("H", "HHI", "I"))
    content = bytearray(start)
    for number, (entries, parts) in enumerate(pages):
        tiled = 322 in entries
        entries = entries | {
            324 if tiled else 273: (4, (0,) * len(parts)),
            325 if tiled else 279: (4, tuple(map(len, parts))),
        }
        count = len(entries)
        extra = len(content) + struct.calcsize(order + forms[0]) + count * (4 + 2 * width) + width
        sizes = {tag: SIZES[kind] * len(values) for tag, (kind, values) in entries.items()}
        end = extra + sum(size for size in sizes.values() if size > width)
        offsets = tuple(end + sum(map(len, parts[:i])) for i in range(len(parts)))
        entries[324 if tiled else 273] = (4, offsets)
        directory, outside = struct.pack(order + forms[0], count), b""
        for tag, (kind, values) in sorted(entries.items()):
            packed = struct.pack(f"{order}{len(values)}{FORMS[kind]}", *values)
            directory += struct.pack(order + forms[1], tag, kind, len(values))
            if len(packed) <= width:
                directory += packed.ljust(width, b"\0")
            else:
                directory += struct.pack(order + forms[2], extra + len(outside))
                outside += packed
        following = offsets[-1] + len(parts[-1])
        content += (
            directory
            + struct.pack(order + forms[2], following if number + 1 < len(pages) else 0)
            + outside
            + b"".join(parts)
        )
    return bytes(content)


def tiff(pixels, photometric, *, order="<", big=False, **how):
    """The bytes of a file of one page, see `page`."""
    return file(page(pixels, photometric, order=order, **how), order=order, big=big)
