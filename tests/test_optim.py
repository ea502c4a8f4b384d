"""Optimisers against NumPy, step by step, and against torch where it is installed; schedules against their closed forms."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan.optim import NAMES, Optimizer, build, learning_rate, momentum

RNG = np.random.default_rng(0)
PARAMS = {
    "kernel": RNG.normal(size=(3, 2)).astype(np.float32),
    "bias": RNG.normal(size=2).astype(np.float32),
}
GRADS = [
    {
        k: (RNG.normal(size=v.shape) * 10.0 ** RNG.integers(-3, 3, v.shape)).astype(np.float32)
        for k, v in PARAMS.items()
    }
    for _ in range(6)
]
BATCH = 100
SETTINGS = {
    "adam": Optimizer(beta1=0.5, beta2=0.9, learning_rate=0.01),
    "adam, beta1 0": Optimizer(beta1=0.0, beta2=0.99, epsilon=1e-4),
    "sgd": Optimizer("sgd", learning_rate=0.1),
    "momentum": Optimizer("sgd", learning_rate=0.1, momentum=0.9),
    "rmsprop": Optimizer("rmsprop", learning_rate=5e-5),
    "rmsprop 0.9": Optimizer("rmsprop", learning_rate=1e-3, decay=0.9, epsilon=1e-6),
    "scheduled momentum": Optimizer(
        "sgd",
        learning_rate=0.1,
        momentum=0.5,
        final_momentum=0.7,
        momentum_images=300,
        half_life=200.0,
        min_learning_rate=0.03,
    ),
    "decaying adam": Optimizer(learning_rate=0.01, constant_images=200, decay_images=400),
}


def numpy_steps(optimizer, grads, params):
    """The textbook updates, float64, image clock 0, BATCH, 2 * BATCH, ..."""
    params = {k: v.astype(np.float64) for k, v in params.items()}
    first = {k: np.zeros_like(v) for k, v in params.items()}
    second = {k: np.zeros_like(v) for k, v in params.items()}
    for t, grad in enumerate(grads):
        rate, friction = (
            float(learning_rate(optimizer, t * BATCH)),
            float(momentum(optimizer, t * BATCH)),
        )
        for k in params:
            g = grad[k].astype(np.float64)
            if optimizer.name == "sgd":
                first[k] = friction * first[k] + g
                step = first[k]
            elif optimizer.name == "rmsprop":
                second[k] = optimizer.decay * second[k] + (1 - optimizer.decay) * g**2
                step = g / (np.sqrt(second[k]) + optimizer.epsilon)
            else:
                first[k] = optimizer.beta1 * first[k] + (1 - optimizer.beta1) * g
                second[k] = optimizer.beta2 * second[k] + (1 - optimizer.beta2) * g**2
                mean, square = (
                    first[k] / (1 - optimizer.beta1 ** (t + 1)),
                    second[k] / (1 - optimizer.beta2 ** (t + 1)),
                )
                step = mean / (np.sqrt(square) + optimizer.epsilon)
            params[k] = params[k] - rate * step
    return params


def jax_steps(optimizer, grads, params):
    state = build(optimizer).init(params)

    @jax.jit
    def step(params, state, grad, images):
        updates, state = build(optimizer, images).update(grad, state, params)
        return optax.apply_updates(params, updates), state

    for t, grad in enumerate(grads):
        params, state = step(params, state, grad, jnp.int32(t * BATCH))
    return params, state


# ----------------------------------------------------------------------------------------------------------------- optimisers


@pytest.mark.parametrize("name", SETTINGS)
def test_equal_to_numpy(name):
    params, _ = jax_steps(SETTINGS[name], GRADS, PARAMS)
    expected = numpy_steps(SETTINGS[name], GRADS, PARAMS)
    for k in PARAMS:
        assert params[k].dtype == jnp.float32
        np.testing.assert_allclose(params[k], expected[k], rtol=2e-6, atol=2e-6)
        assert np.max(np.abs(expected[k] - PARAMS[k])) > 1e-4


@pytest.mark.parametrize(
    "name", ["adam", "adam, beta1 0", "sgd", "momentum", "rmsprop", "rmsprop 0.9"]
)
def test_equal_to_torch(name):
    torch = pytest.importorskip(
        "torch", reason="compares with PyTorch's optimisers where torch is installed"
    )
    o = SETTINGS[name]
    params = {k: torch.nn.Parameter(torch.tensor(v)) for k, v in PARAMS.items()}
    make = {
        "adam": lambda p: torch.optim.Adam(
            p, lr=o.learning_rate, betas=(o.beta1, o.beta2), eps=o.epsilon
        ),
        "sgd": lambda p: torch.optim.SGD(p, lr=o.learning_rate, momentum=o.momentum),
        "rmsprop": lambda p: torch.optim.RMSprop(
            p, lr=o.learning_rate, alpha=o.decay, eps=o.epsilon
        ),
    }[o.name]
    reference = make(list(params.values()))
    for grad in GRADS:
        for k, param in params.items():
            param.grad = torch.tensor(grad[k])
        reference.step()
    ours, _ = jax_steps(o, GRADS, PARAMS)
    for k in PARAMS:
        np.testing.assert_allclose(ours[k], params[k].detach().numpy(), rtol=2e-6, atol=2e-6)


def test_adam_with_zero_and_tiny_gradients_equals_optax():
    grads = [{"w": jnp.float32([0.0, 1e-9, -1e-12, 1e-5])}] * 3
    params = {"w": jnp.ones(4)}
    ours, _ = jax_steps(Optimizer(), grads, params)
    state, theirs = optax.adam(2e-4, b1=0.5).init(params), params
    for grad in grads:
        updates, state = optax.adam(2e-4, b1=0.5).update(grad, state)
        theirs = optax.apply_updates(theirs, updates)
    np.testing.assert_array_equal(ours["w"], theirs["w"])


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_clip_norm_scales_the_whole_gradient_before_the_optimiser(scale):
    grads = [jax.tree.map(lambda g: scale * g, GRADS[0])]
    norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in grads[0].values()))
    assert (norm > 5) == (scale > 1)
    params, _ = jax_steps(Optimizer("sgd", learning_rate=1.0, clip_norm=5.0), grads, PARAMS)
    for k in PARAMS:
        np.testing.assert_allclose(
            params[k], PARAMS[k] - grads[0][k] * min(1, 5 / norm), rtol=1e-5, atol=1e-6
        )


# ------------------------------------------------------------------------------------------------------------------ schedules


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (0, 2e-4),
        (99, 2e-4),
        (100, 2e-4),
        (101, 2e-4 * 0.98),
        (125, 1e-4),
        (149, 2e-4 * 0.02),
        (150, 0.0),
        (10**9, 0.0),
    ],
)
def test_linear_decay(images, expected):
    rate = learning_rate(Optimizer(constant_images=100, decay_images=50), images)
    assert (rate.dtype, rate.shape) == (jnp.float32, ())
    np.testing.assert_allclose(rate, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("images", "expected"),
    [(0, 0.1), (500, 0.1 / 2**0.5), (1000, 0.05), (3000, 0.0125), (4000, 0.01), (10**9, 0.01)],
)
def test_exponential_decay_to_the_floor(images, expected):
    np.testing.assert_allclose(
        learning_rate(
            Optimizer(learning_rate=0.1, half_life=1000.0, min_learning_rate=0.01), images
        ),
        expected,
        rtol=1e-6,
    )


def test_both_decays_multiply_and_the_floor_holds_for_both():
    optimizer = Optimizer(
        learning_rate=1.0,
        half_life=100.0,
        constant_images=100,
        decay_images=200,
        min_learning_rate=0.1,
    )
    np.testing.assert_allclose(
        [learning_rate(optimizer, i) for i in (0, 100, 200, 300)], [1, 0.5, 0.125, 0.1], rtol=1e-6
    )


def test_constant_without_a_schedule():
    for images in (0, 1, 2**31 - 1):
        assert learning_rate(Optimizer(learning_rate=3e-4), images) == np.float32(3e-4)
        assert momentum(Optimizer("sgd", momentum=0.9), images) == np.float32(0.9)


def test_last_images_of_long_runs_are_resolved():
    # 25 million images do not fit float32: the difference to the start of the decay is taken in integers.
    optimizer = Optimizer(learning_rate=1.0, constant_images=25_000_001, decay_images=4)
    assert [float(learning_rate(optimizer, jnp.int32(25_000_001 + i))) for i in range(5)] == [
        1.0,
        0.75,
        0.5,
        0.25,
        0.0,
    ]


@pytest.mark.parametrize(
    ("images", "expected"),
    [(0, 0.5), (125, 0.55), (250, 0.6), (500, 0.7), (501, 0.7), (10**9, 0.7)],
)
def test_momentum_ramp(images, expected):
    optimizer = Optimizer("sgd", momentum=0.5, final_momentum=0.7, momentum_images=500)
    np.testing.assert_allclose(momentum(optimizer, images), expected, rtol=1e-6)
    np.testing.assert_allclose(
        jax.jit(lambda i: momentum(optimizer, i))(jnp.int32(images)), expected, rtol=1e-6
    )


# ---------------------------------------------------------------------------------------------------------- inside other JAX code


@pytest.mark.parametrize("name", SETTINGS)
def test_state_is_the_same_tree_at_every_image_count_and_under_scan(name):
    optimizer = replace(SETTINGS[name], clip_norm=1.0)
    state = build(optimizer).init(PARAMS)

    def shapes(tree):
        return jax.tree.structure(tree), [
            (x.shape, x.dtype) for x in map(jnp.asarray, jax.tree.leaves(tree))
        ]

    for images in (0, 150, jnp.int32(10**6)):
        assert shapes(build(optimizer, images).init(PARAMS)) == shapes(state)
        assert shapes(build(optimizer, images).update(GRADS[0], state, PARAMS)[1]) == shapes(state)

    def body(carry, inputs):
        grad, images = inputs
        updates, state = build(optimizer, images).update(grad, carry[1], carry[0])
        return (optax.apply_updates(carry[0], updates), state), None

    stacked = jax.tree.map(lambda *x: jnp.stack(x), *GRADS)
    (params, last), _ = jax.lax.scan(
        body, (PARAMS, state), (stacked, BATCH * jnp.arange(len(GRADS)))
    )
    assert shapes(last) == shapes(state)
    expected, _ = jax_steps(optimizer, GRADS, PARAMS)
    for k in PARAMS:
        np.testing.assert_allclose(params[k], expected[k], rtol=1e-6, atol=1e-7)


def test_memory_is_what_the_method_needs():
    size = sum(v.size for v in PARAMS.values())
    floats = {
        name: sum(x.size for x in jax.tree.leaves(build(o).init(PARAMS)) if x.dtype == jnp.float32)
        for name, o in SETTINGS.items()
    }
    assert floats["sgd"] == 0
    assert floats["momentum"] == floats["rmsprop"] == size
    assert floats["adam"] == 2 * size


@pytest.mark.parametrize("beta1", [0.0, 0.5, 0.9])
def test_adam_updates_donated_arrays_in_place(beta1):
    """No array is copied first: a compiler that recomputes the average gradient inside the parameters' update would have to (optax's Adam at 0.5)."""

    def copies(transformation):
        def step(params, state, grads):
            updates, state = transformation.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        weights = jnp.zeros((64, 64))
        text = (
            jax.jit(step, donate_argnums=(0, 1))
            .lower(weights, transformation.init(weights), weights)
            .compile()
            .as_text()
        )
        return sum("f32[64,64]" in line and " copy(" in line for line in text.splitlines())

    assert copies(build(Optimizer(beta1=beta1))) == 0
    if beta1 == 0.5:
        assert (
            copies(optax.adam(2e-4, 0.5)) > 0
        )  # else this test no longer sees what it guards against


def quadratic_after(optimizer, steps):
    """|w|^2 / 2 after `steps` on it, with one weight that never gets a gradient."""
    params = jnp.array([1.0, -2.0, 0.0])
    state = build(optimizer).init(params)
    for t in range(steps):
        updates, state = build(optimizer, t * BATCH).update(params, state, params)
        params = optax.apply_updates(params, updates)
    return jnp.sum(params**2) / 2


@pytest.mark.parametrize("name", NAMES)
def test_derivative_by_the_learning_rate(name):
    def loss(rate, steps):
        return quadratic_after(Optimizer(name, learning_rate=rate, momentum=0.5), steps)

    # One step moves w by -rate * direction, so the derivative at rate r is -direction . (w - r direction).
    w = np.array([1.0, -2.0])
    direction = {"sgd": w, "adam": np.sign(w), "rmsprop": np.sign(w) / np.sqrt(0.01)}[name]
    np.testing.assert_allclose(
        jax.grad(loss)(0.1, 1), -direction @ (w - 0.1 * direction), rtol=1e-5
    )
    slope = jax.grad(loss)(0.02, 3)
    numeric = (loss(0.02 + 1e-3, 3) - loss(0.02 - 1e-3, 3)) / 2e-3
    np.testing.assert_allclose(slope, numeric, rtol=1e-2)


def test_derivatives_by_every_setting_are_finite_and_right():
    def loss(half_life, start):
        return quadratic_after(
            Optimizer("sgd", learning_rate=0.1, momentum=start, half_life=half_life), 3
        )

    for argnum, delta in ((0, 2.0), (1, 1e-2)):
        point = [150.0, 0.3]
        high, low = list(point), list(point)
        high[argnum] += delta
        low[argnum] -= delta
        np.testing.assert_allclose(
            jax.grad(loss, argnum)(*point), (loss(*high) - loss(*low)) / (2 * delta), rtol=2e-2
        )
    slopes = jax.grad(
        lambda b1, b2, eps: quadratic_after(Optimizer(beta1=b1, beta2=b2, epsilon=eps), 3),
        (0, 1, 2),
    )(0.5, 0.9, 1e-8)
    assert np.all(np.isfinite(slopes))


def test_learning_rates_can_be_mapped_over():
    rates = jnp.array([1e-3, 1e-2, 0.1])
    mapped = jax.vmap(lambda rate: quadratic_after(Optimizer("sgd", learning_rate=rate), 2))(rates)
    np.testing.assert_allclose(mapped, 2.5 * (1 - rates) ** 4, rtol=1e-5)


# ----------------------------------------------------------------------------------------------------------------- validation


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "adamw"}, r"Optimizer.name must be one of 'adam', 'sgd', 'rmsprop', got 'adamw'"),
        ({"learning_rate": -1e-3}, r"learning_rate must be at least 0, got -0\.001"),
        ({"learning_rate": float("nan")}, r"learning_rate must be finite .*, got nan"),
        ({"beta1": 1.0}, r"beta1 must be at least 0 and below 1, got 1\.0"),
        ({"beta2": -0.1}, r"beta2 must be at least 0 and below 1"),
        ({"decay": 1.5}, r"decay must be at least 0 and below 1"),
        ({"epsilon": -1e-8}, r"epsilon must be at least 0"),
        ({"momentum": 1.1}, r"momentum must be between 0 and 1, got 1\.1"),
        ({"final_momentum": 0.7}, r"final_momentum needs momentum_images"),
        ({"momentum_images": -1}, r"momentum_images must be at least 0"),
        ({"clip_norm": -1.0}, r"clip_norm must be at least 0"),
        ({"decay_images": -5}, r"decay_images must be at least 0"),
        ({"half_life": -2.0}, r"half_life must be at least 0"),
        (
            {"min_learning_rate": 1e-3},
            r"min_learning_rate must be between 0 and 0\.0002, got 0\.001",
        ),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Optimizer(**settings)


def test_hashable_and_comparable():
    assert hash(Optimizer()) == hash(Optimizer())
    assert Optimizer() != Optimizer(learning_rate=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_on_cuda_only_gradients_of_kernels_are_laid_out_as_the_kernels_are(name):
    optimizer = build(Optimizer(name))
    params = {"kernel": jnp.zeros((3, 3, 2, 4)), "dense": jnp.zeros((5, 6)), "bias": jnp.zeros(4)}
    update = jax.jit(optimizer.update).trace(params, optimizer.init(params), params)
    layouts = {
        platform: update.lower(lowering_platforms=(platform,)).as_text().count("@LayoutConstraint")
        for platform in ("cpu", "cuda", "tpu")
    }
    assert layouts == {"cpu": 0, "cuda": 1, "tpu": 0}


def test_gradients_of_kernels_are_updated_one_by_one_under_vmap_and_differentiated():
    optimizer, kernels = (
        build(Optimizer(learning_rate=0.1)),
        jnp.asarray(RNG.normal(size=(2, 3, 3, 2, 4)), jnp.float32),
    )

    def after(kernel):
        updates, _ = optimizer.update(jnp.sin(kernel), optimizer.init(kernel), kernel)
        return optax.apply_updates(kernel, updates)

    np.testing.assert_allclose(
        jax.vmap(after)(kernels), jnp.stack([after(kernel) for kernel in kernels]), rtol=1e-6
    )
    assert np.isfinite(jax.grad(lambda kernel: jnp.sum(after(kernel)))(kernels[0])).all()
