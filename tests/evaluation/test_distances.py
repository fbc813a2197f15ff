"""The distances between features against closed forms, brute force, torch-fidelity and torchmetrics."""

import tracemalloc
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from limner.core.errors import UserError
from limner.evaluation import distances
from limner.evaluation.distances import Moments, frechet_distance, kernel_distance, manifold, squared_mmd

Array = NDArray[np.float64]
QUIET = {"verbose": False}


def random_features(seed: int, count: int, dimension: int, shift: float = 0.0) -> NDArray[np.float32]:
    """Correlated features, of variances about 1 and far smaller ones in some directions."""
    mixing_DD = np.random.default_rng(99).standard_normal((dimension, dimension)) * np.geomspace(1, 0.01, dimension)
    mixing_DD *= np.sqrt(dimension) / np.linalg.norm(mixing_DD)
    noise_ND = np.random.default_rng(seed).standard_normal((count, dimension))
    return (noise_ND @ mixing_DD + shift).astype(np.float32)


def moments_of(*batches: NDArray[np.floating]) -> Moments:
    moments = Moments()
    for features_ND in batches:
        moments.add(features_ND)
    return moments


def exactly(mean_D: Array, covariance_DD: Array, seed: int = 0) -> Moments:
    """Of features whose sample mean and sample covariance are these: noise that was made exactly white."""
    count = 3 * len(mean_D)
    noise_ND = np.random.default_rng(seed).standard_normal((count, len(mean_D)))
    white_ND = np.linalg.qr(noise_ND - noise_ND.mean(axis=0))[0] * np.sqrt(count - 1)
    return moments_of(white_ND @ np.linalg.cholesky(covariance_DD).T + mean_D)


def positive(seed: int, dimension: int) -> Array:
    half_DD = np.random.default_rng(seed).standard_normal((dimension, 2 * dimension)) / np.sqrt(dimension)
    return half_DD @ half_DD.T


def frechet_of_features(x_ND: NDArray[np.floating], y_MD: NDArray[np.floating]) -> float:
    """The definition without any covariance: tr sqrt(S1 S2) is the nuclear norm of X Y' / sqrt((N - 1)(M - 1))."""
    x_ND, y_MD = x_ND.astype(np.float64), y_MD.astype(np.float64)
    shift_D = x_ND.mean(axis=0) - y_MD.mean(axis=0)
    x_ND, y_MD = ((z - z.mean(axis=0)) / np.sqrt(len(z) - 1) for z in (x_ND, y_MD))
    overlap = np.linalg.svd(x_ND @ y_MD.T, compute_uv=False).sum()
    return float(shift_D @ shift_D + (x_ND**2).sum() + (y_MD**2).sum() - 2 * overlap)


# Moments --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [[], [1], [3, 4, 300], [250, 500]])
def test_moments_are_those_of_all_features_at_once(cuts: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "BATCH", 128)  # so that `add` cuts too
    features_ND = random_features(0, 700, 24)
    moments = moments_of(*np.split(features_ND, cuts))
    assert moments.count == 700
    np.testing.assert_allclose(moments.mean_D, features_ND.mean(axis=0, dtype=np.float64), rtol=1e-12, atol=1e-15)
    expected_DD = np.cov(features_ND.astype(np.float64), rowvar=False)
    np.testing.assert_allclose(moments.covariance_DD, expected_DD, rtol=1e-11, atol=1e-13)


def test_a_large_common_offset_costs_no_digits() -> None:
    one_ND, other_ND = (random_features(seed, 500, 16, shift=1000.0) for seed in (1, 2))
    expected_DD = np.cov(one_ND.astype(np.float64), rowvar=False)

    def error(covariance_DD: NDArray[np.floating]) -> float:
        return float(np.abs(covariance_DD - expected_DD).max() / np.abs(expected_DD).max())

    # How rivals lose them: sums in float32.
    count, sum_D = np.float32(len(one_ND)), one_ND.sum(axis=0)
    assert error((one_ND.T @ one_ND - np.outer(sum_D, sum_D) / count) / (count - 1)) > 1e-3

    one, other = moments_of(*np.array_split(one_ND, 9)), moments_of(*np.array_split(other_ND, 7))
    assert error(one.covariance_DD) < 1e-12
    assert frechet_distance(one, other) == pytest.approx(frechet_of_features(one_ND, other_ND), rel=1e-9)


def test_moments_of_many_features_take_the_memory_of_few() -> None:
    def peak(count: int) -> int:
        features_ND = np.ones((count, 64), np.float32)
        tracemalloc.start()
        moments_of(features_ND)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(30_000) < 1.1 * peak(3_000)


