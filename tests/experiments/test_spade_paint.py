"""The paint page: what its server answers, what it refuses, what it asks of a run, and (slow) that a browser can paint with it."""

from __future__ import annotations

import http.client
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import spade_paint
from experiments.support import paint_server
from experiments.support.paint_server import HOST, Server, Studio, colours
from jaxgan.errors import DataError, RunError
from jaxgan.family import Conditioning
from jaxgan.state import State

SIZE = (6, 8)
NAMES = ("sky", "pebble", "tree")
RNG = np.random.default_rng(11)
MAP = RNG.integers(0, 4, SIZE).astype(np.uint8)


def fake(layouts, *, seed, style):
    """Red is the id times 50, green the seed, blue the mean of the style."""
    assert layouts.dtype == np.int32
    assert layouts.shape[0] == 1
    blue = 0 if style is None else 127.5 * (style.mean() + 1)
    planes = [50 * layouts, np.full_like(layouts, seed), np.full_like(layouts, blue)]
    return (np.stack(planes, -1) / 127.5 - 1).astype(np.float32)


def studio(**changes):
    return Studio(
        **(
            {
                "generate": fake,
                "title": "a <run>",
                "size": SIZE,
                "channels": 3,
                "names": NAMES,
                "unknown": True,
                "styles": True,
            }
            | changes
        )
    )


class Client:
    """Talks to a server that runs in a thread."""

    def __init__(self, server):
        self.server = server
        self.thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection(*self.server.server_address[:2], timeout=20)
        try:
            connection.request(
                method,
                path,
                body,
                {name.replace("_", "-"): value for name, value in headers.items()},
            )
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())
        finally:
            connection.close()

    def paint(self, body, query="", **headers):
        status, content, answered = self.ask("POST", f"/generate{query}", body, **headers)
        assert (status, answered["Content-Type"]) == (200, "image/png"), content
        return pixels_of(content)

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def pixels_of(content):
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


def png(array, mode=None):
    buffer = io.BytesIO()
    image = (
        Image.fromarray(array)
        if mode is None
        else Image.frombytes(mode, array.shape[::-1], array.tobytes())
    )
    if mode == "P":
        image.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0, 0, 0, 200])
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def serve():
    """Studio -> a client of its server."""
    clients = []

    def start(chosen):
        clients.append(Client(Server(chosen, 0)))
        return clients[-1]

    yield start
    for client in clients:
        client.close()


# -------------------------------------------------------------------------------------------------------------- what is there


def test_the_page_needs_nothing_from_elsewhere(serve):
    status, content, headers = serve(studio()).ask("GET", "/")
    page = content.decode()
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert not re.search(
        r"https?:|//\w+\.|@import|<script src|<link(?! rel=\"icon\" href=\"data:,\")", page
    )
    for control in (
        "brush",
        "fill",
        "size",
        "undo",
        "redo",
        "clear",
        "open",
        "generate",
        "random",
        "from",
        "save",
        "map",
        "result",
        "status",
    ):
        assert f'id="{control}"' in page


def test_info_and_start(serve):
    client = serve(studio(start=MAP))
    told = json.loads(client.ask("GET", "/info?x=1")[1])
    expected = {
        "title": "a <run>",
        "size": [6, 8],
        "classes": 3,
        "names": [*NAMES, "unknown"],
        "unknown": True,
        "bytes": 1,
        "styles": True,
        "start": True,
    }
    assert {name: told[name] for name in expected} == expected
    assert told["colours"][3] == [255, 255, 255]
    assert client.ask("GET", "/start")[1] == MAP.tobytes()
    plain = serve(studio(unknown=False, styles=False))
    told = json.loads(plain.ask("GET", "/info")[1])
    assert told["names"] == list(NAMES)
    assert (len(told["colours"]), told["start"], told["styles"]) == (3, False, False)
    assert plain.ask("GET", "/start")[0] == 404


