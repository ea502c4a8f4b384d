"""Write `benchmarks/README.md` from the results files: `python -m benchmarks.tables`.

Of measurements of the same thing on the same device the newest is shown, by version of JAX where that decides the time. What a
table has no figure for is named below it.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import cases, compile_time, pytorch_cases, record
from benchmarks.columns import Column, Line, Table, digits, get, number, ratio_spread, spread, text
from experiments.support.common import one_sentence_errors

PAGE = record.ROOT / "benchmarks" / "README.md"

HEAD = """# Benchmarks

Written by `python -m benchmarks.tables` from `benchmarks/results/*.jsonl`, which hold every figure with its provenance; not edited by hand. Run the
commands from the repository; each appends to its results file.

Unless a table says otherwise, every call is waited for, after a warm-up, compilation excluded: at least 30 calls, or 10 where one takes more than 2 s. Rivals
take turns (A B A B). *load*: how many processes wanted a core just before; more than a small part of the cores means a busy machine, whose times are too
long and whose ratios of rivals alone mean something. A commit with + had changed files. How good the images are: [docs/results.md](../docs/results.md).
"""
ELSEWHERE = ("quality",)
"""Results whose tables are on a page of their own: see `benchmarks.quality_tables`."""


def _form(line: Line) -> str:
    steps, devices = line.get("steps_per_call", 1), line["provenance"].get("devices", 1)
    return (
        line["parallel"]
        + (f", {steps} steps" if steps > 1 else "")
        + (f", {devices} devices" if devices > 1 else "")
    )


def _size(line: Line) -> str:
    return "x".join(str(side) for side in line["image_size"])


def _suites(on_cpu: bool) -> list[str]:
    return [
        f"{family} {preset}" for suite in cases.SUITES.values() for family, preset in suite.items()
    ]


def _steps(on_cpu: bool) -> list[str]:
    return [case.name for case in compile_time.different(list(cases.FAMILIES), [])]


def _of_limit(line: Line) -> str:
    """The least time in which the device could do what the step asks for, as a share of ours."""
    if line.get("peak_flops_per_s") is None:
        return ""
    least = max(line["flops"] / line["peak_flops_per_s"], line["bytes"] / line["peak_bytes_per_s"])
    return format(1e3 * least / line["sides"]["jaxgan"]["median_ms"], ".0%")


def _where(name: str) -> Column:
    return Column(
        name,
        lambda line: (
            "not recorded" if (value := line["provenance"].get(name)) is None else str(value)
        ),
    )


PROVENANCE = (_where("jax"), _where("commit"), _where("date"), _where("load"))
NAMED, IMAGES, SIZE = text("name", "preset"), number("images", "d"), Column("size", _size)
DTYPE, FORM = text("provenance.dtype", "dtype"), Column("form", _form)
NOTE = Column("note", lambda line: line.get("note") or line["provenance"].get("note") or "")
CACHED = Column(
    "from cache s", lambda line: f"{line['cached_s']:.2f}" if line["from_cache"] else "not cached"
)

STEP_TIME = Table(
    "step_time",
    "Step time",
    """Random data of the preset's shapes. *asked*: floating-point operations of the convolutions and matrix products that the algorithm asks for,
multiplications with padding left out; *compiled*: how many times as many the compiled step has. *of peak*: those asked for, as a share of a large
matrix product's rate in the same dtype and process. *bytes*: the least that must move, which is the state read and written, the batch read, operands and
results of those products once; *moved*: how many times as much the compiler counts. Where regularisation is lazy, images/s is by the mean over whole
periods and the times are of the usual step. On a CPU of several cores the newest JAX counts: 0.10.2 computes many convolutions on one of them,
while very small steps are faster with it. For StyleGAN2 with ADA (`auto ada`) the authors' own 147 images/s at 128x128 and 80 at 256x256, of one A100, are
1000 / (s/kimg) of stylegan2-ada-pytorch's table of training times. *together*: so many programs were compiled beside each other before the first was
timed, so that how long it took is not said and libraries chose their algorithms while cores were busy.""",
    (
        "python -m benchmarks.step_time                                     # digits, all families: 2.5 minutes on two free cores",
        "python -m benchmarks.step_time --parallel scan --family gan cgan   # one minute",
        "python -m benchmarks.step_time --suite recipes --dtype bfloat16    # accelerators: most of it is compiling",
    ),
    (
        "name",
        "parallel",
        "steps_per_call",
        "image_size",
        "images",
        "provenance.dtype",
        "provenance.devices",
        "provenance.jax",
    ),
    (
        *(
            NAMED,
            SIZE,
            IMAGES,
            DTYPE,
            FORM,
            spread(),
            number("images_per_s", ",.0f", head="images/s"),
            number("flops", "", 1e-9, "asked, GFLOP"),
        ),
        *(
            number("flops_ratio", ".2f", head="compiled"),
            number("flops_per_s", "", 1e-9, "GFLOP/s"),
            number("peak_share", ".0%", head="of peak"),
        ),
        *(
            number("bytes", "", 1e-6, "bytes, MB"),
            number("bytes_ratio", ".1f", head="moved"),
            number("temp_bytes", "", 1e-6, "temporary, MB"),
        ),
        *(
            number("argument_bytes", "", 1e-6, "arguments, MB"),
            number("compile_s", ".1f", head="trace and compile s"),
            number("together", "d"),
            NOTE,
        ),
    ),
    _suites,
)
COMPILE_TIME = Table(
    "compile_time",
    "Compilation",
    """Seconds to trace a step, to compile it, and to read it from the persistent cache (`--compilation-cache` of every experiment) at a second start. The