# Fréchet distance -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimension", [1, 5, 64])
def test_frechet_distance_of_diagonal_gaussians(dimension: int) -> None:
    random = np.random.default_rng(dimension)
    (mean1_D, mean2_D), (std1_D, std2_D) = random.normal(size=(2, dimension)), random.uniform(0.01, 3, (2, dimension))
    expected = ((mean1_D - mean2_D) ** 2).sum() + ((std1_D - std2_D) ** 2).sum()
    one, other = exactly(mean1_D, np.diag(std1_D**2), seed=1), exactly(mean2_D, np.diag(std2_D**2), seed=2)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(other, one) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("dimension", [2, 48])
def test_frechet_distance_of_full_gaussians(dimension: int) -> None:
    """Where S2 = T S1 T with T symmetric and positive, x -> T x moves the one onto the other at the least cost."""
    s1_DD, map_DD = positive(3, dimension), positive(4, dimension)
    s2_DD = map_DD @ s1_DD @ map_DD
    assert np.abs(s1_DD @ s2_DD - s2_DD @ s1_DD).max() > 0.1  # they do not commute: nothing can be diagonalised away
    mean1_D, mean2_D = np.random.default_rng(5).normal(size=(2, dimension))
    moved_DD = np.eye(dimension) - map_DD
    expected = ((mean1_D - mean2_D) ** 2).sum() + np.trace(moved_DD @ s1_DD @ moved_DD)
    assert frechet_distance(exactly(mean1_D, s1_DD), exactly(mean2_D, s2_DD)) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_features_drawn_from_known_gaussians() -> None:
    random = np.random.default_rng(6)
    s1_DD, map_DD, mean_D = positive(7, 4), positive(8, 4), np.array([1.0, -2.0, 0.5, 3.0])
    one_ND = random.multivariate_normal(np.zeros(4), s1_DD, 200_000).astype(np.float32)
    other_ND = random.multivariate_normal(mean_D, map_DD @ s1_DD @ map_DD, 200_000).astype(np.float32)
    moved_DD = np.eye(4) - map_DD
    expected = mean_D @ mean_D + np.trace(moved_DD @ s1_DD @ moved_DD)
    assert frechet_distance(moments_of(one_ND), moments_of(other_ND)) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(("count", "other_count"), [(40, 40), (40, 90), (90, 40), (40, 500), (500, 40)])
def test_frechet_distance_with_fewer_images_than_features(count: int, other_count: int) -> None:
    one_ND, other_ND = random_features(10, count, 128), random_features(11, other_count, 128, shift=0.1)
    one, other = moments_of(one_ND), moments_of(other_ND)
    assert frechet_distance(one, other) == pytest.approx(frechet_of_features(one_ND, other_ND), rel=1e-10)


def test_frechet_distance_where_features_are_constant_or_repeated() -> None:
    one_ND, other_ND = random_features(12, 300, 32), random_features(13, 300, 32, shift=0.2)
    for features_ND in (one_ND, other_ND):
        features_ND[:, 3] = 0.25
        features_ND[:, 7] = features_ND[:, 8]
    one, other = moments_of(one_ND), moments_of(other_ND)
    assert frechet_distance(one, other) == pytest.approx(frechet_of_features(one_ND, other_ND), rel=1e-7)
    collapsed_ND = np.tile(other_ND[:5], (100, 1))
    expected = frechet_of_features(one_ND[:20], collapsed_ND)
    assert frechet_distance(moments_of(one_ND[:20]), moments_of(collapsed_ND)) == pytest.approx(expected, rel=1e-6)
    still = moments_of(np.full((10, 4), 2.0), np.full((1, 4), 2.0))
    assert frechet_distance(still, moments_of(np.zeros((5, 4)))) == pytest.approx(16.0)


@pytest.mark.parametrize("count", [50, 500])
@pytest.mark.parametrize("dimension", [20, 40, 60, 80, 100])  # rounding falls to either side of 0
def test_a_set_is_at_no_frechet_distance_from_itself(count: int, dimension: int) -> None:
    features_ND = random_features(14, count, dimension)
    assert 0 <= frechet_distance(moments_of(features_ND), moments_of(features_ND[::-1])) < 1e-9


def test_frechet_distance_equals_torch_fidelitys(torch_fidelity: ModuleType) -> None:
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    one_ND, other_ND = random_features(15, 900, 160), random_features(16, 700, 160, shift=0.05)
    theirs = [fid_features_to_statistics(torch.from_numpy(features_ND)) for features_ND in (one_ND, other_ND)]
    expected = fid_statistics_to_metric(*theirs, verbose=False)[KEY_METRIC_FID]
    assert frechet_distance(moments_of(one_ND), moments_of(other_ND)) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_equals_torchmetrics(torch_fidelity: ModuleType) -> None:
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed (pip install torchmetrics)")
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Features(torch.nn.Identity):
        num_features = 160

    one_ND, other_ND = random_features(17, 900, 160), random_features(18, 700, 160, shift=0.05)
    metric = FrechetInceptionDistance(Features(), input_img_size=(160,))
    metric.update(torch.from_numpy(one_ND), real=True)
    metric.update(torch.from_numpy(other_ND), real=False)
    expected = metric.compute().item()
    assert frechet_distance(moments_of(one_ND), moments_of(other_ND)) == pytest.approx(expected, rel=1e-6)