def test_colours_differ_and_suit():
    for count in (1, 12, 13, 200):
        assert len(set(colours([f"class {i}" for i in range(count)]))) == count
    sky, pebble, tree = colours(NAMES)
    assert sky[2] == max(sky)
    assert tree[1] == max(tree)
    assert pebble not in (sky, tree)


# ------------------------------------------------------------------------------------------------------------------ generating


def test_raw_ids_and_seeds(serve):
    client = serve(studio())
    for query, seed in (("", 0), ("?seed=37", 37)):
        image = client.paint(MAP.tobytes(), query)
        assert image.shape == (*SIZE, 3)
        np.testing.assert_array_equal(image[..., 0], 50 * MAP)
        assert (image[..., 1] == seed).all()
        assert (image[..., 2] == 0).all()


@pytest.mark.parametrize("mode", ["L", "P"])
def test_png_ids(serve, mode):
    image = serve(studio()).paint(png(MAP, mode), "?seed=3", Content_Type="image/png")
    np.testing.assert_array_equal(image[..., 0], 50 * MAP)


def test_a_style_image_follows_the_ids(serve):
    client, picture = serve(studio()), np.full((20, 30, 3), 77, np.uint8)
    image = client.paint(MAP.tobytes() + png(picture))
    np.testing.assert_array_equal(image[..., 0], 50 * MAP)
    assert (image[..., 2] == 77).all()
    seen = []
    grey = studio(
        channels=1,
        generate=lambda layouts, *, seed, style: (
            seen.append(style) or np.zeros((1, *SIZE, 1), np.float32)
        ),
    )
    assert serve(grey).paint(MAP.tobytes() + png(picture)).shape == SIZE
    assert (seen[0].shape, seen[0].dtype) == ((1, *SIZE, 1), np.float32)


def test_two_bytes_for_many_classes(serve):
    seen = []
    many = studio(
        names=tuple(map(str, range(300))),
        generate=lambda layouts, *, seed, style: (
            seen.append(layouts) or fake(layouts * 0, seed=0, style=None)
        ),
    )
    client, ids = serve(many), RNG.integers(0, 301, SIZE)
    assert json.loads(client.ask("GET", "/info")[1])["bytes"] == 2
    client.paint(ids.astype("<u2").tobytes())
    client.paint(png(ids.astype(np.uint16)), Content_Type="image/png")
    np.testing.assert_array_equal(seen, [ids[None], ids[None]])
    assert client.ask("POST", "/map", png(ids.astype(np.uint16)))[1] == ids.astype("<u2").tobytes()


def test_maps_of_any_size_are_brought_to_this_one(serve):
    client = serve(studio())
    large = np.kron(MAP, np.ones((3, 3), np.uint8))
    large[large == 3] = 255
    assert client.ask("POST", "/map", png(large, "P"))[:2] == (200, MAP.tobytes())
    assert (
        client.ask("POST", "/map", png(MAP[:, 1:7]))[1] != MAP.tobytes()
    )  # a square is cut to 6x8's shape, not refused
    status, content, _ = client.ask("POST", "/map", png(MAP + np.uint8(4)))
    assert (status, content.decode().startswith("the map has the id 4 in row")) == (400, True)


def test_a_mask_of_two_levels_is_a_map_of_two_classes():
    mask = np.random.default_rng(1).integers(0, 2, SIZE).astype(np.uint8)
    two = studio(names=("ground", "thing"), unknown=False)
    np.testing.assert_array_equal(paint_server.fitted_map(two, png(mask * 255)), mask)
    np.testing.assert_array_equal(paint_server.fitted_map(two, png(mask)), mask)
    partly = studio(names=("ground", "thing"), unknown=True)
    np.testing.assert_array_equal(paint_server.fitted_map(partly, png(mask * 255)), mask * 2)