target is under 60 s on two cores. Of presets whose steps differ in schedules only, one is measured.""",
    ("python -m benchmarks.compile_time    # all presets: about 15 minutes on two free cores",),
    ("name", "provenance.dtype"),
    (
        NAMED,
        SIZE,
        IMAGES,
        DTYPE,
        number("trace_s", ".1f", head="trace s"),
        number("compile_s", ".1f", head="compile s"),
        CACHED,
        NOTE,
    ),
    _steps,
)
SCALING = Table(
    "scaling",
    "Several devices",
    """The batch on each device stays. On real devices, efficiency = time on one / time on n; virtual ones share the cores of one CPU, and there it is
n x time on one / time on n. *mesh*: `jit_step` over a mesh (plain `jit` on one device). *difference*: of the losses of one step on one global batch to one
device's, the largest, relative.

*split*: FLOPs of the compiled step on one device over FLOPs of each of n devices, for the same global batch. **The line: at least 0.8 n** (0.55 n for gan and
cgan, whose digits presets are mostly optimiser), in every row. Below it devices repeat each other's work. Rows without a *split* were measured before
2026-12-01, when `jit` over a mesh computed the generator of GAN, DCGAN and StyleGAN in full on every device (1.3 to 1.6 of 8): hence the time of their mesh
rows, more than twice that of pmap on 8 devices.""",
    ("python -m benchmarks.scaling    # virtual devices: 3 minutes on two free cores",),
    ("name", "parallel", "devices", "images"),
    (
        *(
            NAMED,
            text("parallel", "form"),
            number("devices", "d"),
            text("virtual"),
            IMAGES,
            spread(),
        ),
        *(
            number("weak_efficiency", ".2f", head="efficiency"),
            number("difference", ".1e"),
            number("split", ".2f"),
            ratio_spread("time / other form's"),
        ),
    ),
    lambda _: ["dcgan digits"],
)
POPULATION = Table(
    "population",
    "Populations",
    "n members of `examples/population.py` trained by `vmap` in one program, against n runs one after another; milliseconds of one step of all.",
    ("python -m benchmarks.population    # one minute on two free cores",),
    ("name", "members", "steps", "batch"),
    (
        *(
            number("members", "d"),
            spread("vmap, ms (p10 to p90)", "vmap_"),
            spread("one by one, ms (p10 to p90)", "alone_"),
        ),
        *(ratio_spread("one by one / vmap"), NOTE),
    ),
    lambda _: ["cgan of embed_population"],
)
CONV = Table(
    "conv",
    "Convolutions",
    "`jaxgan.nn.convolution` and `.channels` against plain `lax` in turns, the fastest call of each: 15 rounds, "
    "fewer where they take more than 6 s, at least 2.",
    ("python -m benchmarks.conv    # 6 minutes on two free cores",),
    ("name", "what"),
    (
        *(
            text("name", "layer"),
            text("what"),
            number("lax.min_ms", head="lax, ms"),
            number("jaxgan.min_ms", head="jaxgan, ms"),
        ),
        number("lax_over_jaxgan", ".2f", head="lax / jaxgan"),
    ),
)
AGAINST_PYTORCH = Table(
    "against_pytorch",
    "Against PyTorch",
    """The same games in plain PyTorch, whose losses from the same weights and draws are shown equal by
