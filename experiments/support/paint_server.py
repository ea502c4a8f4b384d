"""A page on this machine only, where a person paints a label map and sees the image that a generator makes of it. Knows no family: see `Studio`.

    GET  /                     the page
    GET  /info                 JSON: title, size [H, W], classes, names and colours (with that of unknown), unknown, bytes of an id, styles, start
    GET  /start                what is on the canvas at first, where `start` is true: raw ids
    POST /map                  an image file of ids, of any size -> the ids at this size, raw
    POST /generate?seed=0      a label map -> PNG: either a PNG file of ids (Content-Type image/png), or H * W raw ids, row by row, of one byte, or
                               two (the lower first) with more than 255 classes; an image file whose style to take may follow them

Requests that make no sense get 400 and a sentence in plain text. Other sites can neither read nor use the page: requests must name this machine as
their host, and come from this page if they come from one.
"""

from __future__ import annotations

import colorsys
import errno
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import numpy as np

from jaxgan.data import images, layouts
from jaxgan.errors import MAX_SEED, JaxganError, RunError
from jaxgan.pictures.images import encode_png

HOST = "127.0.0.1"
MAX_BODY = 2**25
PAGE = Path(__file__).with_name("paint_page.html")
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' blob: data:; connect-src 'self'"

# Told apart at a glance. Classes whose names say what they look like come first to what suits them, the others take what is left.
_COLOURS = (
    *(
        (143, 188, 214),
        (107, 153, 88),
        (196, 167, 125),
        (118, 118, 126),
        (193, 96, 88),
        (232, 201, 106),
        (62, 104, 158),
        (158, 118, 170),
    ),
    *((224, 150, 90), (84, 160, 150), (214, 148, 178), (94, 82, 70)),
)
_SUITED: tuple[tuple[str, ...], ...] = (
    *(
        ("sky",),
        ("tree", "grass", "plant", "vegetation"),
        ("sand", "earth", "wall", "building"),
        ("road", "street", "stone"),
        ("car", "roof"),
    ),
    *(("paper", "sun", "light"), ("water", "sea", "river", "lake")),
)
_UNKNOWN_COLOUR = (255, 255, 255)


class Generate(Protocol):
    """What makes the images."""

    def __call__(self, layouts: np.ndarray, *, seed: int, style: np.ndarray | None) -> np.ndarray:
        """int32 [1, H, W], a seed of the style, and float32 [1, H, W, C] in [-1, 1] to take the style from instead -> float32 [1, H, W, C] in [-1, 1]."""


@dataclass(frozen=True)
class Studio:
    """What the page paints with.

    generate: called by one thread at a time.
    title: heading of the page.
    size: (height, width).
    channels: of images to take a style from; 1, 3 or 4.
    names: of the classes, in order.
    unknown: whether a pixel may be of no class; its id is then the number of classes.
    styles: whether seeds and images of style change anything.
    start: int [H, W], what is on the canvas at first; None: class 0.
    """

    generate: Generate
    title: str
    size: tuple[int, int]
    channels: int
    names: tuple[str, ...]
    unknown: bool = False
    styles: bool = False
    start: np.ndarray | None = None

    @property
    def ids(self) -> np.dtype:
        """How ids are sent."""
        return np.dtype("u1" if len(self.names) <= 255 else "<u2")


class BadRequest(Exception):
    """Why a request cannot be served: one sentence."""

    def __init__(self, sentence: str, status: int = 400):
        super().__init__(sentence)
        self.status = status


