"""Attributes of arrays at hand, several sets as one, what a family is told that does not fit, and how often each attribute is 1."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jaxgan.data
from experiments import data_check
from jaxgan.data import combine, from_arrays, with_attributes
from jaxgan.errors import DataError
from jaxgan.family import Conditioning

RNG = np.random.default_rng(5)


@pytest.fixture(autouse=True)
def nowhere_else(cache):
    """Caches go to a temporary folder."""


def make(folder, *names, size=(4, 6)):
    """PNG pictures of noise; returns them by name."""
    made = {}
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        made[name] = RNG.integers(0, 256, (*size, 3)).astype(np.uint8)
        Image.fromarray(made[name]).save(folder / name)
    return made


# ------------------------------------------------------------------------------------------------------------ arrays at hand


def small(name, rows, names, groups=(), size=(2, 2), dtype=np.uint8):
    rows = np.array(rows)
    return with_attributes(
        from_arrays(name, RNG.integers(0, 256, (len(rows), *size, 3)).astype(dtype)),
        rows,
        names,
        groups,
    )


@pytest.mark.parametrize(
    ("rows", "names", "groups", "told"),
    [
        ([[1, 0]], ("a",), (), r"x: attributes must be 0 or 1 and \[1, 1\], got int64 \[1, 2\]"),
        ([[1, 2]], ("a", "b"), (), "must be 0 or 1"),
        ([[1.0, 0.0]], ("a", "b"), (), "must be 0 or 1 .*, got float64"),
        ([[1, 0]], ("a", "a"), (), "the attributes a, a must have different names"),
        ([[1, 0]], ("a", "b"), (("g", 3),), "must have the 2 attributes as their columns"),
        (
            [[1, 0], [1, 1]],
            ("a", "b"),
            (("g", 2),),
            "of the group g are exclusive, but example 1 has not exactly one",
        ),
        (
            [[0, 0, 0], [1, 0, 1]],
            ("a", "b", "c"),
            (("g", 1), ("h", 2)),
            "of the group h are exclusive, but example 0",
        ),
    ],
)
def test_attributes_at_hand_must_fit(rows, names, groups, told):
    with pytest.raises(DataError, match=told):
        small("x", rows, names, groups)


def test_combined_sets_have_the_union_of_attributes():
    a = small("A", [[1, 0], [0, 1], [1, 1]], ("male", "young"))
    b = small("B", [[1, 0, 0], [0, 1, 1]], ("happy", "sad", "young"), (("mood", 2), ("young", 1)))
    c = small("C", [[0, 1], [1, 0]], ("glass", "wood"), (("mood", 2),))
    data = combine([a, b, c])
    np.testing.assert_array_equal(
        data.arrays["image"], np.concatenate([x.arrays["image"] for x in (a, b, c)])
    )
    assert data.attributes == ("male", "young", "happy", "sad", "glass", "wood")
    assert data.groups == (("male", 1), ("young", 1), ("mood", 2), ("mood 2", 2))
    rows = [
        [1, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0],
        [0, 1, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 1, 0],
    ]
    np.testing.assert_array_equal(data.arrays["attributes"], rows)
    np.testing.assert_array_equal(data.arrays["set"], [0, 0, 0, 1, 1, 2, 2])
    assert (data.arrays["attributes"].dtype, data.arrays["set"].dtype) == (np.uint8, np.int32)
    assert data.known == (
        (True, True, False, False, False, False),
        (False, True, True, True, False, False),
        (False, False, False, False, True, True),
    )
    assert (data.name, data.size, data.classes) == ("A + B + C", 7, ())
    assert data.fingerprint != combine([b, a, c]).fingerprint
    assert combine([a, small("D", [[1]], ("old",))]).groups == ()
    rows = jaxgan.data.batch(data, np.array([4, 0]))
    np.testing.assert_array_equal(rows["attributes"], [[0, 1, 0, 1, 0, 0], [1, 0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(rows["set"], [1, 0])


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (None, "there must be several sets to combine, got 1"),
        (
            lambda: small("B", [[1]], ("old",), size=(2, 3)),
            "A has images of 2x2x3 uint8, B of 2x3x3 uint8: open both with one image_size",
        ),
        (
            lambda: small("B", [[1]], ("old",), dtype=np.uint16),
            "A has images of 2x2x3 uint8, B of 2x2x3 uint16",
        ),
        (
            lambda: from_arrays("B", np.zeros((1, 2, 2, 3), np.uint8)),
            "B cannot be combined: single sets of images with attributes are needed",
        ),
        (
            lambda: combine([small("B", [[1]], ("b",)), small("C", [[1]], ("c",))]),
            r"B \+ C cannot be combined",
        ),
        (
            lambda: small("B", [[1, 0]], ("sad", "happy"), (("mood", 2),)),
            r"B and another set share .* \(happy, sad; sad, happy\): give them other names",
        ),
        (lambda: small("B", [[1]], ("sad",)), "B and another set share some attributes of a group"),
    ],
)
def test_sets_that_cannot_be_combined(other, told):
    a = small("A", [[1, 0]], ("happy", "sad"), (("mood", 2),))
    with pytest.raises(DataError, match=told):
        combine([a] if other is None else [a, other()])


# -------------------------------------------------------------------------------------------------------- several sets, one spec


def two_sets(folder):
    """(spec of a set with a table of Male and Young, spec of one with the sub-folders happy and sad, all their pictures)."""
    made = make(folder / "a", "train/1.png", "train/2.png", "test/3.png") | make(
        folder / "b", "train/happy/1.png", "train/sad/2.png", "test/happy/3.png"
    )
    (folder / "t.csv").write_text("file,Male,Young\n1.png,1,0\n2.png,0,1\n3.png,1,1\n")
    return (
        f"attributes:{folder / 'a'}?table=t.csv&select=Young,Male",
        f"attributes:{folder / 'b'}",
        made,
    )


def test_specs_joined_by_plus(tmp_path):
    a, b, made = two_sets(tmp_path)
    data = jaxgan.data.open(f"{a}+{b}", progress=False)
    apart = combine([jaxgan.data.open(spec, progress=False) for spec in (a, b)])
    assert data.name == f"{a}+{b}", "as it can be opened again"
    assert (data.fingerprint, data.attributes, data.groups, data.known) == (
        apart.fingerprint,
        apart.attributes,
        apart.groups,
        apart.known,
    )
    assert data.attributes == ("Young", "Male", "happy", "sad")
    assert data.known == ((True, True, False, False), (False, False, True, True))
    np.testing.assert_array_equal(
        data.arrays["image"],
        [made[f"train/{name}"] for name in ("1.png", "2.png", "happy/1.png", "sad/2.png")],
    )
    np.testing.assert_array_equal(
        data.arrays["attributes"], [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    np.testing.assert_array_equal(data.arrays["set"], [0, 0, 1, 1])
    test = jaxgan.data.open(f"{a}+{b}", split="test", image_size=(2, 2), channels=1, progress=False)
    assert (test.known, test.arrays["image"].shape) == (data.known, (2, 2, 2, 1))
    np.testing.assert_array_equal(test.arrays["attributes"], [[1, 1, 0, 0], [0, 0, 1, 0]])


def test_specs_that_cannot_be_joined(tmp_path, failure):
    a, b, _ = two_sets(tmp_path)
    make(tmp_path / "c", "x/1.png", "y/2.png", size=(3, 3))
    c = f"attributes:{tmp_path / 'c'}"
    assert (
        f"{a} has images of 4x6x3 uint8, {c} of 3x3x3 uint8: open both with one image_size"
        in failure(f"{a}+{c}")
    )
    assert (
        f"folder:{tmp_path / 'b'} cannot be combined: single sets of images with attributes"
        in failure(f"folder:{tmp_path / 'b'}+{b}")
    )
    assert "'attributes:' is incomplete: write attributes:PATH" in failure(f"{a}+attributes:")
    assert "selects the unknown 'Hat': known are Male, Young" in failure(
        f"{b}+{a.replace('Male', 'Hat')}"
    )


# -------------------------------------------------------------------------------------------------------------- what does not fit


def test_the_family_is_told_what_does_not_fit():
    def spec(attributes, **more):
        wanted = {"image": (2, 2, 2, 3), "attributes": (2, attributes)}
        return {
            name: jax.ShapeDtypeStruct(shape, jnp.float32)
            for name, shape in (wanted | more).items()
        }

    a = small("A", [[1, 0], [0, 1]], ("male", "young"))
    jaxgan.data.check(a, spec(2))
    jaxgan.data.check(combine([a, a]), spec(2, set=(2,)))
    with pytest.raises(
        DataError,
        match=r"A has 2 attributes \(male, young\), but the family is configured for 3: configure it for 2",
    ):
        jaxgan.data.check(a, spec(3))
    jaxgan.data.check(a, spec(2), Conditioning("attributes", attributes=("male", "young")))
    with pytest.raises(
        DataError,
        match=r"A has the attributes male, young, but the family is configured for young, male: .* \(\?select=NAME,NAME\)",
    ):
        jaxgan.data.check(a, spec(2), Conditioning("attributes", attributes=("young", "male")))
    with pytest.raises(
        DataError, match="A has no sets, which this family needs: combine several sets"
    ):
        jaxgan.data.check(a, spec(2, set=(2,)))
    with pytest.raises(
        DataError,
        match="x has no attributes, which this family needs: use data of attributes, such as attributes:DIR",
    ):
        jaxgan.data.check(from_arrays("x", np.zeros((2, 2, 2, 3), np.uint8)), spec(2))


def test_the_family_is_told_of_groups_and_sets_that_do_not_fit():
    a, b = (
        small("A", [[1, 0], [0, 1]], ("male", "young")),
        small("B", [[1, 1], [0, 0]], ("male", "young")),
    )
    both, wanted = (
        combine([a, small("C", [[1]], ("old",))]),
        {"image": (2, 2, 2, 3), "attributes": (2, 3), "set": (2,)},
    )
    spec = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in wanted.items()}
    one = {
        name: jax.ShapeDtypeStruct((2, 2, *shape.shape[2:]), jnp.float32)
        for name, shape in spec.items()
        if name != "set"
    }
    jaxgan.data.check(
        a, one, Conditioning("attributes", attributes=a.attributes, groups=(("x", 2),))
    )
    with pytest.raises(
        DataError,
        match="B has attributes that are not exclusive, male, young of the group x, in example 0: configure",
    ):
        jaxgan.data.check(
            b, one, Conditioning("attributes", attributes=b.attributes, groups=(("x", 2),))
        )
    jaxgan.data.check(
        both,
        spec,
        Conditioning(
            "attributes", attributes=both.attributes, known=both.known, groups=(("x", 2), ("y", 1))
        ),
    )
    with pytest.raises(
        DataError,
        match="is 2 sets that tell 2 and 1 of the attributes, but the family is configured for 2 sets that tell 3 and 1: give",
    ):
        jaxgan.data.check(
            both,
            spec,
            Conditioning(
                "attributes",
                attributes=both.attributes,
                known=((True, True, True), (False, False, True)),
            ),
        )
    del spec["set"]
    with pytest.raises(
        DataError,
        match=r"A \+ C is 2 sets that tell 2 and 1 of the attributes, but the family is configured for one set",
    ):
        jaxgan.data.check(both, spec, Conditioning("attributes", attributes=both.attributes))


# ------------------------------------------------------------------------------------------------------------------ balance


def test_the_balance_and_its_warnings(tmp_path, capsys):
    make(tmp_path / "set", "1.png", "2.png", "3.png", "4.png")
    (tmp_path / "t.csv").write_text(
        "file,hat,tie,hair\n1.png,1,0,red\n2.png,1,0,grey\n3.png,1,1,red\n4.png,1,0,red\n"
    )
    data_check.main([f"attributes:{tmp_path / 'set'}?table=t.csv"])
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "attributes 4 in 3 groups" in lines
    assert "hat 4 100.0% warning: always 1, so nothing can be learnt of it" in lines
    assert "tie 1 25.0%" in lines
    start = lines.index("hair: one of 2")
    assert lines[start + 1 : start + 3] == ["hair_grey 1 25.0%", "hair_red 3 75.0%"]
    assert not any(line.startswith("classes") for line in lines)


def test_the_balance_of_combined_sets_counts_those_that_tell():
    data = combine(
        [small("A", [[1, 0], [0, 0]], ("a", "b")), small("B", [[1, 1]] * 3 + [[0, 1]], ("b", "c"))]
    )
    lines = [" ".join(line.split()) for line in data_check.balance(data)]
    assert lines[:3] == [
        "attributes 3, each 0 or 1",
        "set 0: 2 examples, 2 attributes",
        "set 1: 4 examples, 2 attributes",
    ]
    assert lines[3:] == [
        "a 1 50.0%",
        "b 3 50.0%",
        "c 4 100.0% warning: always 1, so nothing can be learnt of it",
    ]