`--check`. The ratio is the fastest PyTorch's time over jaxgan's: above 1, jaxgan is faster. On a
CPU its convolutions multiply less where channels are many (`jaxgan/nn/convolution/winograd.py`),
and SPADE's of layouts are looked up class by class; on a GPU few channels are made more of the
kernel's columns (`jaxgan/nn/convolution/few_channels.py`); anywhere, SPADE's discriminator
convolves a layout once for generated and real images, its generator normalises before it doubles,
and its shortcuts mix beta in beta's kernel. All to the same numbers but for rounding. A round is
1.5 s or up to 200 steps, waited for together (0.3 s on a GPU, and on a CPU until 2026-11-27
12:00, so that of slow games each step was the first after a pause); there are 30 rounds, or those
that begin within the seconds asked for (60), and p10 and p90 are theirs. On a CPU the threads of
PyTorch wait for each other asleep, but for "pytorch-spinning", its default, which on a busy
machine is tens of times slower. *first*: what the first step took longer than later ones.
*together*: so many processes started beside each other before the first was timed; then *first*
holds waiting for cores and both libraries chose algorithms on a busy device. The fastest PyTorch
may be the compiled one. *left out*: forms of PyTorch that were not ready in time, so that the
ratio may be too large. *asked*: operations of the convolutions and matrix products of an average
step, as the algorithm asks for them. *of the limit*: the longer of these at a large matrix
product's rate and of the bytes that must move (see Step time) at a copy's, both measured in
jaxgan's process, as a share of jaxgan's time; on the H200 until 2026-11-27 14:30 both are the
data sheet's, 989 TFLOP/s (bfloat16) and 4.8 TB/s.""",
    (
        "python -m benchmarks.against_pytorch    # needs PyTorch",
        "python -m benchmarks.against_pytorch --suite cpu-large    # a quarter of an hour on two free cores",
        "python -m benchmarks.against_pytorch --suite gpu --device cuda --dtype bfloat16 --compiled --together 14",
    ),
    ("name", "image_size", "provenance.batch", "provenance.dtype", "provenance.jax", "left_out"),
    (
        *(
            text("name", "game"),
            SIZE,
            text("provenance.batch", "batch"),
            DTYPE,
            ratio_spread("PyTorch / jaxgan"),
        ),
        *(
            spread("jaxgan, ms (p10 to p90)", "sides.jaxgan."),
            number("sides.jaxgan.first_s", ".1f", head="first, s"),
        ),
        Column(
            "PyTorch, ms (p10 to p90)",
            lambda line: spread(prefix=f"sides.{line['fastest']}.").show(line),
        ),
        *(
            Column("first, s", lambda line: digits(line["sides"][line["fastest"]]["first_s"])),
            text("fastest", "PyTorch's form"),
        ),
        *(
            number("sides.pytorch.median_ms", head="channels last, ms"),
            number("sides.pytorch-contiguous.median_ms", head="channels first, ms"),
        ),
        *(
            number("sides.pytorch-compiled.median_ms", head="torch.compile, ms"),
            number("flops", "", 1e-9, "asked, GFLOP"),
            Column("of the limit", _of_limit),
        ),
        *(
            number("together", "d"),
            Column("left out", lambda line: " ".join(line.get("left_out", ()))),
        ),
        *(number("sides.jaxgan.repetitions", "d", head="rounds"), _where("torch"), NOTE),
    ),
    expected=lambda on_cpu: [
        case.name
        for name in (("cpu", "cpu-large") if on_cpu else ("gpu",))
        for case in pytorch_cases.SUITES[name]
    ],
)
LAYERS = Table(
    "against_pytorch_layers",
    "Convolutions of a step, against PyTorch",
    """Each kind of convolution in a step alone, with both gradients, the fastest of five; the difference is for all of that kind. They are most of
the step of a network of convolutions, so that this says where its time goes. PyTorch is the faster of channels last and channels first.""",
    ("python -m benchmarks.against_pytorch --profile    # needs PyTorch",),
    ("name", "layer", "input", "provenance.dtype"),
    (
        *(
            text("name", "game"),
            text("layer"),
            text("input", "batch x size"),
            number("count", "d", head="n"),
            number("flops", head="GFLOP", scale=1e-9),
        ),
        *(
            number("jaxgan_ms", head="jaxgan, ms"),
            number("pytorch_ms", head="PyTorch, ms"),
            number("ratio", ".2f", head="PyTorch / jaxgan"),
        ),
        number("jaxgan_flops_per_s", head="jaxgan, GFLOP/s", scale=1e-9),
        *(
            number("pytorch_flops_per_s", head="PyTorch, GFLOP/s", scale=1e-9),
            number("difference_ms", ".1f", head="n x difference, ms"),
            _where("torch"),
        ),
    ),
)
PROFILE = Table(
    "step_profile",
    "Where a step's time goes",
    """The share of a step, under JAX's profiler, in which convolutions or matrix products run (beside other work or not); in which these or what belongs to
a convolution does, as laying images out for it and Winograd's transforms; and in which any kernel runs. The profiler sees only the start of convolutions that
XLA runs in the background, which are most of what is missing. *others*: the longest kernels that are no products, by XLA's names. Lazy regularisation is
weighted. Of an accelerator, `python -m benchmarks.device_trace` tells the same from a trace.""",
    ("python -m benchmarks.step_profile",),
    ("name", "provenance.batch", "provenance.jax"),
    (
        *(
            text("name", "game"),
            number("ms", head="step, ms"),
            number("watched_ms", head="under the profiler, ms"),
        ),
        *(
            number("product_share", ".0%", head="products"),
            number("convolution_share", ".0%", head="convolutions"),
            number("busy_share", ".0%", head="any"),
        ),
        Column(
            "others, ms",
            lambda line: ", ".join(
                f"{name} {digits(ms)}" for name, ms in line["others_ms"].items()
            ),
        ),
        NOTE,
    ),
)
KERNELS = Table(
    "step_kernels",
    "Convolutions and matrix products of a step",
    """Every kind that takes at least a hundredth of the step's products. Images are [batch, height, width, channels]; *4x4/2* is a kernel with stride 2,
*~2* one spread by 2 (a gradient of kernels, whose images are [channels, height, width, batch]). Operations with padding counted. Where two run beside each
other, each has one core.""",
    ("python -m benchmarks.step_profile",),
    ("name", "kernel", "provenance.batch", "provenance.jax"),
    (
        *(
            text("name", "game"),
            text("kernel"),
            number("count", ".3g", head="n"),
            number("ms", head="ms of all"),
        ),
        *(
            number("flops", head="GFLOP of one", scale=1e-9),
            number("flops_per_s", head="GFLOP/s", scale=1e-9),
        ),
    ),
    chosen=lambda line: line["share"] >= 0.01,
)
CANDIDATES = Table(
    "conv_candidates",
    "Convolutions of a step, in every form tried",
    """Every convolution of a step and every gradient of one that makes up at least a hundredth of its operations, alone, the fastest of several calls in turns:
in the form that jaxgan chooses for these sizes, and in all others that can compute it (said in `benchmarks.conv_candidates`). *best other*: the fastest
other form's time over jaxgan's. *n*: of a step with all of its lazy penalties. On a GPU jaxgan's are those of lax, but
for few channels, of which the kernel's columns are made more; calls of 20 are waited for together, and starting one is part of its time.""",
    (
        "python -m benchmarks.conv_candidates",
        "python -m benchmarks.conv_candidates --families cyclegan --size 256 --batch 4 --dtype bfloat16 --least 0.03    # on an accelerator",
        "python -m benchmarks.conv_candidates --families pix2pix --size 256 --batch 16 --dtype bfloat16 --least 0    # few channels among them",
    ),
    ("name", "operation", "what", "provenance.batch", "provenance.jax"),
    (
        *(
            text("name", "game"),
            text("operation"),
            text("what", "kernel, images"),
            number("count", "d", head="n"),
            number("ms"),
        ),
        *(
            number("flops", head="GFLOP", scale=1e-9),
            number("flops_per_s", head="GFLOP/s", scale=1e-9),
            number("best_other", ".2f", head="best other"),
        ),
        Column(
            "other forms, ms",
            lambda line: ", ".join(
                f"{name} {digits(ms)}" for name, ms in line["others_ms"].items()
            ),
        ),
        NOTE,
    ),
)
SOURCES = Table(
    "input_pipeline",
    "Sources of data",
    """Images of a folder of JPEG files in each way to hold them, without training; synthetic, in the system's file cache. *first use*: decoding all of
them into the cache, once. *at once*: the images of a batch.""",
    ("python -m benchmarks.input_pipeline sources",),
    ("source", "image_size", "set", "images"),
    (
        text("source"),
        SIZE,
        number("set", ",d", head="files"),
        number("images", ",d", head="at once"),
        number("images_per_s", ",.0f", head="images/s"),
    ),
    chosen=lambda line: "wait_share" not in line,
)
WAITS = Table(
    "input_pipeline",
    "Waiting for data",
    "The share of the time of training that the loop waits for its next batch. The target is under 3 %. Rows of 2026-11-22 are of asynchronous calls, which\n"
    "wait beside a step; since then calls are made as the experiments make them.",
    (
        "python -m benchmarks.input_pipeline waits                                                    # digits, all families: 7 minutes on two free cores",
        "python -m benchmarks.input_pipeline waits --family gan cgan dcgan acgan vaegan --preset mnist",
        "python -m benchmarks.input_pipeline waits --family pix2pix --preset maps --source mapped stream",
        "python -m benchmarks.input_pipeline waits --preset all --source stream --batch 2 --seconds 3 --family pix2pix cyclegan stargan spade stylegan",
    ),
    ("name", "source", "image_size", "images"),
    (
        *(
            NAMED,
            text("source"),
            SIZE,
            IMAGES,
            number("ms_per_step", head="step, ms"),
            number("wait_ms_per_step", head="of it waiting, ms"),
        ),
        *(
            number("wait_share", ".2%", head="waiting"),
            number("images_per_s", ",.0f", head="images/s"),
        ),
    ),
    chosen=lambda line: "wait_share" in line,
)
TABLES = (
    STEP_TIME,
    COMPILE_TIME,
    SCALING,
    POPULATION,
    AGAINST_PYTORCH,
    LAYERS,
    PROFILE,
    KERNELS,
    CANDIDATES,
    SOURCES,
    WAITS,
    CONV,
)