# Kernel distance ------------------------------------------------------------------------------------------------------


def test_squared_mmd_is_that_of_the_moments_in_one_dimension() -> None:
    """(x y + 1)^3 is the sum of C(3, j) x^j y^j, so the estimate follows from sums of powers, without any kernel."""
    x, y = np.random.default_rng(20).normal(size=60), np.random.default_rng(21).normal(0.4, 1.3, 45)
    expected = 0.0
    for j, binomial in enumerate([1, 3, 3, 1]):
        pairs = [((z**j).sum() ** 2 - (z ** (2 * j)).sum()) / (len(z) * (len(z) - 1)) for z in (x, y)]
        expected += binomial * (sum(pairs) - 2 * (x**j).mean() * (y**j).mean())
    assert squared_mmd(x[:, None], y[:, None]) == pytest.approx(expected, rel=1e-9)


def test_squared_mmd_equals_torch_fidelitys(torch_fidelity: ModuleType) -> None:
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    one_ND, other_ND = random_features(22, 300, 96), random_features(23, 300, 96, shift=0.1)
    tensors = (torch.from_numpy(features_ND.astype(np.float64)) for features_ND in (one_ND, other_ND))
    theirs = kid_features_to_metric(*tensors, kid_subset_size=300, kid_subsets=1, **QUIET)
    assert squared_mmd(one_ND, other_ND) == pytest.approx(theirs[KEY_METRIC_KID_MEAN], rel=1e-9)


def test_kernel_distance_equals_torch_fidelitys_within_its_error(torch_fidelity: ModuleType) -> None:
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    one_ND, other_ND = random_features(24, 900, 32), random_features(25, 800, 32, shift=0.5)
    ours = kernel_distance(one_ND, other_ND, subset=100, subsets=60)
    tensors = (torch.from_numpy(features_ND) for features_ND in (one_ND, other_ND))
    theirs = kid_features_to_metric(*tensors, kid_subset_size=100, kid_subsets=60, rng_seed=1, **QUIET)
    # The same images, other subsets: they differ by less than other images would make them.
    assert ours.value == pytest.approx(theirs[KEY_METRIC_KID_MEAN], abs=ours.standard_error)
    assert ours.standard_error < 0.2 * ours.value


def test_kernel_distance_is_decided_by_its_seed() -> None:
    one_ND, other_ND = random_features(26, 120, 8), random_features(27, 120, 8)
    first = kernel_distance(one_ND, other_ND, subset=50, subsets=5, seed=3)
    assert kernel_distance(one_ND, other_ND, subset=50, subsets=5, seed=3) == first
    assert kernel_distance(one_ND, other_ND, subset=50, subsets=5, seed=4).value != first.value


@pytest.mark.parametrize(("subset", "subsets"), [(50, 25), (15, 4)])  # the images decide; the choice of subsets does
def test_the_standard_error_is_how_far_the_value_would_be_off_another_time(subset: int, subsets: int) -> None:
    """Normal x and y in one dimension, of which the distance is known: sum over j of C(3, j) (E x^j - E y^j)^2."""
    mean, std = 0.5, 1.2
    moments = [(0, mean), (1, mean**2 + std**2), (0, mean**3 + 3 * mean * std**2)]
    known = sum(binomial * (x - y) ** 2 for binomial, (x, y) in zip([3, 3, 1], moments, strict=True))
    random = np.random.default_rng(28)
    found = []
    for _ in range(100):
        x_ND, y_ND = random.normal(0, 1, (200, 1)), random.normal(mean, std, (200, 1))
        found.append(kernel_distance(x_ND, y_ND, subset, subsets))
    values, errors = np.array(found).T
    assert values.mean() == pytest.approx(known, abs=3 * values.std() / np.sqrt(len(values)))
    assert np.sqrt((errors**2).mean()) == pytest.approx(values.std(), rel=0.25)


def test_the_mean_over_many_subsets_is_the_estimate_of_all_images() -> None:
    one_ND, other_ND = random_features(31, 10, 3), random_features(32, 10, 3, shift=0.5)
    found = kernel_distance(one_ND, other_ND, subset=5, subsets=2000)
    # With subsets of half the images the standard error is the subsets' spread.
    assert found.value == pytest.approx(squared_mmd(one_ND, other_ND), abs=4 * found.standard_error / np.sqrt(2000))