OTHER = {"Content_Type": "image/png"}
CONVERT = "convert the maps with python -m experiments.colour_layouts MAPS OUT, or save one id for each pixel as grey or palette PNG"
COLOURED = f"the map has colours (RGB) in place of ids: {CONVERT}"
UNREAD = "is not an image that Pillow can read (only PNG, JPEG, WebP, GIF, TIFF, BMP and PPM are)"


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "told"),
    [
        ("/generate", MAP.tobytes()[:-1], {}, 400, "a map of 6x8 takes 48 bytes, got 47"),
        ("/generate", b"", {}, 400, "a map of 6x8 takes 48 bytes, got 0"),
        (
            "/generate",
            (MAP * 0 + 4).tobytes(),
            {},
            400,
            "the map has the id 4 in row 0, column 0, but ids are 0 to 3",
        ),
        ("/generate", MAP.tobytes() + b"x", {}, 400, f"the image of style {UNREAD}"),
        ("/generate", MAP.tobytes(), OTHER, 400, f"the map {UNREAD}"),
        ("/generate", png(MAP.T.copy()), OTHER, 400, "the map is 8x6, but must be 6x8"),
        ("/generate", png(np.zeros((*SIZE, 3), np.uint8)), OTHER, 400, COLOURED),
        (
            "/generate?seed=-1",
            MAP.tobytes(),
            {},
            400,
            "seed must be a whole number from 0 to 4294967295, got '-1'",
        ),
        (
            "/generate?seed=4294967296",
            MAP.tobytes(),
            {},
            400,
            "seed must be a whole number from 0 to 4294967295, got '4294967296'",
        ),
        (
            "/generate?seed=x",
            MAP.tobytes(),
            {},
            400,
            "seed must be a whole number from 0 to 4294967295, got 'x'",
        ),
        (
            "/generate",
            MAP.tobytes(),
            {"Content_Length": "99999999999"},
            400,
            "the request is longer than 33554432 bytes: send smaller images",
        ),
        (
            "/generate",
            MAP.tobytes(),
            {"Content_Length": "-4"},
            400,
            "the request does not say how long it is: send Content-Length",
        ),
        ("/map", b"", {}, 400, "the map is empty (0 bytes)"),
        ("/other", b"", {}, 404, "there is no POST /other here"),
        ("/info", b"", {}, 404, "there is no POST /info here"),
        (
            "/generate",
            MAP.tobytes(),
            {"Host": "evil.example:80"},
            403,
            "this page answers to 127.0.0.1 and localhost only",
        ),
        (
            "/generate",
            MAP.tobytes(),
            {"Origin": "http://evil.example"},
            403,
            "this page answers to itself only, not to other sites",
        ),
    ],
    ids=map(str, range(17)),
)
def test_bad_requests_get_a_sentence(serve, path, body, headers, status, told):
    client = serve(studio())
    answered, content, kinds = client.ask("POST", path, body, **headers)
    assert (answered, content.decode()) == (status, told)
    assert kinds["Content-Type"] == "text/plain; charset=utf-8"
    assert client.paint(MAP.tobytes()).shape == (*SIZE, 3)  # and the server goes on


def test_the_page_itself_and_localhost_may_ask(serve):
    client = serve(studio())
    own = f"localhost:{client.server.server_address[1]}"
    assert (
        client.ask("POST", "/generate", MAP.tobytes(), Host=own, Origin=f"http://{own}")[0] == 200
    )
    assert client.ask("GET", "/generate")[:2] == (404, b"there is no GET /generate here")


def test_a_generator_that_fails_is_told(serve):
    def failing(layouts, *, seed, style):
        raise ValueError("too small\nsecond line")

    status, content, _ = serve(studio(generate=failing)).ask("POST", "/generate", MAP.tobytes())
    assert (status, content) == (500, b"the generator failed: too small")