class Server(ThreadingHTTPServer):
    """Serves one studio on the loopback interface. Raises `RunError` if the port is in use or not to be had; port 0 takes a free one."""

    daemon_threads = True

    def __init__(
        self, studio: Studio, port: int, handler: type[BaseHTTPRequestHandler] | None = None
    ):
        self.studio, self.turn = studio, threading.Lock()
        try:
            super().__init__((HOST, port), handler or Handler)
        except OverflowError:
            raise RunError(
                f"port {port} is not between 0 and 65535: choose another with --port, or 0 for any that is free"
            ) from None
        except OSError as error:
            reason = (
                "is in use"
                if error.errno == errno.EADDRINUSE
                else f"cannot be used ({error.strerror or error})"
            )
            raise RunError(
                f"port {port} {reason}: choose another with --port, or 0 for any that is free"
            ) from None

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_address[1]}/"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """The page, and what it has to know."""
        studio = self.server.studio
        routes: dict[str, Callable[[], tuple[str, bytes]]] = {
            "/": lambda: ("text/html; charset=utf-8", PAGE.read_bytes()),
            "/info": lambda: ("application/json", json.dumps(info(studio)).encode()),
        }
        if studio.start is not None:
            start = studio.start.astype(studio.ids).tobytes()
            routes["/start"] = lambda: ("application/octet-stream", start)
        self._serve(routes)

    def do_POST(self) -> None:
        """Ids for an uploaded map, an image for a painted one."""
        studio = self.server.studio
        routes: dict[str, Callable[[], tuple[str, bytes]]] = {
            "/map": lambda: (
                "application/octet-stream",
                fitted_map(studio, self._body()).astype(studio.ids).tobytes(),
            ),
            "/generate": lambda: ("image/png", self._generate()),
        }
        self._serve(routes)

    def _generate(self) -> bytes:
        studio, body = self.server.studio, self._body()
        seed = parse_qs(urlsplit(self.path).query).get("seed", ["0"])[0]
        if not seed.isdecimal() or int(seed) > MAX_SEED:
            raise BadRequest(f"seed must be a whole number from 0 to {MAX_SEED}, got {seed[:20]!r}")
        is_file = self.headers.get_content_type() == "image/png"
        layout, style = (png_map(studio, body), None) if is_file else raw_map(studio, body)
        with self.server.turn:
            made = studio.generate(layout[None], seed=int(seed), style=style)
        image = np.asarray(made, np.float32)[0]
        return encode_png(image if image.shape[-1] <= 4 else image[..., :3])

    def _serve(self, routes: dict[str, Callable[[], tuple[str, bytes]]]) -> None:
        try:
            self._refuse_strangers()
            route = routes.get(urlsplit(self.path).path)
            if route is None:
                raise BadRequest(
                    f"there is no {self.command} {urlsplit(self.path).path[:80]} here", 404
                )
            kind, body = route()
            self._reply(200, kind, body)
        except BadRequest as error:
            self._fail(error.status, str(error))
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True
        except (JaxganError, ValueError, MemoryError) as error:
            self._fail(
                500,
                f"the generator failed: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            )

    def _refuse_strangers(self) -> None:
        """Raise `BadRequest` where another site's page asks, under its own name or with this machine's address as its own (DNS rebinding)."""
        host = self.headers.get("Host", "")
        if urlsplit(f"//{host}").hostname not in (HOST, "localhost"):
            raise BadRequest("this page answers to 127.0.0.1 and localhost only", 403)
        if self.headers.get("Origin", f"http://{host}") != f"http://{host}":
            raise BadRequest("this page answers to itself only, not to other sites", 403)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise BadRequest("the request does not say how long it is: send Content-Length")
        if int(length) > MAX_BODY:
            raise BadRequest(f"the request is longer than {MAX_BODY} bytes: send smaller images")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise BadRequest(f"the request ends after {len(body)} of {length} bytes")
        return body

    def _fail(self, status: int, sentence: str) -> None:
        self.close_connection = True  # some of the request may not have been read
        self._reply(status, "text/plain; charset=utf-8", sentence.encode())

    def _reply(self, status: int, kind: str, body: bytes) -> None:
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        headers |= {"Content-Security-Policy": POLICY} if kind.startswith("text/html") else {}
        headers |= {"Connection": "close"} if self.close_connection else {}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is the user's."""


# ---------------------------------------------------------------------------------------------------------------------- maps