def _plain_field(field: str, line: Line) -> str:
    return _plain(line.get(field))


def generic(name: str, lines: list[Line]) -> Table:
    """A table of every plain field, in the order in which they occur, for a file that has none of its own."""
    fields = list(
        dict.fromkeys(
            field for line in lines for field, value in line.items() if not isinstance(value, dict)
        )
    )
    words = tuple(
        field for field in fields if not any(isinstance(line.get(field), float) for line in lines)
    )
    columns = tuple(Column(field, partial(_plain_field, field)) for field in fields)
    return Table(
        name,
        name.replace("_", " ").capitalize(),
        "",
        (f"python -m benchmarks.{name}",),
        words,
        columns,
    )


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return "x".join(map(_plain, value))
    return "" if value is None else digits(value) if isinstance(value, float) else str(value)


def device(line: Line) -> str:
    """What a line was measured on, as a heading."""
    where = line["provenance"]
    if where.get("platform", where.get("device")) == "cpu":
        return f"CPU, {where.get('cpu', 'model not recorded')}, {where.get('cores', '?')} cores"
    return where.get("device", "device not recorded")


def newest(lines: list[Line], key: tuple[str, ...]) -> list[Line]:
    """The last line of each key, in the order in which the keys came first."""
    return list({repr([get(line, name) for name in key]): line for line in lines}.values())