def test_one_image_at_a_time(serve):
    running, most = [], []

    def slow(layouts, *, seed, style):
        running.append(seed)
        most.append(len(running))
        time.sleep(0.02)
        running.remove(seed)
        return fake(layouts, seed=seed, style=style)

    client, seeds = serve(studio(generate=slow)), range(4)
    images = {}
    threads = [
        threading.Thread(
            target=lambda s=seed: images.update({s: client.paint(MAP.tobytes(), f"?seed={s}")})
        )
        for seed in seeds
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4
    assert {seed: image[0, 0, 1] for seed, image in images.items()} == {
        seed: seed for seed in seeds
    }


# ---------------------------------------------------------------------------------------------------------------- the command


def test_ports(serve):
    client = serve(studio())
    assert client.server.server_address[0] == HOST == "127.0.0.1"
    port = client.server.server_address[1]
    for wrong, told in (
        (port, f"port {port} is in use: choose another with --port, or 0 for any that is free"),
        (70_000, "port 70000 is not between 0 and"),
    ):
        with pytest.raises(RunError, match=re.escape(told)):
            Server(studio(), wrong)


def test_ctrl_c_ends_cleanly(monkeypatch, capsys):
    with Server(studio(), 0) as server:
        monkeypatch.setattr(
            server, "serve_forever", lambda: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        spade_paint.serve(server)
        assert capsys.readouterr().out == f"paint at {server.url} (ctrl-C ends)\n\nended\n"


def run_of(folder, data, size=(4, 4)):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"data": data, "config": {"image_size": size}}))
    return folder


def family(asked):
    """Stands in for `spade`; images are the mean of the state, the layouts, and the style or a draw."""

    def translate(config, state, layouts, *, instances=None, style=None, key=None, first=0):
        asked.append((config, instances is not None, style is not None))
        drawn = jax.random.uniform(key, ()) if style is None else jnp.mean(style)
        return jnp.broadcast_to(
            state.ema * layouts[..., None] / 10 + drawn, (*layouts.shape, 3)
        ).astype(jnp.bfloat16)

    def batch_spec(config, batch_size):
        return {
            name: jax.ShapeDtypeStruct((batch_size, 4, 4), jnp.int32)
            for name in ("image", "layout")
        }

    def conditioning(config):
        options = {
            "unknown": config.unknown,
            "instances": config.instance_edges,
            "style_size": 3 if config.encoder else 0,
        }
        return Conditioning("layout", config.classes, **options)

    functions = {
        "translate": translate,
        "batch_spec": batch_spec,
        "conditioning": conditioning,
        "encode_style": lambda config, state, images: images[:, 0, 0],
    }
    return types.SimpleNamespace(__name__="jaxgan.families.spade", **functions)


def config_of(**changes):
    settings = {
        "image_size": (4, 4),
        "channels": 3,
        "classes": 3,
        "unknown": False,
        "instance_edges": False,
        "encoder": True,
    }
    return types.SimpleNamespace(**(settings | changes))


def test_a_run_becomes_a_studio(tmp_path):
    asked, state = [], State(jnp.int32(200), jnp.int32(12_800), {}, jnp.float32(2), {})
    run = run_of(tmp_path / "spade-digits", "layout:digits")
    made = spade_paint.studio_of(family(asked), config_of(), state, run)
    assert (made.title, made.size, made.channels, made.names) == (
        "spade-digits at 12,800 images",
        (4, 4),
        3,
        ("paper", "stroke", "rim"),
    )
    assert (made.unknown, made.styles, made.start.shape) == (False, True, (4, 4))
    layouts = np.arange(16, dtype=np.int32).reshape(1, 4, 4) % 3
    images = [made.generate(layouts, seed=seed, style=None) for seed in (1, 2)]
    for seed, image in zip((1, 2), images):
        expected = 0.2 * layouts[..., None] + float(jax.random.uniform(jax.random.key(seed), ()))
        assert image.dtype == np.float32
        np.testing.assert_allclose(image, np.broadcast_to(expected, (1, 4, 4, 3)), atol=0.01)
    styled = made.generate(layouts, seed=1, style=np.full((1, 4, 4, 3), 0.5, np.float32))
    np.testing.assert_allclose(styled[..., 0], 0.2 * layouts + 0.5, atol=0.01)
    assert [rest for _, *rest in asked] == [[False, False], [False, True]]  # seeds share a program
    edged = spade_paint.studio_of(
        family(asked), config_of(instance_edges=True, encoder=False), state, run
    )
    edged.generate(layouts, seed=0, style=np.zeros((1, 4, 4, 3), np.float32))
    assert asked[-1][1:] == (True, False)
    assert not edged.styles


