"""Evaluation of models whose right figures are known: oracles that hand out stored images, or translate by a formula."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import data
from jaxgan.data import digit_views
from jaxgan.errors import NonFiniteError
from jaxgan.family import Conditioning
from jaxgan.metrics import figures, frechet, judges, kernel, manifold, real, table
from jaxgan.metrics.features import Features, extract
from jaxgan.metrics.measure import default_network, evaluate, evaluate_files, evaluator
from jaxgan.metrics.tasks import Task, make_tasks
from jaxgan.state import State
from tests import tiny_network
from tests.families_under_test import CASES

NETWORK = tiny_network.network()
TRAIN, TEST = (data.open("digits", split=split) for split in ("train", "test"))
INKS = {
    "attributes": tuple(digit_views.INKS),
    "groups": (("ink", 3),),
    "known": (),
    "alternatives": (),
}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path))


def state_of(**stored):
    return State(
        jnp.int32(3),
        jnp.int32(48),
        {},
        {name: jnp.asarray(array) for name, array in stored.items()},
        {},
    )


def spec_of(**shapes):
    kinds = {"label": jnp.int32, "layout": jnp.int32}
    return lambda config, count: {
        name: jax.ShapeDtypeStruct((count, *shape), kinds.get(name, jnp.float32))
        for name, shape in shapes.items()
    }


def taken(images, first, count):
    return jax.lax.dynamic_slice_in_dim(images, first, count)


def painter(**shapes):
    """A family that hands out the images it has stored, in order."""

    def sample(config, state, key, n, labels=None, *, first=0):
        return taken(state.ema["images"], first, n)

    return SimpleNamespace(__name__="a.painter", batch_spec=spec_of(**shapes), sample=sample)


def normal(images):
    return (np.asarray(images, np.float32) * 2 - 255) / 255


def padded(images, count=256):
    """More images than are asked for, as parts are made whole."""
    return normal(np.resize(images, (count, *images.shape[1:])))


def by_name(results, subject=""):
    return {one.metric: one for one in results if one.subject == subject}


# ---------------------------------------------------------------------------------------------------------------- from noise


def test_distances_and_their_floors_are_those_of_the_features():
    fakes = TRAIN.arrays["image"][300:420] // 2
    family, names = painter(image=(8, 8, 1)), ["fid", "kid", "precision", "coverage", "is"]
    options = {"network": NETWORK, "samples": 120, "split": "test", "train": TRAIN}
    results = by_name(
        evaluate(family, None, state_of(images=padded(fakes)), TEST, names, **options)
    )
    fake, held_out = (extract(NETWORK, images).features for images in (fakes, TEST.arrays["image"]))
    train = extract(NETWORK, TRAIN.arrays["image"][real.drawn(1500, 120)]).features
    moments = [frechet.moments(features) for features in (held_out, fake, train)]
    np.testing.assert_allclose(
        results["fid"].value, frechet.distance(moments[0], moments[1]), rtol=1e-5
    )
    np.testing.assert_allclose(
        results["fid"].floor, frechet.distance(moments[0], moments[2]), rtol=1e-5
    )
    assert results["fid"].floor_counts == (297, 120)
    value, error = kernel.kid(held_out, fake)
    np.testing.assert_allclose(
        (results["kid"].value, results["kid"].standard_error), (value, error), rtol=1e-4
    )
    precisions = [manifold.precision_recall(held_out, other)[0] for other in (fake, train)]
    assert [results["precision"].value, results["precision"].floor] == precisions
    one = results["fid"]
    assert (one.real, one.generated, one.network, one.checksum, one.checkpoint, one.family) == (
        297,
        120,
        "tiny",
        "0123456789abcdef",
        48,
        "a.painter",
    )
    assert (one.data, one.fingerprint, one.split) == ("digits", TEST.fingerprint, "test")
    assert set(one.versions) == {"jaxgan", "jax", "numpy"}


def test_without_other_images_the_floor_is_that_of_two_halves():
    results = by_name(
        evaluate(
            painter(image=(8, 8, 1)),
            None,
            state_of(images=padded(TEST.arrays["image"])),
            TEST,
            ["fid"],
            network=NETWORK,
            samples=50,
        )
    )
    real_features = extract(NETWORK, TEST.arrays["image"]).features
    halves = [frechet.moments(half) for half in real.halves(real_features, 0)]
    np.testing.assert_allclose(results["fid"].floor, frechet.distance(*halves), rtol=1e-5)
    assert results["fid"].floor_counts == (149, 148)


def test_the_floor_of_a_translator_is_of_as_many_training_images_as_it_makes():
    """Of many training images the floor would be lower than any translation of few test images can be."""
    train, test = (data.open("paired:digits", split=split) for split in ("train", "test"))
    test = dataclasses.replace(
        test, arrays={name: array[:30] for name, array in test.arrays.items()}, fingerprint="thirty"
    )
    family = translator(a=(16, 16, 1), b=(16, 16, 1))
    found = by_name(
        evaluate(family, None, state_of(), test, ["fid"], network=NETWORK, train=train), "a2b"
    )["fid"]
    spread = train.arrays["b"][real.drawn(1500, 30)]
    moments = [
        frechet.moments(extract(NETWORK, images).features) for images in (test.arrays["b"], spread)
    ]
    np.testing.assert_allclose(found.floor, frechet.distance(*moments), rtol=1e-5)
    assert (found.real, found.generated, found.floor_counts) == (30, 30, (30, 30))


def test_the_floor_of_a_target_domain_is_of_training_images_that_show_it():
    train, test = (data.open("attributes:digits", split=split) for split in ("train", "test"))
    found = by_name(
        evaluate(
            inker(),
            SimpleNamespace(**INKS),
            state_of(),
            test,
            ["fid"],
            network=NETWORK,
            train=train,
        ),
        "to green",
    )["fid"]
    green = [one.arrays["image"][one.arrays["attributes"][:, 1] == 1] for one in (train, test)]
    spread = green[0][real.drawn(len(green[0]), 198)]
    moments = [frechet.moments(extract(NETWORK, images).features) for images in (spread, green[1])]
    np.testing.assert_allclose(found.floor, frechet.distance(*moments), rtol=1e-5)
    assert found.floor_counts == (99, 198)


def test_neighbours_are_looked_for_once_and_floors_once_for_all_states(monkeypatch):
    calls = []
    monkeypatch.setattr(
        manifold,
        "_reach",
        lambda features, k, reach=manifold._reach: calls.append(k) or reach(features, k),
    )
    measure = evaluator(
        painter(image=(8, 8, 1)),
        None,
        TEST,
        ["precision", "recall", "density", "coverage", "fid"],
        network=NETWORK,
        samples=40,
    )
    state = state_of(images=padded(TRAIN.arrays["image"]))
    first = measure(state)
    assert (
        calls == [3, 3, 3, 3, 5, 5]
    )  # two sets' balls of each function, of generated and of real images; density looks at real balls alone
    assert measure(state) == first
    assert calls[6:] == [3, 3, 5]
    features = [
        extract(NETWORK, images).features
        for images in (TEST.arrays["image"], TRAIN.arrays["image"][:40])
    ]
    found = by_name(first)
    assert (found["precision"].value, found["recall"].value) == manifold.precision_recall(*features)
    assert (found["density"].floor, found["coverage"].floor) == manifold.density_coverage(
        *real.halves(features[0], 0)
    )


def test_inception_scores_of_images_sorted_by_class():
    """Four sure classes one after the other score 4, or nearly, not the 1 of parts with one class each."""
    sure = np.eye(4)[np.repeat(np.arange(4), 100)]
    known = figures.Known(Features(np.zeros((400, 1)), sure))
    task = Task("", 400, lambda state: iter(()), "image")
    (found,) = figures.score(
        figures.Material(task, None, (), known, known, None, {}, None, None, 0)
    )
    assert 3.7 < found.value <= 4
    assert 3.7 < found.floor <= 4


def test_classes_are_matched_by_name_where_both_have_names():
    network = NETWORK._replace(classes=tuple(map(str, range(11))))
    folders = tuple(sorted(network.classes))  # "0", "1", "10", "2", ...
    np.testing.assert_array_equal(figures.class_order(network, folders), [0, 1, *range(3, 11), 2])
    named = ("zero", *"abcdefghij")  # in the order of their labels
    for one, other in ((network, named), (network._replace(classes=named), network.classes)):
        np.testing.assert_array_equal(figures.class_order(one, other), np.arange(11))
    words = ("eight", "five", "four", "nine", "one", "seven", "six", "three", "two", "zero", "zoo")
    with pytest.raises(ValueError, match=r"tells 0, 1, 2, .* apart, not the data's eight, five, "):
        figures.class_order(network, words)  # folders, in the order of the alphabet
    turned = figures.class_order(network._replace(classes=words[::-1]), words)
    np.testing.assert_array_equal(turned, np.arange(11)[::-1])
    with pytest.raises(ValueError, match="tells no classes that have names apart"):
        figures.class_order(network._replace(classes=()), named)


def test_copies_are_found_and_variety_is_measured():
    copies = TRAIN.arrays["image"][:64]
    evaluated = evaluator(
        painter(image=(8, 8, 1)), None, TEST, ["fid"], network=NETWORK, samples=64, train=TRAIN
    )
    results = by_name(evaluated(state_of(images=padded(copies))))
    assert results["memorisation"].value < 1e-3
    pixels = TRAIN.arrays["image"].reshape(1500, 64) / 255
    held_out = TEST.arrays["image"][real.drawn(297, 256)].reshape(256, 64) / 255
    distances = [np.sqrt(np.square(row - pixels).mean(1).min()) for row in held_out]
    np.testing.assert_allclose(results["memorisation"].floor, np.median(distances), rtol=1e-4)
    differences = np.square(pixels[:64, None] - pixels[None, :64]).mean(-1)
    np.testing.assert_allclose(
        results["diversity"].value, np.sqrt(differences.sum() / (64 * 63)), rtol=1e-4
    )
    one_image = by_name(evaluated(state_of(images=padded(copies[:1]))))
    assert one_image["diversity"].value < 1e-5
    noise = by_name(
        evaluated(state_of(images=padded(np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1)))))
    )
    assert noise["memorisation"].value > noise["memorisation"].floor


def test_classes_are_asked_for_as_often_as_they_occur_and_judged_one_by_one():
    family, names = painter(image=(8, 8, 1), label=()), ["class_accuracy", "intra_fid"]

    def sample(config, state, key, n, labels, *, first=0):
        return state.ema["images"][labels]  # for each class one and the same real image

    family.sample = sample
    examples = np.stack(
        [TRAIN.arrays["image"][TRAIN.arrays["label"] == digit][0] for digit in range(10)]
    )
    found = evaluate(
        family,
        SimpleNamespace(classes=10),
        state_of(images=normal(examples)),
        TEST,
        names,
        network=NETWORK,
        samples=297,
    )
    read = extract(NETWORK, examples).probabilities.argmax(1)
    counts = np.bincount(TEST.arrays["label"], minlength=10)
    results = by_name(found)
    np.testing.assert_allclose(
        results["class_accuracy"].value, counts[read == np.arange(10)].sum() / 297, rtol=1e-6
    )
    true = extract(NETWORK, TEST.arrays["image"]).probabilities.argmax(1) == TEST.arrays["label"]
    np.testing.assert_allclose(results["class_accuracy"].floor, true.mean(), rtol=1e-6)
    assert {
        one.subject: one.generated
        for one in found
        if one.metric == "class_accuracy" and one.subject
    } == {f"class {i}": counts[i] for i in range(10)}
    third = by_name(found, "class 3")
    held_out = extract(NETWORK, TEST.arrays["image"][TEST.arrays["label"] == 3]).features
    same = np.repeat(extract(NETWORK, examples[3:4]).features, 5, 0)
    np.testing.assert_allclose(
        third["intra_fid"].value,
        frechet.distance(frechet.moments(held_out), frechet.moments(same)),
        rtol=1e-4,
    )
    np.testing.assert_allclose(
        results["intra_fid"].value,
        np.mean([one.value for one in found if one.metric == "intra_fid" and one.subject]),
    )


def test_reconstructions_are_compared_with_what_was_given():
    family = painter(image=(8, 8, 1))
    family.encode = family.decode = None
    family.reconstruct = lambda config, state, images: jnp.clip(images + 10 / 127.5, -1, 1)
    results = by_name(
        evaluate(
            family,
            None,
            state_of(images=padded(TEST.arrays["image"])),
            TEST,
            ["reconstruction_l1"],
            samples=100,
        )
    )
    given = TEST.arrays["image"][real.drawn(297, 100)].astype(int)
    np.testing.assert_allclose(
        results["reconstruction_l1"].value, (np.minimum(given + 10, 255) - given).mean(), rtol=1e-6
    )


def test_what_would_fail_after_the_images_were_made_is_refused_before():
    family = painter(image=(8, 8, 1))
    few = dataclasses.replace(
        TEST, arrays={name: array[:4] for name, array in TEST.arrays.items()}, fingerprint="four"
    )
    with pytest.raises(
        ValueError,
        match="density needs more than 5 images on either side; of digits, there are 4 generated or real images",
    ):
        evaluator(family, None, few, ["precision", "density"], network=NETWORK)
    with pytest.raises(ValueError, match="precision needs more than 3 images"):
        evaluate_files(
            data.from_arrays("made", TEST.arrays["image"][:3]), TEST, ["precision"], network=NETWORK
        )
    with pytest.raises(
        ValueError, match="intra_fid needs two real and two generated images of some class"
    ):
        evaluator(
            painter(image=(8, 8, 1), label=()),
            SimpleNamespace(classes=10),
            few,
            ["intra_fid"],
            network=NETWORK,
            samples=5,
        )
    mapper = SimpleNamespace(
        __name__="a.mapper",
        batch_spec=spec_of(image=(16, 16, 3), layout=(16, 16)),
        translate=lambda config, state, layouts: layouts,
    )
    digits = data.open("layout:digits", split="test")
    judge = judges.Judge(
        "layout", "f" * 64, None, None, {"outputs": digits.classes, "image_size": [32, 32]}
    )
    with pytest.raises(
        ValueError,
        match="the judge reads maps of 32x32, the model makes 16x16: train a judge with --image-size 16 16",
    ):
        evaluator(mapper, None, digits, ["miou"], judge=judge)


def test_images_that_are_not_finite_are_refused():
    broken = padded(TEST.arrays["image"])
    broken[7, 0, 0, 0] = np.nan
    with pytest.raises(NonFiniteError, match="NaN or infinite"):
        evaluate(
            painter(image=(8, 8, 1)),
            None,
            state_of(images=broken),
            TEST,
            ["fid"],
            network=NETWORK,
            samples=20,
        )


# --------------------------------------------------------------------------------------------------------------- from images


def both_ways(config):
    return Conditioning("sides", directions=("a2b", "b2a"))


def translator(**shapes):
    """Inverts and adds 4 of 255 one way; inverts the other."""

    def translate(config, state, images, *, direction="a2b"):
        return jnp.clip(-images + (4 / 127.5 if direction == "a2b" else 0), -1, 1)

    return SimpleNamespace(
        __name__="a.translator",
        batch_spec=spec_of(**shapes),
        translate=translate,
        conditioning=both_ways,
    )


def test_each_direction_is_judged_by_its_targets():
    a = np.random.default_rng(0).integers(4, 240, (40, 12, 12, 3)).astype(np.uint8)
    pairs = data.from_domains("pairs", a, 255 - a, independent=False)
    family = translator(a=(12, 12, 3), b=(12, 12, 3))
    assert table.mode(family, None, pairs) == "paired"
    found = evaluate(
        family,
        None,
        state_of(),
        pairs,
        ["l1", "accuracy", "psnr", "ssim", "reconstruction_l1"],
        samples=30,
    )
    there, back = by_name(found, "a2b"), by_name(found, "b2a")
    np.testing.assert_allclose(
        (there["l1"].value, there["accuracy"].value, there["psnr"].value),
        (4, 1, 10 * np.log10(255**2 / 16)),
        atol=1e-2,
    )
    assert back["l1"].value == 0
    assert back["ssim"].value == 1
    np.testing.assert_allclose(there["reconstruction_l1"].value, 4, atol=1e-2)
    np.testing.assert_allclose(
        [there["colour_correlation"].value, there["colour_correlation"].floor], -1, atol=1e-3
    )
    assert {one.generated for one in found if one.metric == "l1"} == {30}
    unpaired = data.from_domains("two", a, a[:20] // 2, independent=True)
    assert "l1" not in table.offered(family, None, unpaired)
    with pytest.raises(
        ValueError,
        match="l1, class_accuracy cannot be measured of translator on two: ask for some of fid, kid, is, precision",
    ):
        evaluate(
            family, None, state_of(), unpaired, ["fid", "l1", "class_accuracy"], network=NETWORK
        )


def test_fewer_images_than_there_are_are_drawn_with_their_targets():
    a = np.repeat(np.arange(40, dtype=np.uint8), 12 * 12 * 3).reshape(40, 12, 12, 3) * 5 + 5
    pairs, family = (
        data.from_domains("pairs", a, 255 - a, independent=False),
        translator(a=(12, 12, 3), b=(12, 12, 3)),
    )
    there, _ = make_tasks(family, None, pairs, 14, 0, {})
    made = np.concatenate(list(there.make(state_of())))
    np.testing.assert_array_equal(made[:, 0, 0, 0], 254 - 5 * real.drawn(40, 14))
    found = by_name(evaluate(family, None, state_of(), pairs, ["l1"], samples=14), "a2b")
    assert (found["l1"].value, found["l1"].generated) == (4, 14)
    inks = data.open("attributes:digits", split="test")
    order = np.argsort(inks.arrays["attributes"].argmax(1), kind="stable")
    inks = dataclasses.replace(
        inks, arrays={name: array[order] for name, array in inks.arrays.items()}
    )
    for task in make_tasks(inker(), SimpleNamespace(**INKS), inks, 10, 0, {}):
        shown = inks.arrays["attributes"][task.source.index].sum(0)
        none, fewer, more = sorted(shown)
        assert (none, fewer + more) == (0, 10)
        assert fewer >= 1  # from both of the other inks


def test_sixteen_bits_are_given_to_a_translator_as_they_are():
    a = np.random.default_rng(0).integers(0, 65536, (9, 12, 12, 1)).astype(np.uint16)
    seen = []

    def translate(config, state, images, *, direction="a2b"):
        jax.debug.callback(lambda values: seen.append(np.asarray(values)), images)
        return images

    family = SimpleNamespace(
        __name__="a.keeper",
        batch_spec=spec_of(a=(12, 12, 1), b=(12, 12, 1)),
        translate=translate,
        conditioning=both_ways,
    )
    task = make_tasks(family, None, data.from_domains("fine", a, a, independent=False), 9, 0, {})[0]
    made = np.concatenate(list(task.make(state_of())))
    jax.effects_barrier()
    np.testing.assert_allclose(seen[0], a / 32767.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(made, np.rint(a / 257))


def inker(wrong=False):
    """Translates digits between inks, truly or always to the first."""

    def translate(config, state, images, attributes, *, sets=None, key=None, first=0):
        value = (images.max(-1, keepdims=True) + 1) / 2
        inks = jnp.array(list(digit_views.INKS.values()), jnp.float32)
        colour = jnp.broadcast_to(inks[:1], (len(images), 3)) if wrong else attributes @ inks
        return jnp.rint(colour[:, None, None, :] * value) / 127.5 - 1

    return SimpleNamespace(
        __name__="an.inker",
        batch_spec=spec_of(image=(16, 16, 3), attributes=(3,)),
        translate=translate,
    )


def test_each_target_domain_is_judged_and_true_inks_are_known():
    digits, config = data.open("attributes:digits", split="test"), SimpleNamespace(**INKS)
    names = ["attribute_accuracy", "l1", "reconstruction_l1", "fid"]
    found = evaluate(inker(), config, state_of(), digits, names, network=NETWORK)
    assert [one.subject for one in found if one.metric == "l1"] == ["to red", "to green", "to blue"]
    for one in found:
        if one.metric in ("l1", "reconstruction_l1"):
            assert one.value == 0
        if one.metric == "attribute_accuracy":
            assert one.value == one.floor == 1
            assert one.fitted == f"149 of {digits.fingerprint}"  # half of the real images
        if one.metric == "fid":
            assert (one.real, one.generated) == (99, 198)
            assert one.value < 0.05
    wrong = evaluate(inker(wrong=True), config, state_of(), digits, names[:1], network=NETWORK)
    accuracy = {one.subject: one.value for one in wrong if one.metric == "attribute_accuracy"}
    assert accuracy == {"to red": 1, "to green": 0, "to blue": 0}


def test_a_judge_reads_attributes_where_there_is_one(monkeypatch):
    digits, config = data.open("attributes:digits", split="test"), SimpleNamespace(**INKS)
    judge = judges.Judge("attributes", "f" * 64, None, None, {"outputs": ["blue", "green", "red"]})

    def read(judge, images):
        brightest = images.reshape(len(images), -1, 3).max(1).argmax(1)  # 2 is blue
        return np.eye(3, dtype=np.uint8)[2 - brightest]

    monkeypatch.setattr("jaxgan.metrics.ground.attributes", read)
    found = evaluate(
        inker(wrong=True), config, state_of(), digits, ["attribute_accuracy"], judge=judge
    )
    assert {
        one.subject: (one.value, one.floor) for one in found if one.metric == "attribute_accuracy"
    } == {
        "to red": (1, 1),
        "to green": (0, 1),
        "to blue": (0, 1),
    }
    assert found[0].network == "judge of attributes"
    other = judges.Judge("attributes", "f" * 64, None, None, {"outputs": ["smile"]})
    with pytest.raises(ValueError, match="the judge tells smile, not what attributes:digits has"):
        evaluate(inker(), config, state_of(), digits, ["attribute_accuracy"], judge=other)


def test_maps_are_read_off_painted_digits():
    digits = data.open("layout:digits", split="test")
    images = digits.arrays["image"]
    np.testing.assert_array_equal(real.painted_classes(images), digits.arrays["layout"])

    def translate(config, state, layouts, *, first=0, key=None):
        return taken(state.ema["images"], first, len(layouts))

    family = SimpleNamespace(
        __name__="a.mapper",
        batch_spec=spec_of(image=(16, 16, 3), layout=(16, 16)),
        translate=translate,
    )
    stored = np.concatenate([images, images])
    stored[:, :, :8] = 255  # as paper of another tone: the left half reads as paper
    names = ["miou", "pixel_accuracy", "l1"]
    results = by_name(evaluate(family, None, state_of(images=normal(stored)), digits, names))
    true = digits.arrays["layout"]
    read = np.where(np.arange(16)[None, None] < 8, real.painted_classes(stored[:1])[0, 0, 0], true)
    np.testing.assert_allclose(results["pixel_accuracy"].value, (read == true).mean(), rtol=1e-9)
    iou = [((read == k) & (true == k)).sum() / ((read == k) | (true == k)).sum() for k in range(3)]
    np.testing.assert_allclose(results["miou"].value, np.mean(iou), rtol=1e-9)
    assert results["miou"].floor == results["pixel_accuracy"].floor == 1


# -------------------------------------------------------------------------------------------------------------------- files


def test_two_sets_of_files_are_compared():
    found = evaluate_files(
        data.from_arrays("made", TEST.arrays["image"][:100] // 2), TEST, ["fid"], network=NETWORK
    )
    moments = [
        frechet.moments(extract(NETWORK, images).features)
        for images in (TEST.arrays["image"], TEST.arrays["image"][:100] // 2)
    ]
    np.testing.assert_allclose(by_name(found)["fid"].value, frechet.distance(*moments), rtol=1e-5)
    with pytest.raises(
        ValueError, match=r"l1 cannot be measured of images from files: ask for some of fid"
    ):
        evaluate_files(TEST, TEST, ["l1"], network=NETWORK)


@pytest.mark.parametrize(
    ("spec", "name"),
    [("digits", "digits"), ("paired:digits?task=outline", "digits"), ("idx:/data/fashion-mnist", "fashion_mnist"), ("tfds:fashion_mnist", "fashion_mnist"),
     ("idx:/data/mnist", "mnist"), ("idx:/data/MNIST/raw", "mnist"), ("tfds:mnist", "mnist"), ("folder:/home/me/mnist/", "mnist")],
)  # fmt: skip
def test_the_network_is_that_of_the_data(spec, name):
    assert default_network(spec) == name


ELSEWHERE = [
    "folder:faces",
    "tfds:kmnist",
    "idx:emnist/letters",
    "unpaired:maps",
    "folder:mnist/faces",
    "folder:digits/faces",
    "folder:digits",
]


@pytest.mark.parametrize("spec", ELSEWHERE)
def test_other_data_need_a_network_named(spec):
    with pytest.raises(ValueError, match="no feature network comes with the package"):
        default_network(spec)


def test_held_out_images_are_opened_where_there_are_any(tmp_path):
    held_out, split = real.open_like(data.open("unpaired:digits"))
    assert (held_out.name, split, held_out.independent, held_out.size) == (
        "paired:digits",
        "test",
        False,
        297,
    )
    from PIL import Image

    for i in range(3):
        Image.fromarray(np.full((8, 8), 80 * i, np.uint8)).save(tmp_path / f"{i}.png")
    assert real.open_like(data.open(f"folder:{tmp_path}")) is None
    assert real.open_real(f"folder:{tmp_path}")[1] == "train"


# ------------------------------------------------------------------------------------------------------------------ families


EVERY = [name if name == "cgan" else pytest.param(name, marks=pytest.mark.slow) for name in CASES]


@pytest.mark.parametrize("name", EVERY)
def test_every_family_is_evaluated_by_what_applies_to_it(name):
    family, config, spec, _ = CASES[name]
    shapes = [
        wanted.shape for wanted in family.batch_spec(config, 1).values() if len(wanted.shape) == 4
    ]
    channels = (
        shapes[0][3]
        if len({shape[3] for shape in shapes}) == 1
        else tuple(shape[3] for shape in shapes)
    )
    dataset, split = real.open_real(spec, image_size=config.image_size, channels=channels)
    names = table.offered(family, config, dataset)
    assert ("ssim" in names) == ("l1" in names and min(config.image_size) > 10)
    state = jax.jit(family.init, static_argnums=0)(config, jax.random.key(0))
    found = evaluate(
        family, config, state, dataset, names, network=NETWORK, samples=40, split=split
    )
    assert {one.metric for one in found} >= set(names)
    assert all(np.isfinite(one.value) or one.metric == "psnr" for one in found)
    assert {one.split for one in found} == {"test"}
    subjects = {one.subject for one in found if one.metric == "fid"}
    assert subjects == {
        "cyclegan": {"a2b", "b2a"},
        "pix2pix": {"a2b"},
        "stargan": {"to red", "to green", "to blue"},
    }.get(name, {""})


def test_path_lengths_are_measured_between_a_family_s_own_codes():
    family = painter(image=(8, 8, 1))
    family.latents = lambda config, key, n: jax.random.normal(key, (n, 2, 5))
    family.styles_of, family.mix = lambda config, state, latents: latents, None
    traced = []
    family.synthesise = lambda config, state, w: (
        traced.append(w.shape) or jnp.tanh(w.sum(1) @ state.ema["map"]).reshape(-1, 8, 8, 1)
    )
    stored = {
        "images": padded(TEST.arrays["image"]),
        "map": np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32),
    }
    measure = evaluator(family, None, TEST, ["ppl"], network=NETWORK, samples=64)
    found = {
        scale: by_name(measure(state_of(**(stored | {"map": scale * stored["map"]}))))["ppl"]
        for scale in (0.01, 0.02)
    }
    assert len(traced) == 2  # both points of a pair, and once for all states
    assert found[0.01].value > 0
    np.testing.assert_allclose(
        found[0.02].value / found[0.01].value, 4, rtol=0.2
    )  # as good as linear: twice the way, four times its square
    assert (found[0.01].generated, found[0.01].network) == (128, "tiny")


def test_path_lengths_are_of_all_classes_of_a_sorted_set():
    family, asked = painter(image=(8, 8, 1), label=()), []
    family.conditioning, family.mix = lambda config: Conditioning("class", 10), None
    family.latents = lambda config, key, n: jax.random.normal(key, (n, 1, 64))
    family.styles_of = lambda config, state, latents, labels: asked.append(labels) or latents
    family.synthesise = lambda config, state, w: jnp.tanh(w).reshape(-1, 8, 8, 1)
    order = np.argsort(TEST.arrays["label"], kind="stable")
    dataset = dataclasses.replace(
        TEST,
        arrays={name: array[order] for name, array in TEST.arrays.items()},
        fingerprint="sorted",
    )
    evaluate(
        family,
        SimpleNamespace(classes=10),
        state_of(images=padded(TEST.arrays["image"])),
        dataset,
        ["ppl"],
        network=NETWORK,
        samples=100,
    )
    assert set(np.concatenate(asked)) == set(range(10))
    np.testing.assert_array_equal(asked[0], asked[1])
