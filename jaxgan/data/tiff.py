"""What kind of image a TIFF file holds, and which kinds are read: the others are refused by name, where Pillow would leave out bands or pages.

Source: Adobe, TIFF Revision 6.0, 1992. BigTIFF (64-bit offsets) is read too, if it is little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from jaxgan.pictures.formats import BadImage

_SUBFILE, _OLD_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL = 254, 255, 258, 259, 262, 266
_SAMPLES, _PLANAR, _SUB_IFDS, _INKS, _EXTRA, _FORMAT, _DNG = 277, 284, 330, 332, 338, 339, 50706
_NEEDED = {
    _SUBFILE,
    _OLD_SUBFILE,
    _BITS,
    _COMPRESSION,
    _PHOTOMETRIC,
    _FILL,
    _SAMPLES,
    _PLANAR,
    _SUB_IFDS,
    _INKS,
    _EXTRA,
    _FORMAT,
    _DNG,
}
_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_MOST_VALUES, _MOST_PAGES = 1000, 1000

WHITE_IS_ZERO, GREY, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
_COLOURS = {WHITE_IS_ZERO: 1, GREY: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}
_OTHER_COLOURS = {
    4: "a transparency mask",
    8: "CIELab colours",
    9: "ICCLab colours",
    10: "ITULab colours",
    32803: "a camera's colour filter array",
}
_OTHER_COLOURS |= {
    32844: "LogL levels",
    32845: "LogLuv colours",
    34892: "a camera's linear colours",
}
_FAX, _OLD_JPEG, _JPEG = (2, 3, 4), 6, 7
_LOSSY = (_OLD_JPEG, _JPEG)
_COMPRESSIONS = (
    1,
    *_FAX,
    5,
    *_LOSSY,
    8,
    32773,
    32946,
    34925,
    50000,
)  # none, fax, LZW, JPEG, deflate, PackBits, deflate, LZMA, Zstandard
_OTHER_COMPRESSIONS = dict.fromkeys((33003, 33005, 34712), "JPEG 2000") | dict.fromkeys(
    (50002, 52546), "JPEG XL"
)
_OTHER_COMPRESSIONS |= {34887: "LERC", 34934: "JPEG XR", 50001: "WebP"}
_NUMBERS = {
    2: "signed",
    3: "floating-point",
    4: "undefined",
    5: "complex",
    6: "complex floating-point",
}
_OPACITY = {1: "associated", 2: "unassociated"}


@dataclass(frozen=True)
class Page:
    """One image of a file: the values of its tags; where in the file each begins, and how it is packed (for `struct`)."""

    tags: dict[int, tuple[int, ...]]
    places: dict[int, tuple[int, str]]

    def one(self, tag: int, otherwise: int) -> int:
        """The first value of a tag."""
        return self.tags.get(tag, (otherwise,))[0]

    @property
    def whole(self) -> bool:
        """Whether this is a picture of its own: no reduced version of another one."""
        return not self.one(_SUBFILE, 0) & 1 and self.one(_OLD_SUBFILE, 1) != 2

    @property
    def colours(self) -> int:
        """The photometric interpretation; -1 where the file does not tell it."""
        compression = self.one(_COMPRESSION, 1)
        return (
            YCBCR
            if compression == _OLD_JPEG
            else self.one(_PHOTOMETRIC, WHITE_IS_ZERO if compression in _FAX else -1)
        )

    @property
    def bands(self) -> int:
        """Samples of each pixel."""
        return self.one(_SAMPLES, 3 if self.one(_COMPRESSION, 1) == _OLD_JPEG else 1)

    @property
    def bits(self) -> tuple[int, ...]:
        """Bits of each band."""
        bits = self.tags.get(_BITS, (1,))
        return bits * self.bands if len(bits) == 1 else bits[: self.bands]

    @property
    def opacity(self) -> str:
        """What the band after the colours is: "associated" (colours are premultiplied) or "unassociated" opacity, or "" for neither."""
        extra = self.tags.get(_EXTRA, ())
        return (
            _OPACITY.get(extra[0], "")
            if len(extra) == 1 and self.bands == _COLOURS.get(self.colours, 0) + 1
            else ""
        )


@dataclass(frozen=True)
class Choice:
    """How to read a file: `data` by Pillow, its page `page`; and what Pillow leaves to do.

    inverted: 0 is white. premultiplied: colours are to be divided by the opacity.
    """

    data: bytes
    page: int
    inverted: bool
    premultiplied: bool


def chosen(data: bytes, ids: bool = False) -> Choice:
    """Choose what to read of a TIFF file; `ids`: as numbers, not as grey levels. Raises BadImage: damaged, or of a kind that is not supported."""
    if data[4:11] == b"\x10\0\0\0CR\2":
        raise BadImage("is a camera raw file, which is not supported: develop it to PNG")
    if data.startswith(b"MM\0+"):
        raise BadImage("is a big-endian BigTIFF file, which is not supported: save it as PNG")
    try:
        pages = list(_pages(data))
    except (struct.error, OverflowError):
        raise BadImage("is damaged (its TIFF directory is cut off)") from None
    if not pages:
        raise BadImage("is damaged (a TIFF file without an image)")
    number = _only(pages)
    page = pages[number]
    reason = _unsupported(page, ids)
    if reason:
        raise BadImage(f"{reason}: save it as PNG")
    # Pillow inverts up to 8 bits, and knows no premultiplied 16: it is shown tags that leave both to us.
    inverted = page.colours == WHITE_IS_ZERO and page.bits == (16,)
    changes = (
        {_PHOTOMETRIC: GREY} if inverted else {_EXTRA: 2} if page.opacity == "associated" else {}
    )
    return Choice(_changed(data, page, changes), number, inverted, page.opacity == "associated")


def _changed(data: bytes, page: Page, changes: dict[int, int]) -> bytes:
    """The file with other values of these tags."""
    content = bytearray(data) if changes else b""
    for tag, value in changes.items():
        place, form = page.places[tag]
        struct.pack_into(form, content, place, value)
    return bytes(content) or data


def _order(data: bytes) -> str:
    return "<" if data[:2] == b"II" else ">"


def _only(pages: list[Page]) -> int:
    """The number of the one page that is a picture of its own. Raises BadImage where there are several, or none."""
    whole = [number for number, page in enumerate(pages) if page.whole]
    if len(whole) > 1:
        many = "many" if len(pages) >= _MOST_PAGES else str(len(whole))
        raise BadImage(
            f"has {many} pages, and one image in a file is supported: save each page as a file of its own"
        )
    page = pages[whole[0] if whole else 0]
    if _DNG in page.tags or (not whole and (_SUB_IFDS in page.tags or len(pages) > 1)):
        raise BadImage(
            "is a camera raw file or holds previews only, which is not supported: save it as PNG"
        )
    return whole[0] if whole else 0


def _unsupported(page: Page, ids: bool) -> str:
    """Why a page cannot be read, or ""."""
    colours, bands, planar = page.colours, page.bands, page.one(_PLANAR, 1) == 2
    compression, numbers, depth = (
        page.one(_COMPRESSION, 1),
        set(page.tags.get(_FORMAT, (1,))),
        page.bits[:1],
    )
    if compression not in _COMPRESSIONS:
        return f"is compressed by {_OTHER_COMPRESSIONS.get(compression, f'method {compression}')}, which is not supported"
    if ids and compression in _LOSSY:
        return "is a TIFF compressed with loss, and compression changes ids"
    if colours not in _COLOURS or (colours == CMYK and page.one(_INKS, 1) != 1):
        what = (
            "levels without saying whether 0 is black"
            if colours < 0
            else _OTHER_COLOURS.get(colours, "other inks than cyan, magenta, yellow and black")
        )
        return f"has {what}, which are not supported"
    if len(set(page.bits)) > 1 or len(page.bits) != bands or len(numbers) > 1:
        return f"has {bands} bands of different kinds ({', '.join(map(str, page.bits))} bits), which are not supported"
    if bands != _COLOURS[colours] and (not page.opacity or colours in (WHITE_IS_ZERO, CMYK, YCBCR)):
        return f"has {bands} bands, and only grey or three colours, perhaps with opacity, are supported"
    if numbers - {1, 2, 4}:
        return f"has {_NUMBERS.get(min(numbers - {1, 2, 4}), 'unknown')} pixels, which are not supported; 8-bit and 16-bit are"
    if depth[0] not in _depths(page, ids):
        return f"has {depth[0]}-bit pixels{' with opacity' * bool(page.opacity)}, which are not supported; 8-bit and 16-bit are"
    if numbers != {1} and not (ids and numbers == {2} and depth[0] > 8):
        return f"has {_NUMBERS[max(numbers)]} pixels, which are not supported"
    if ids and colours == WHITE_IS_ZERO:
        return "is a TIFF in which 0 means white, so that its ids are unclear"
    if planar and bands > 1 and (depth != (8,) or colours != RGB or compression in _LOSSY):
        return f"has {bands} bands of {depth[0]} bits, each in a plane of its own (planar layout), which is not supported"
    if page.one(_FILL, 1) == 2 and depth > (8,):
        return "has its bits in reversed order, which is not supported"
    return ""


def _depths(page: Page, ids: bool) -> tuple[int, ...]:
    """The bits that Pillow reads right."""
    if page.colours in (WHITE_IS_ZERO, GREY):
        return (8,) if page.opacity else (1, 2, 4, 8, 16, *((32,) if ids else ()))
    if page.colours == PALETTE:
        return (8,) if page.opacity else (1, 2, 4, 8)
    return (8,) if page.colours == YCBCR else (8, 16)


# ------------------------------------------------------------------------------------------------------------------ directories


def _pages(data: bytes) -> Iterator[Page]:
    """The file's pages, at most `_MOST_PAGES`. Raises struct.error where a directory is cut off."""
    order, big = _order(data), data[2:4] in (b"+\0", b"\0+")
    offset = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    seen: set[int] = set()
    while offset and offset not in seen and len(seen) < _MOST_PAGES:
        seen.add(offset)
        page, offset = _directory(data, offset, order, big)
        yield page


def _directory(data: bytes, offset: int, order: str, big: bool) -> tuple[Page, int]:
    """One page, and where the next one is described, or 0."""
    count_form, entry_form, offset_form = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    width = 8 if big else 4
    count = struct.unpack_from(order + count_form, data, offset)[0]
    position, step = offset + struct.calcsize(order + count_form), 4 + 2 * width
    if position + count * step > len(data):
        raise struct.error
    tags, places = {}, {}
    for start in range(position, position + count * step, step):
        tag, kind, number = struct.unpack_from(order + entry_form, data, start)
        form = _TYPES.get(kind)
        if tag not in _NEEDED or form is None or number == 0:
            continue
        number, place = min(number, _MOST_VALUES), start + 4 + width
        if number * struct.calcsize("=" + form) > width:
            place = struct.unpack_from(order + offset_form, data, place)[0]
        tags[tag], places[tag] = (
            struct.unpack_from(f"{order}{number}{form}", data, place),
            (place, order + form),
        )
    end = position + count * step
    following = (
        struct.unpack_from(order + offset_form, data, end)[0] if end + width <= len(data) else 0
    )
    return Page(tags, places), following