def test_a_run_of_another_family_is_refused(tmp_path):
    other = types.SimpleNamespace(
        __name__="jaxgan.families.cyclegan", batch_spec=lambda config, count: {"a": None, "b": None}
    )
    with pytest.raises(
        ValueError, match="cyclegan does not start from label maps: choose a run of spade"
    ):
        spade_paint.studio_of(other, config_of(), None, tmp_path)


def test_names_of_classes(tmp_path):
    numbered = ("class 0", "class 1", "class 2")
    cases = {
        "layout:/gone?classes=sky,sea,sand": ("sky", "sea", "sand"),
        "layout:/gone?classes=sky,sea": numbered,  # a run of other settings
        "layout:/gone?classes=3&unknown=0": numbered,
        "layout:/gone?classes=names.txt": numbered,
        "layout:/gone": numbered,
        f"layout:{tmp_path}?classes=names.txt": ("one", "two", "three"),
        "layout:digits?style=inks": ("paper", "stroke", "rim"),
    }
    (tmp_path / "names.txt").write_text("one\ntwo\nthree\n")
    for number, (data, expected) in enumerate(cases.items()):
        assert spade_paint.class_names(run_of(tmp_path / str(number), data), 3) == expected
    assert spade_paint.class_names(tmp_path / "no run", 3) == numbered
    assert spade_paint.class_names(tmp_path / "0", 3, "a,b,c") == ("a", "b", "c")
    with pytest.raises(
        DataError, match="--names gives 2 names, but the run has 3 classes: give one for each"
    ):
        spade_paint.class_names(tmp_path / "0", 3, "a,b")


def test_a_map_to_begin_with(tmp_path):
    (tmp_path / "map.png").write_bytes(png(MAP))
    np.testing.assert_array_equal(
        spade_paint.starting_with(studio(), tmp_path / "map.png").start, MAP
    )
    with pytest.raises(
        DataError,
        match=r"gone.png cannot be read \(No such file or directory\): name an image file",
    ):
        spade_paint.starting_with(studio(), tmp_path / "gone.png")
    with pytest.raises(
        DataError, match=r"map.png cannot be painted on, since the map has the id . in row"
    ):
        spade_paint.starting_with(studio(names=("a",)), tmp_path / "map.png")


def test_a_missing_run_is_one_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        spade_paint.main([str(tmp_path / "gone")])
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")


# ------------------------------------------------------------------------------------------------------------- the real thing

INTERRUPTED = """
import signal
import numpy as np
from experiments import paint_server, spade_paint
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs the tests in the background has it ignored
studio = paint_server.Studio(lambda layouts, *, seed, style: np.zeros((1, 4, 4, 3), np.float32), "x", (4, 4), 3, ("a",))
with paint_server.Server(studio, 0) as server:
    spade_paint.serve(server)
"""


@pytest.mark.slow
def test_sigint_ends_the_command(tmp_path):
    done = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert done.stdout.readline().startswith("paint at http://127.0.0.1:")
        done.send_signal(signal.SIGINT)
        out, err = done.communicate(timeout=30)
    finally:
        done.kill()
    assert (done.returncode, out, err) == (0, "\nended\n", "")


