"""Train DCGAN, Pix2Pix or CycleGAN in plain PyTorch, to have something to compare quality with: `python -m benchmarks.train_pytorch FAMILY`.

    python -m benchmarks.train_pytorch dcgan --preset fashion_mnist --data idx:DIR --seconds 600 --out DIR
    python -m benchmarks.train_pytorch pix2pix --preset maps --data paired:DIR --config.image-size 128 128 --crop 15 --seconds 600 --split val --out DIR
    python -m benchmarks.train_pytorch cyclegan --preset digits --images 800 --seconds 60 --out DIR

Presets and flags are those of `python -m experiments.FAMILY`, so that a command trains the same architecture with the same losses, optimisers, schedule,
data, preprocessing and order of examples (draws are PyTorch's own). It stops after --images or --seconds, whichever is first, the reading of data not
counted, and writes to DIR

  generated.npz  uint8 [N, H, W, C]: "image", from the generator with running statistics; or by direction, "a2b" or "b2a", the translations of the images of
                 --split, one by one, in the data's order, with each image's own statistics and, where the config has it, dropout
  run.json       what was trained: images, steps, seconds, losses, config, command, data, versions, machine
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import record
from benchmarks.against_pytorch import require_pytorch
from experiments.support import common
from jaxgan import data
from jaxgan.data import Augment
from jaxgan.errors import DataError, require
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.metrics.real import drawn as drawn_rows
from jaxgan.records.config_io import to_dict

if TYPE_CHECKING:
    from benchmarks.torch_models.learning import Options

FAMILIES = ("dcgan", "pix2pix", "cyclegan")
LOG_SECONDS = 10.0


def check_settings(family: str, config: Any, augment: Augment) -> None:
    """Raise `ValueError` if the config has what these games have not."""
    plain = Stabilisers(pool_size=config.stabilisers.pool_size if family == "cyclegan" else 0)
    require(
        config.stabilisers == plain,
        "the games in PyTorch have no stabilisers (but CycleGAN's replay pool): choose a preset without, or turn them off",
    )
    require(
        family != "dcgan" or (config.architecture == "dcgan" and not config.classes),
        "the DCGAN in PyTorch has no residual networks and no classes",
    )
    require(
        family == "dcgan" or config.generator in ("unet", "resnet"),
        "PyTorch has the generators unet and resnet",
    )
    require(
        family == "dcgan" or (config.upsampling, config.discriminator) == ("transposed", "patch"),
        "translators in PyTorch are transposed, critics patch",
    )
    require(
        family != "cyclegan"
        or not (config.cycle_critic or config.cycle_critic_features or config.feature_cycle),
        "there are no cycle critics in PyTorch",
    )
    for player in ("generator_optimizer", "discriminator_optimizer"):
        settings = vars(config)[player]
        require(
            (settings.name, settings.half_life, settings.clip_norm) == ("adam", 0, 0),
            f"{player} must be plain Adam of constant or linearly falling rate",
        )
    require(
        augment == Augment(flip=augment.flip, crop=augment.crop),
        "images are cropped and mirrored here, but neither turned nor zoomed",
    )


def rate(settings: Any, images: int) -> float:
    """The learning rate after `images` images: constant, then linear to zero; see `jaxgan.optim.learning_rate`."""
    if not settings.decay_images:
        return float(settings.learning_rate)
    past = min(max((images - settings.constant_images) / settings.decay_images, 0.0), 1.0)
    return float(settings.learning_rate) * (1 - past)


def batch_of(
    dataset: Any,
    config: Any,
    augment: Augment,
    options: Any,
    step: int,
    random: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Examples of a step, in the order of a run of jaxgan's with this seed: float32 [B, H, W, C] in [-1, 1], cropped and mirrored at random."""
    count, seed = options.batch_size, options.seed
    names = ("image",) if "image" in dataset.arrays else ("a", "b")
    aligned = "cycle_weight" not in vars(config) and not dataset.independent
    rows = {
        name: data.order(len(dataset.arrays[name]), count, seed if aligned else (seed, 1 + i), step)
        for i, name in enumerate(names)
    }
    size, drawn = config.image_size, None
    batch = {}
    for name in names:
        images = np.asarray(dataset.arrays[name])[rows[name]]
        drawn = (
            drawn
            if aligned and drawn is not None
            else (random.integers(0, augment.crop + 1, (count, 2)), random.random(count) < 0.5)
        )
        corners, mirrored = drawn
        cut = np.stack(
            [
                image[top : top + size[0], left : left + size[1]]
                for image, (top, left) in zip(images, corners, strict=True)
            ]
        )
        require(
            cut.shape[1:3] == tuple(size),
            f"{name} must be {size[0] + augment.crop}x{size[1] + augment.crop}, got {images.shape[1]}x{images.shape[2]}",
        )
        if augment.flip:
            cut = np.where(mirrored[:, None, None, None], cut[:, :, ::-1], cut)
        top = np.iinfo(cut.dtype).max
        batch[name] = (2 * cut.astype(np.float32) - top) / top
    return batch