def info(studio: Studio) -> dict[str, Any]:
    """What the page has to know, JSON-able."""
    return {
        "title": studio.title,
        "size": studio.size,
        "classes": len(studio.names),
        "names": [*studio.names, *["unknown"] * studio.unknown],
        "unknown": studio.unknown,
        "colours": [*colours(studio.names), *[_UNKNOWN_COLOUR] * studio.unknown],
        "bytes": studio.ids.itemsize,
        "styles": studio.styles,
        "start": studio.start is not None,
    }


def colours(names: Sequence[str]) -> list[tuple[int, int, int]]:
    """A colour for each class, RGB, all different up to some hundreds; beyond the first dozen, hues at the golden angle."""
    chosen: dict[int, tuple[int, int, int]] = {}
    for words, colour in zip(_SUITED, _COLOURS):
        first = next(
            (i for i, name in enumerate(names) if i not in chosen and name.lower() in words), None
        )
        chosen |= {} if first is None else {first: colour}
    left = [colour for colour in _COLOURS if colour not in chosen.values()]
    for i in range(len(names) - len(_COLOURS)):
        red, green, blue = colorsys.hls_to_rgb(
            (0.61803398875 * i) % 1, (0.42, 0.56, 0.7)[i % 3], (0.35, 0.6)[i % 2]
        )
        left.append((round(255 * red), round(255 * green), round(255 * blue)))
    others = iter(left)
    return [chosen[i] if i in chosen else next(others) for i in range(len(names))]


def raw_map(studio: Studio, body: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    """Raw ids, perhaps with an image file after them -> int32 [H, W], and float32 [1, H, W, C] in [-1, 1] or None. Raises `BadRequest`."""
    height, width = studio.size
    length = height * width * studio.ids.itemsize
    if len(body) < length:
        raise BadRequest(f"a map of {height}x{width} takes {length} bytes, got {len(body)}")
    ids = np.frombuffer(body[:length], studio.ids).reshape(height, width).astype(np.int32)
    return _checked(studio, ids), style_image(studio, body[length:]) if len(body) > length else None


def png_map(studio: Studio, body: bytes) -> np.ndarray:
    """The bytes of an image file of ids, of the studio's size -> int32 [H, W]. Raises `BadRequest`."""
    ids = _decoded("map", lambda: images.decode_ids(body))
    if ids.shape != studio.size:
        raise BadRequest(
            f"the map is {ids.shape[0]}x{ids.shape[1]}, but must be {studio.size[0]}x{studio.size[1]}"
        )
    return _checked(studio, ids.astype(np.int32))


def fitted_map(studio: Studio, body: bytes) -> np.ndarray:
    """The bytes of an image file of ids, of any size -> int32 [H, W], cut to the studio's shape.

    255 counts as unknown where it is no class. Of two classes and nothing unknown, a mask of 0 and 255 is a map.
    """
    ids = _decoded("map", lambda: images.fit(images.decode_ids(body), studio.size, None)).astype(
        np.int32
    )
    count = len(studio.names)
    if studio.unknown and count < 255:
        ids[ids == 255] = count
    white = layouts.white(layouts.present(ids)) if count == 2 and not studio.unknown else 0
    if white:
        ids = ids // white
    return _checked(studio, ids)


def style_image(studio: Studio, body: bytes) -> np.ndarray:
    """The bytes of an image file -> float32 [1, H, W, C] in [-1, 1], cut to the studio's shape. Raises `BadRequest`."""
    pixels = _decoded(
        "image of style", lambda: images.fit(images.decode(body), studio.size, studio.channels)
    )
    return (pixels.astype(np.float32) * (2 / np.iinfo(pixels.dtype).max) - 1)[None]


def _decoded(what: str, decode: Callable[[], np.ndarray]) -> np.ndarray:
    try:
        return decode()
    except images.BadImage as error:
        raise BadRequest(f"the {what} {error}") from None


def _checked(studio: Studio, ids: np.ndarray) -> np.ndarray:
    top = len(studio.names) - 1 + studio.unknown
    if ids.max() > top:
        row, column = np.argwhere(ids > top)[0]
        raise BadRequest(
            f"the map has the id {ids[row, column]} in row {row}, column {column}, but ids are 0 to {top}"
        )
    return ids
