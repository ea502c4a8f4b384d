"""What the names of files and folders say: images, files to ignore, splits."""

from __future__ import annotations

import posixpath
import re
import unicodedata

SUFFIXES = (
    (".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".webp", ".bmp", ".dib")
    + (".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
)  # fmt: skip
"""Extensions of images, in any case."""

_FORMATS = {
    "HEIC": ".heic .heics .heif .heifs .hif",
    "AVIF": ".avif .avifs",
    "JPEG XL": ".jxl",
    "JPEG 2000": ".jp2 .j2k .j2c .jpc .jpf .jpx .jpm",
    "JPEG XR": ".jxr .wdp .hdp",
    "Photoshop": ".psd .psb",
    "GIMP": ".xcf",
    "OpenEXR": ".exr",
    "Radiance HDR": ".hdr",
    "PFM": ".pfm",
    "Targa": ".tga .icb .vda .vst",
    "PCX": ".pcx",
    "SGI": ".sgi .rgb .rgba .bw",
    "Sun raster": ".ras .sun",
    "X bitmap": ".xbm .xpm",
    "icon": ".ico .cur .icns",
    "DirectDraw": ".dds",
    "QOI": ".qoi",
    "FITS": ".fits .fit .fts",
    "DICOM": ".dcm .dicom",
    "EPS": ".eps .epsf .epsi",
    "SVG": ".svg .svgz",
    "Windows metafile": ".wmf .emf",
    "camera raw": (
        ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf"
        " .rw2 .rwl .sr2 .srf .srw .x3f"
    ),
}
_UNREADABLE = {suffix: kind for kind, suffixes in _FORMATS.items() for suffix in suffixes.split()}

_OTHERS = """
    .txt .csv .tsv .json .jsonl .xml .html .htm .md .rst .pdf .doc .docx .xls .xlsx .ods .yml .yaml
    .toml .ini .cfg .log .db .sqlite .py .ipynb .m .sh .c .h .cpp .js .css .npy .npz .pkl .pickle
    .pt .pth .ckpt .safetensors .onnx .h5 .hdf5 .mat .parquet .feather .arrow .tfrecord .zip .gz
    .bz2 .xz .tar .tgz .7z .rar .mp4 .avi .mov .mkv .webm .mp3 .wav .flac .lock .md5 .sha256
"""
_KNOWN_OTHERS = frozenset(_OTHERS.split())
"""Extensions of files that are no images, whose content need not be looked at."""

_MAGIC = (
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"\xff\xd8\xff", "jpg"),
    (0, b"GIF87a", "gif"),
    (0, b"GIF89a", "gif"),
    (8, b"WEBP", "webp"),
    (0, b"II*\0", "tif"),
    (0, b"MM\0*", "tif"),
    (4, b"ftypheic", "heic"),
    (4, b"ftypheix", "heic"),
    (4, b"ftypmif1", "heic"),
    (4, b"ftypavif", "avif"),
    (4, b"JXL \r\n\x87\n", "jxl"),
    (4, b"jP  \r\n\x87\n", "jp2"),
    (0, b"8BPS", "psd"),
)
_LONE = re.compile(r"[\ud800-\udfff]")
HEAD = 16
"""Bytes that `problem_of_content` looks at."""

_SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval"),
}
SPLITS = tuple(_SPLITS)
SPLIT_NAMES = {name: split for split, every in _SPLITS.items() for name in every}
"""The split that each name of a folder stands for, in lower case."""


def nfc(text: str) -> str:
    """Return the composed form: file systems differ in how they write an accented letter.

    Bytes of a name that are no UTF-8, which Python keeps as lone surrogates, become text: "\\xe9".
    """
    return text if text.isascii() else unicodedata.normalize("NFC", _LONE.sub(_shown, text))


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def ignored(part: str) -> bool:
    """Tell whether a file or folder is hidden, or left behind by a file manager."""
    left = ("__macosx", "@eadir", "thumbs.db", "ehthumbs.db", "desktop.ini")
    return part.startswith(".") or part.lower() in left


def order(name: str) -> tuple[tuple[bool, str], ...]:
    """Return the sort key of a relative path: a folder's files come before its sub-folders."""
    *folders, file = nfc(name).split("/")
    return (*((True, folder) for folder in folders), (False, file))


def split_of(name: str) -> str | None:
    """Return the split that a name stands for, in any case: "train", "val", "test" or None."""
    return SPLIT_NAMES.get(name.lower())


def suffix_of(name: str) -> str:
    """Return the extension in lower case, with its dot; "" without one."""
    return posixpath.splitext(name)[1].lower()


def is_image(name: str) -> bool:
    """Tell whether the extension is one of an image, readable or not."""
    suffix = suffix_of(name)
    return suffix in SUFFIXES or suffix in _UNREADABLE


def problem_of_name(name: str) -> str:
    """Say why an image of this extension cannot be read; "" for other files."""
    kind = _UNREADABLE.get(suffix_of(name))
    if kind is None:
        return ""
    if kind == "camera raw":
        return "is a camera raw file, which is not read: develop it to PNG or TIFF"
    return f"is a file of the format {kind}, which is not read: convert it to PNG or JPEG"


def telling(name: str) -> bool:
    """Tell whether the extension says what a file is, so that its content need not be looked at."""
    suffix = suffix_of(name)
    return suffix in SUFFIXES or suffix in _UNREADABLE or suffix in _KNOWN_OTHERS


def problem_of_content(name: str, head: bytes) -> str:
    """Say that a file is an image whose name hides it, by its first bytes; "" for other files."""
    found = (kind for start, magic, kind in _MAGIC if head[start : start + len(magic)] == magic)
    kind = "" if telling(name) else next(found, "")
    if not kind:
        return ""
    return (
        f"is an image, but its name does not say so: rename it to {posixpath.basename(name)}.{kind}"
    )