DRIVER = """<!doctype html><title>driver</title><iframe id="page" src="/" width="1280" height="760"></iframe><script>
const wait = test => new Promise(done => { const again = () => test() ? done() : setTimeout(again, 20); again(); });
document.getElementById("page").onload = async event => {
  const page = event.target.contentDocument, by = id => page.getElementById(id), window_ = event.target.contentWindow;
  const settled = async () => { await wait(() => by("busy").hidden && /ms/.test(by("status").textContent)); };
  const pointer = (kind, x, y, more = {}) => {
    const box = by("map").getBoundingClientRect();
    const at = { clientX: box.left + box.width * (x + .5) / 8, clientY: box.top + box.height * (y + .5) / 6 };
    by("map").dispatchEvent(new window_.PointerEvent(kind, { ...at, button: 0, pointerId: 1, bubbles: true, ...more }));
  };
  const result = () => {
    const copy = document.createElement("canvas"), image = by("result");
    copy.width = image.naturalWidth; copy.height = image.naturalHeight;
    const context = copy.getContext("2d"); context.drawImage(image, 0, 0);
    return [...context.getImageData(0, 0, copy.width, copy.height).data].filter((_, i) => i % 4 === 0).map(red => Math.round(red / 50)).join("");
  };
  const steps = [], note = async () => { await settled(); steps.push(result()); };
  await wait(() => by("classes").children.length === 4);
  await note();                                                                          // the start
  page.querySelectorAll("#classes button")[2].click(); by("size").value = 1;
  pointer("pointerdown", 1, 1); pointer("pointermove", 5, 1); pointer("pointerup", 5, 1); await note();   // a line of class 2
  page.querySelectorAll("#classes button")[1].click(); by("fill").click();
  pointer("pointerdown", 0, 5); await note();                                            // the ground of class 1
  by("undo").click(); await note();
  by("undo").click(); await note();
  by("redo").click(); await note();
  pointer("pointerdown", 3, 1, { altKey: true }); by("clear").click(); await note();       // picks class 2
  by("random").click(); await settled();
  const style = by("status").textContent;
  const answer = document.createElement("pre"); answer.id = "answer"; answer.textContent = JSON.stringify({ steps, style, title: page.title });
  document.body.append(answer);
};
</script>"""


class Driving(paint_server.Handler):
    """Also serves a page that works the paint page in a frame."""

    def do_GET(self):
        if self.path == "/drive":
            self._serve(
                {"/drive": lambda: ("TEXT/HTML", DRIVER.encode())}
            )  # written so, it has no policy that forbids frames
        else:
            super().do_GET()


def browser():
    names = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome", "chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    cached = sorted(Path.home().glob(".cache/chromium-headless/**/*headless*shell"))
    return found or (str(cached[-1]) if cached else None)


@pytest.mark.slow
def test_a_browser_paints(tmp_path):
    program = browser()
    if program is None:
        pytest.skip("no Chromium is here to paint with: install chromium")
    client = Client(Server(studio(start=MAP), 0, Driving))
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}",
        "--virtual-time-budget=20000",
        "--dump-dom",
    ]
    try:
        done = subprocess.run(
            [program, *flags, f"{client.server.url}drive"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        client.close()
    told = re.search(r'<pre id="answer">(.*?)</pre>', done.stdout, re.S)
    assert told, done.stdout[-500:] + done.stderr[-500:]
    answer = json.loads(told[1].replace("&lt;", "<").replace("&gt;", ">"))
    line = MAP.copy()
    line[1, 1:6] = 2
    maps = [MAP, line, flooded(line, 5, 0, 1), line, MAP, line, np.full(SIZE, 2)]
    assert answer["steps"] == ["".join(map(str, array.ravel())) for array in maps]
    assert answer["title"] == "a <run>"
    assert re.fullmatch(r"\d+ ms, style \d+", answer["style"])


def flooded(ids, row, column, value):
    from scipy.ndimage import label

    areas, _ = label(ids == ids[row, column])
    return np.where(areas == areas[row, column], value, ids)