def train(
    family: str, config: Any, dataset: Any, options: Any, seconds: float, device: Options
) -> tuple[Any, dict[str, Any]]:
    """The game after training, and what run.json says of it. A line is printed every ten seconds, for which losses are read."""
    from benchmarks.torch_models.games import GAMES
    from benchmarks.torch_models.learning import tensor

    game, augment, random = (
        GAMES[family](config, device),
        common.augmentation(options),
        np.random.default_rng(options.seed),
    )
    players = {
        "g_optimizer": config.generator_optimizer,
        "d_optimizer": config.discriminator_optimizer,
    }
    begin = told = time.perf_counter()
    step, images, losses = 0, 0, {}
    while images < options.images and time.perf_counter() - begin < seconds:
        batch = batch_of(dataset, config, augment, options, step, random)
        for optimizer, settings in players.items():
            for group in getattr(game, optimizer).param_groups:
                group["lr"] = rate(settings, images)
        metrics = game.step({name: tensor(array, device) for name, array in batch.items()})
        step, images = step + 1, images + options.batch_size
        if images >= options.images or time.perf_counter() - told > LOG_SECONDS:
            losses, told = (
                {name: round(float(value), 4) for name, value in metrics.items()},
                time.perf_counter(),
            )
            require(
                all(map(np.isfinite, losses.values())),
                f"training met a value that is not finite after {images} images: {losses}",
            )
            print(
                f"{images:,} images, {images / (told - begin):.1f} a second, d_loss {losses['d_loss']}, g_loss {losses['g_loss']}",
                flush=True,
            )
    return game, {
        "images": images,
        "steps": step,
        "seconds": round(time.perf_counter() - begin, 1),
        "losses": losses,
    }


def generated(
    family: str, game: Any, config: Any, held_out: Any, count: int, device: Options
) -> dict[str, np.ndarray]:
    """What the trained generators make, uint8 [N, H, W, C] by name: `count` images, or the translations of at most as many of a data set's."""
    import torch

    from benchmarks.torch_models.learning import tensor

    with torch.no_grad():
        if family == "dcgan":
            network = game.generator.eval()
            chunks = [
                network(game.draw(min(256, count - i))["latents"]) for i in range(0, count, 256)
            ]
            return {"image": np.concatenate([_pixels(chunk) for chunk in chunks])}
        networks = {config.direction: game.generator} if family == "pix2pix" else game.generators
        made = {}
        for way, network in networks.items():
            network.train(config.statistics == "image")
            for module in network.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.train(config.translation_dropout)
            source = np.asarray(held_out.arrays[way[0]])
            source = source[
                drawn_rows(len(source), count)
            ]  # the images that the evaluation compares with
            top = np.iinfo(source.dtype).max
            made[way] = np.concatenate(
                [
                    _pixels(
                        network(tensor((2 * image[None].astype(np.float32) - top) / top, device))
                    )
                    for image in source
                ]
            )
        return made


def _pixels(images: Any) -> np.ndarray:
    """A tensor [B, C, H, W] in [-1, 1] -> uint8 [B, H, W, C]."""
    from jaxgan.pictures.images import to_uint8

    return to_uint8(images.float().permute(0, 2, 3, 1).cpu().numpy())


def parse(arguments: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """(options of this command, flags of the family's experiment)."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("--seconds", type=float, default=600.0, help="of training, at most")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument(
        "--samples", type=int, default=10_000, help="images made at the end, at most"
    )
    parser.add_argument(
        "--split", default="test", help="of the data, whose images are translated at the end"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    return parser.parse_known_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse options, train, write."""
    given, rest = parse(arguments)
    # Before PyTorch is there: on a busy machine its threads, spinning while they wait for each other, would make it tens of times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with common.one_sentence_errors():
        require_pytorch()
        run(given, rest)


def run(given: argparse.Namespace, flags: Sequence[str]) -> None:
    """Train as `given` and the experiment's `flags` say; write generated.npz and run.json."""
    import torch

    from benchmarks.torch_models.learning import Options, prepare

    experiment = importlib.import_module(f"experiments.{given.family}")
    family = importlib.import_module(f"jaxgan.families.{given.family}")
    preset, options, config = common.parse(family, experiment.PRESETS, __doc__, flags)
    options, config, dataset = common.prepare(preset, options, config, flags)
    check_settings(given.family, config, common.augmentation(options))
    held_out = None
    if given.family != "dcgan":
        resize: Any = "cover" if options.resize == "none" else options.resize
        held_out = data.open(
            options.data,
            image_size=config.image_size,
            channels=(config.channels_a, config.channels_b),
            split=given.split,
            resize=resize,
        )
    device = Options(given.device, config.dtype)
    prepare(device, record.cores())
    torch.manual_seed(options.seed)
    game, told = train(given.family, config, dataset, options, given.seconds, device)
    images = generated(given.family, game, config, held_out, given.samples, device)
    told |= {
        "family": given.family,
        "config": to_dict(config),
        "data": options.data,
        "fingerprint": dataset.fingerprint,
        "split": given.split,
    }
    told |= {
        "options": dataclasses.asdict(options),
        "torch": torch.__version__,
        "device": given.device,
        "threads": torch.get_num_threads(),
    }
    told |= {
        "cpu": record.cpu_model(),
        "cores": record.cores(),
        "load": record.LOAD_AT_START,
        "commit": record.commit(),
        "command": record.command(),
    }
    try:
        given.out.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(given.out / "generated.npz", **images)  # type: ignore[arg-type]
        (given.out / "run.json").write_text(json.dumps(told, indent=1) + "\n")
    except OSError as error:
        raise DataError(
            f"cannot write to {given.out} ({error.strerror}): choose another folder by --out"
        ) from error
    print(
        f"{told['images']:,} images in {told['seconds']} s; wrote {', '.join(f'{len(array):,} {name}' for name, array in images.items())} to {given.out}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