def section(table: Table, lines: list[Line]) -> list[str]:
    """Markdown of one table, device by device."""
    lines = [line for line in lines if table.chosen(line)]
    page = [
        f"## {table.title}",
        *([table.text] if table.text else []),
        "\n".join(["```", *table.commands, "```"]),
    ]
    devices = list(dict.fromkeys(map(device, lines)))
    columns = (*table.columns, *PROVENANCE)
    for place in devices:
        rows = newest([line for line in lines if device(line) == place], table.key)
        cells = [[column.show(line) or "-" for column in columns] for line in rows]
        head = [[column.head for column in columns], ["---"] * len(columns)]
        page += [f"### {place}", "\n".join(f"| {' | '.join(row)} |" for row in head + cells)]
        missing = [
            wanted
            for wanted in dict.fromkeys(table.expected(place.startswith("CPU")))
            if wanted not in {line.get("name") for line in rows}
        ]
        page += [f"Not measured here: {', '.join(missing)}."] if missing else []
    if all(
        line["provenance"].get("platform", line["provenance"].get("device")) == "cpu"
        for line in lines
    ):
        page.append("Not measured on a GPU or TPU." if lines else "Not measured.")
    return page


def page(folder: Path) -> str:
    """The text of README.md from the results files of `folder`. Raises `DataError` for a damaged one."""
    lines = {
        path.stem: record.read(path)
        for path in sorted(folder.glob("*.jsonl"))
        if path.stem not in ELSEWHERE
    }
    others = [name for name in lines if name not in {table.file for table in TABLES}]
    parts = [HEAD.strip()]
    for table in (*TABLES, *(generic(name, lines[name]) for name in others)):
        parts += section(table, lines.get(table.file, []))
    return "\n\n".join(parts) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--results", type=Path, default=record.RESULTS, help="folder of the results files"
    )
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args(arguments)
    with one_sentence_errors():
        options.out.write_text(page(options.results))


if __name__ == "__main__":
    main()