def test_few_images_are_halved_into_subsets() -> None:
    one_ND, other_ND = random_features(29, 30, 4), random_features(30, 61, 4)
    few = kernel_distance(one_ND, other_ND)
    assert few == kernel_distance(one_ND, other_ND, subset=15)
    assert few.standard_error > 0


# Precision, recall, density, coverage ---------------------------------------------------------------------------------


def brute_force(real_ND: NDArray[np.floating], fake_MD: NDArray[np.floating], k: int) -> tuple[float, ...]:
    """The papers' definitions, image by image; distances from differences."""

    def distances_to(features_ND: NDArray[np.floating], image_D: NDArray[np.floating]) -> Array:
        return np.linalg.norm(features_ND.astype(np.float64) - image_D.astype(np.float64), axis=1)

    real_radius_N = np.array([np.sort(distances_to(real_ND, image_D))[k] for image_D in real_ND])
    fake_radius_M = np.array([np.sort(distances_to(fake_MD, image_D))[k] for image_D in fake_MD])
    in_balls_M = np.array([(distances_to(real_ND, fake_D) <= real_radius_N).sum() for fake_D in fake_MD])
    recalled_N = [(distances_to(fake_MD, real_D) <= fake_radius_M).any() for real_D in real_ND]
    covered_N = [
        distances_to(fake_MD, real_D).min() <= radius for real_D, radius in zip(real_ND, real_radius_N, strict=True)
    ]
    return float(np.mean(in_balls_M > 0)), float(np.mean(recalled_N)), in_balls_M.mean() / k, float(np.mean(covered_N))


@pytest.mark.parametrize("batch", [37, 100, 1024])
@pytest.mark.parametrize(("k", "offset"), [(5, 0.0), (1, 0.0), (3, 1e7)])
def test_manifold_is_the_definition(k: int, offset: float, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "BATCH", batch)
    real_ND, fake_MD = (
        features_ND.astype(np.float64) + offset
        for features_ND in (random_features(40, 300, 8), random_features(41, 211, 8, 0.4))
    )
    expected = brute_force(real_ND, fake_MD, k)
    assert all(0.05 < share < 0.95 for share in expected)  # none is trivial
    assert manifold(real_ND, fake_MD, k) == pytest.approx(expected, rel=1e-12)


def test_precision_and_recall_equal_torch_fidelitys(torch_fidelity: ModuleType) -> None:
    from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

    real_ND, fake_MD = random_features(42, 500, 8), random_features(43, 400, 8, shift=0.4)
    generated, real = torch.from_numpy(fake_MD).double(), torch.from_numpy(real_ND).double()
    theirs = prc_features_to_metric(generated, real, prc_neighborhood=5, **QUIET)
    ours = manifold(real_ND, fake_MD)
    # They average in float32.
    assert ours.precision == pytest.approx(theirs[KEY_METRIC_PRECISION], rel=1e-6)
    assert ours.recall == pytest.approx(theirs[KEY_METRIC_RECALL], rel=1e-6)
    assert ours.precision != pytest.approx(ours.recall, rel=0.01)  # or exchanging them would go unnoticed


def test_manifold_of_equal_sets_and_of_distant_ones() -> None:
    features_ND = random_features(44, 200, 6)
    assert manifold(features_ND, features_ND)[:2] == (1.0, 1.0)
    assert manifold(features_ND, features_ND).coverage == 1.0
    assert manifold(features_ND, features_ND + 1e3) == (0.0, 0.0, 0.0, 0.0)


def test_a_generator_of_one_good_image_is_precise_and_covers_little() -> None:
    real_ND = random_features(45, 300, 6)
    fake_ND = np.repeat(real_ND[:1], 300, axis=0) + np.float32(1e-4) * random_features(46, 300, 6)
    found = manifold(real_ND, fake_ND)
    assert found.precision == 1.0
    assert found.coverage < 0.1


def test_manifold_never_holds_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "BATCH", 256)
    count = 4000
    real_ND, fake_ND = random_features(47, count, 2), random_features(48, count, 2)
    tracemalloc.start()
    manifold(real_ND, fake_ND)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < count * count / 4  # bytes: an array of all pairs takes four times that even as booleans


# What a user may do wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("measure", "least"),
    [
        (lambda few, many: frechet_distance(moments_of(few), moments_of(many)), 2),
        (kernel_distance, 4),
        (manifold, 6),
        (lambda few, many: manifold(few, many, k=3), 4),
    ],
)
def test_too_few_images_are_a_users_mistake(measure, least: int) -> None:  # type: ignore[no-untyped-def]
    features_ND = random_features(49, 20, 3)
    for few, many in [(features_ND[: least - 1], features_ND), (features_ND, features_ND[: least - 1])]:
        with pytest.raises(UserError, match=f"at least {least} images, and there are only {least - 1}"):
            measure(few, many)
    measure(features_ND[:least], features_ND)
