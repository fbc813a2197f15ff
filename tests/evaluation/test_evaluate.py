"""limner evaluate: what is measured, of which images, and what a result says of itself."""

import json
import math
import shutil
import tracemalloc
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from limner.core.errors import UserError
from limner.evaluation import reference as referring
from limner.evaluation.distances import kernel_distance
from limner.evaluation.evaluate import evaluate
from limner.evaluation.generate import mirrored, shrink
from limner.evaluation.measure import enough_subsets
from limner.evaluation.results import describe, read_metrics, refuse_mixed, results_table
from limner.evaluation.setup import EvaluationOptions, set_up
from limner.judge.control import balanced_accuracy
from limner.model.model import load

SAMPLES = 200


def by_metric(results):
    return {result.metric: result for result in results}


def frechet(one_ND, other_MD):
    """The distance by its textbook formula, with the eigenvalues of a product that is not symmetric."""
    one_ND, other_MD = one_ND.astype(float), other_MD.astype(float)
    covariances = np.cov(one_ND.T), np.cov(other_MD.T)
    roots = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).real.clip(0)).sum()
    shift_D = one_ND.mean(0) - other_MD.mean(0)
    return shift_D @ shift_D + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * roots


# ---- which images are measured ----


def test_the_extractor_sees_the_model_s_own_pixels(model_folder, faces, extractor, own_cache):
    """Rivals wrote fakes as JPEG and reals as PNG, or stretched them by the least and largest value of the set."""
    evaluate(model_folder, faces, samples=150, extractor=extractor, quiet=True)
    seen_NHWC = np.concatenate(extractor.seen)
    assert seen_NHWC.dtype == np.uint8
    expected_NHWC = load(model_folder).sample(150, seed=0)
    np.testing.assert_array_equal(seen_NHWC[-150:], expected_NHWC)
    reals = faces.images_NHWC[faces.rows("test")]
    np.testing.assert_array_equal(seen_NHWC[: len(reals)], reals)


@pytest.mark.parametrize("batch", [0, 1, 2, 3])
def test_every_portion_counts(batch, faces, extractor, fair, painted):
    """A rival measured the images of its last batch only."""
    paint = fair.paint

    def dark(seed, first, labels):
        return paint(seed, first, labels) // (2 if first == 64 * batch else 1)

    fd, other = (
        by_metric(evaluate(model, faces, samples=SAMPLES, extractor=extractor, quiet=True))["fd_pixels48"].value
        for model in (fair, painted(dark))
    )
    assert other > 1.5 * fd


def test_the_distance_is_that_of_all_fakes_from_all_test_images(faces, extractor, fair):
    results = by_metric(evaluate(fair, faces, samples=SAMPLES, extractor=extractor, quiet=True))
    fakes = np.concatenate([*fair.batches(SAMPLES)])
    reals = faces.images_NHWC[faces.splits == "test"]
    expected = frechet(extractor.features(reals), extractor.features(fakes))
    assert results["fd_pixels48"].value == pytest.approx(expected, rel=1e-6)
    assert (results["fd_pixels48"].n_real, results["fd_pixels48"].n_fake) == (240, SAMPLES)


def test_memory_does_not_grow_with_the_images(faces, extractor, painted):
    few, many = 2048, 4096  # both fill the batches in which distances are taken
    images = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3)).astype(np.uint8)
    model = painted(lambda seed, first, _: np.roll(images, first % 31, axis=1))
    extractor.features = type(extractor).features.__get__(
        SimpleNamespace(squares=4, dimension=48, seen=SimpleNamespace(append=lambda _: None))
    )

    def peak(count):
        tracemalloc.start()
        evaluate(model, faces, samples=count, extractor=extractor, quiet=True)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(64)  # what is loaded once
    growth = (peak(many) - peak(few)) / (many - few)
    assert growth < 3072 / 2  # bytes an image; one image has 3072, its features 192 and its shrunk pixels 768


def test_memory_does_not_grow_with_the_training_images(pack_faces, extractor, painted, own_cache):
    few, many = 2048, 6144
    images_NHWC = np.random.default_rng(0).integers(0, 256, (many + 60, 32, 32, 3)).astype(np.uint8)
    model = painted(lambda seed, first, _: images_NHWC[first : first + 64])
    extractor.features = type(extractor).features.__get__(
        SimpleNamespace(squares=4, dimension=48, seen=SimpleNamespace(append=lambda _: None))
    )

    def peak(count):
        faces = pack_faces(images_NHWC[: count + 60], ["test"] * 60 + ["train"] * count)
        faces = replace(faces, info=faces.info.model_copy(update={"content_hash": str(count)}))
        tracemalloc.start()
        evaluate(model, faces, samples=64, extractor=extractor, quiet=True)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1024)  # what is loaded once
    growth = (peak(many) - peak(few)) / (many - few)
    assert growth < 192 / 2  # bytes an image, whose features have 192 and whose shrunk pixels 768


# ---- what a result says ----


def test_a_result_never_travels_alone(model_folder, faces, extractor):
    results = evaluate(model_folder, faces, samples=SAMPLES, extractor=extractor, truncation=0.7, quiet=True)
    for result in results:
        assert (result.n_fake, result.resolution, result.crop, result.data_hash) == (SAMPLES, 32, "none", "made")
        assert (result.weights, result.truncation, result.protocol, result.split) == ("raw", 0.7, "quick", "test")
        assert result.model_sha256 == load(model_folder).config.weights_sha256
        assert result.machine
        assert result.limner
        assert result.seconds > 0
    main = results[0]
    assert (main.extractor, main.extractor_sha256, main.resize) == (
        extractor.name,
        extractor.weights_sha256,
        extractor.resize,
    )
    pixels = by_metric(results)["memorisation_pixels"]
    assert (pixels.extractor, pixels.resize) == ("pixels", "mean over squares to 16 x 16")


def test_only_inception_may_give_a_fid(faces, fair, extractor):
    names = {result.metric for result in evaluate(fair, faces, samples=SAMPLES, extractor=extractor, quiet=True)}
    assert {f"{kind}_pixels48" for kind in ("fd", "kid", "precision", "recall", "density", "coverage")} <= names
    assert not {name for name in names if name.startswith(("fid", "FID")) or name == "kid"}
    extractor.name = "inception"
    names = {result.metric for result in evaluate(fair, faces, samples=SAMPLES, extractor=extractor, quiet=True)}
    assert {"fid", "kid", "precision_inception"} <= names
    assert not {name for name in names if name.startswith("fd_")}


def test_the_spread_is_over_seeds_and_never_made_up(faces, extractor, fair):
    one = by_metric(evaluate(fair, faces, samples=SAMPLES, extractor=extractor, quiet=True))["fd_pixels48"]
    assert (one.spread, one.seeds, len(one.values)) == (None, (0,), 1)
    three = by_metric(evaluate(fair, faces, samples=SAMPLES, extractor=extractor, seeds=3, quiet=True))["fd_pixels48"]
    assert three.seeds == (0, 1, 2)
    assert three.values[0] == one.value
    reals = extractor.features(faces.images_NHWC[faces.splits == "test"])
    values = [frechet(reals, extractor.features(np.concatenate([*fair.batches(SAMPLES, seed)]))) for seed in range(3)]
    assert three.values == pytest.approx(values, rel=1e-6)
    assert three.value == pytest.approx(np.mean(values), rel=1e-6)
    assert three.spread == pytest.approx(np.std(values, ddof=1), rel=1e-5)
    with pytest.raises(UserError, match="at least 3"):
        evaluate(fair, faces, samples=SAMPLES, extractor=extractor, seeds=2, quiet=True)


def test_kid_carries_its_standard_error(faces, extractor, fair):
    results = by_metric(evaluate(fair, faces, samples=SAMPLES, extractor=extractor, quiet=True))
    assert results["kid_pixels48"].standard_error > 0
    assert results["fd_pixels48"].standard_error is None


def test_a_kid_of_few_images_takes_fewer_subsets_and_is_as_sure():
    """Where 100 subsets of 1,000 are usual (from 6,000 images on), they are taken."""
    assert [enough_subsets(images) for images in (6_000, 20_000, 50_000)] == [100, 100, 100]
    rng = np.random.default_rng(0)
    real_ND, fake_ND = (rng.normal(size=(400, 8)).astype(np.float32) + shift for shift in (0.0, 0.2))
    few = [kernel_distance(real_ND, fake_ND, subsets=enough_subsets(400), seed=seed) for seed in range(4)]
    many = kernel_distance(real_ND, fake_ND, subsets=400)
    assert np.mean([kid.standard_error for kid in few]) == pytest.approx(many.standard_error, rel=0.25)
    assert all(abs(kid.value - many.value) < many.standard_error / 2 for kid in few)


def test_the_floor_is_that_of_as_many_training_images(faces, extractor, fair):
    """A floor of fewer images than were generated is too high, and precision to coverage do not compare at all."""
    results = evaluate(fair, faces, samples=SAMPLES, extractor=extractor, quiet=True)
    floors = {result.metric: result.floor for result in results if result.floor}
    kinds = ("fd", "kid", "precision", "recall", "density", "coverage")
    assert {*floors} == {f"{kind}_pixels48" for kind in kinds}
    assert {(floor.n_real, floor.n_other) for floor in floors.values()} == {(240, SAMPLES)}
    # `fair` draws as many images of the very distribution of the training images: it cannot be told from its floor.
    found = by_metric(results)
    assert found["fd_pixels48"].value == pytest.approx(floors["fd_pixels48"].value, rel=0.15)
    for kind in ("precision", "recall", "coverage"):
        assert found[f"{kind}_pixels48"].value == pytest.approx(floors[f"{kind}_pixels48"].value, abs=0.1)
    assert f"Floor: {SAMPLES} training images" in " ".join(describe(results))
    assert not any("for the floors" in warning for warning in results[0].warnings)

    short = evaluate(fair, faces, samples=400, extractor=extractor, quiet=True)[0]
    assert short.floor.n_other == 360
    reals, others = (extractor.features(faces.images_NHWC[faces.splits == split]) for split in ("test", "train"))
    assert short.floor.value == pytest.approx(frechet(reals, others), rel=1e-6)
    assert any("Only 360 training images for the floors beside 400" in warning for warning in short.warnings)


def test_numbers_carry_the_constants_that_they_depend_on(faces, extractor, fair):
    results = by_metric(evaluate(fair, faces, samples=SAMPLES, extractor=extractor, quiet=True))
    for kind in ("precision", "recall", "density", "coverage"):
        assert results[f"{kind}_pixels48"].details == {"k": 5}
    assert results["kid_pixels48"].details == {"subsets": enough_subsets(SAMPLES), "subset_size": SAMPLES // 2}


def test_what_chooses_does_not_report(faces, extractor, fair):
    """`training` measures against val, which chooses best/; its numbers say that they are none to report."""
    for protocol, split, count in (("quick", "test", 240), ("training", "val", 60)):
        results = evaluate(fair, faces, protocol=protocol, samples=64, extractor=extractor, quiet=True)
        assert {(result.split, result.n_real) for result in results} == {(split, count)}
        assert {result.chooses for result in results} == {split == "val"}
        assert ("Not to be reported" in " ".join(describe(results))) == (split == "val")
    reals = extractor.features(faces.images_NHWC[faces.splits == "val"])
    fakes = extractor.features(np.concatenate([*fair.batches(64)]))
    assert results[0].value == pytest.approx(frechet(reals, fakes), rel=1e-6)


def test_too_few_images_for_the_features_are_warned_of(faces, extractor, fair, capsys):
    few = evaluate(fair, faces, samples=40, extractor=extractor)[0]
    assert any("Only 40 generated images for 48 features" in warning for warning in few.warnings)
    assert "Only 40 generated images" in capsys.readouterr().err.replace("\n", " ")
    many = evaluate(fair, faces, samples=SAMPLES, extractor=extractor, quiet=True)[0]
    assert not any("features" in warning for warning in many.warnings)
    assert capsys.readouterr().err == ""


def test_departures_from_the_protocol_are_in_every_result(faces, extractor, fair, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\ncrop = "report004"\nsize = 64\nreal = 500\nseeds = 1\n')
    for result in evaluate(fair, faces, protocol=file, samples=100, extractor=extractor, quiet=True):
        text = " ".join(result.warnings)
        for words in (
            "crop is none",
            "size is 32",
            "real images is 240, not 500",
            "generated images is 100, not 240",
        ):
            assert words in text


def test_the_model_s_own_training_data_are_looked_at(faces, extractor, painted, fair):
    other = painted(fair.paint, data={"crop": "none", "content_hash": "another"})
    (warning,) = (
        w for w in evaluate(other, faces, samples=60, extractor=extractor, quiet=True)[0].warnings if "trained" in w
    )
    assert "another data set" in warning
    other = painted(fair.paint, data={"crop": "centre178", "content_hash": "another"})
    (warning,) = (
        w for w in evaluate(other, faces, samples=60, extractor=extractor, quiet=True)[0].warnings if "trained" in w
    )
    assert "crop centre178" in warning


def test_the_table_says_one_seed_and_shows_floors(faces, extractor, fair):
    from rich.console import Console

    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(results_table(evaluate(fair, faces, samples=SAMPLES, extractor=extractor, quiet=True), console.width))
    text = console.export_text()
    assert "one seed" in text
    assert "fd_pixels48" in text
    assert "standard error" in text


# ---- memorisation and attributes ----


def test_copies_of_training_images_are_found(faces, extractor, painted):
    train, heldout = (faces.images_NHWC[faces.rows(split)] for split in ("train", "test"))
    copier = painted(lambda seed, first, _: np.roll(train, -first, axis=0)[:64])
    results = by_metric(evaluate(copier, faces, samples=128, extractor=extractor, quiet=True))
    assert results["memorisation_pixels"].value > 0.95
    closest = results["memorisation_pixels"].details["closest"]
    assert len(closest) == 16
    for pair in closest:
        assert pair["distance"] == 0
        np.testing.assert_array_equal(faces.images_NHWC[pair["row"]], train[pair["face"]])
    learner = painted(lambda seed, first, _: np.roll(heldout, -first, axis=0)[:64])
    assert (
        by_metric(evaluate(learner, faces, samples=128, extractor=extractor, quiet=True))["memorisation_pixels"].value
        < 0.05
    )


def test_returned_training_images_are_flagged_whichever_and_mirrored_too(pack_faces, blobs_of, extractor, painted):
    """Few of many training images are among as many as are held out; and augmented trainings see mirrored ones.

    The features do not tell an image from its mirror image; those of networks trained on both hardly do.
    """
    one_side = extractor.features
    extractor.features = lambda images_NHWC: one_side(images_NHWC) + one_side(images_NHWC[:, :, ::-1])
    faces = pack_faces(blobs_of(1, 640), ["train"] * 600 + ["test"] * 40)
    rng = np.random.default_rng(0)
    returned = faces.images_NHWC[rng.integers(0, 600, 256)].copy()
    returned[::2] = returned[::2, :, ::-1]
    copier = painted(lambda seed, first, _: returned[first : first + 64])
    honest = painted(lambda seed, first, _: blobs_of(50 + first // 64, 64)[first % 64 :])
    for model, least, most in ((copier, 0.99, 1.0), (honest, 0.35, 0.65)):
        results = by_metric(evaluate(model, faces, samples=256, extractor=extractor, quiet=True))
        for space in ("pixels48", "pixels"):
            assert least <= results[f"memorisation_{space}"].value <= most, space
            assert results[f"memorisation_{space}"].details["training"] == 600


def test_a_shrunk_image_is_mirrored_as_the_image_is(blobs_of):
    images_NHWC = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(mirrored(shrink(images_NHWC)), shrink(images_NHWC[:, :, ::-1]))


class Sees:
    """A judge that sees `odd` in bright images."""

    name, attribute_names, weights_sha256, resize = "judge", ("other", "odd"), "2" * 64, "none"
    balanced_accuracy = {"other": 0.9, "odd": 0.8}  # noqa: RUF012
    config = SimpleNamespace(crop="none", size=32)

    def __init__(self, folder, device):
        pass

    def shares_backbone_with(self, extractor):
        return False

    def decide(self, images_NHWC):
        bright_N = images_NHWC.mean((1, 2, 3)) > 120
        return np.stack([np.zeros_like(bright_N), bright_N], 1).astype(np.uint8)


def obedient(blobs_of, asked):
    def paint(seed, first, labels_NA):
        asked.append(labels_NA)
        return np.stack([blobs_of(first + k, 1, 80 + 80 * float(odd))[0] for k, odd in enumerate(labels_NA[:, 0])])

    return paint


@pytest.mark.parametrize(("protocol", "split"), [("quick", "test"), ("training", "val")])
def test_attributes_are_asked_for_as_images_of_the_split_have_them(
    protocol, split, faces, extractor, painted, blobs_of, monkeypatch
):
    """The requests are real label vectors of the protocol's own split; here these are all odd, and only these."""
    monkeypatch.setattr("limner.evaluation.conditional.load_judge", Sees)
    asked = []
    labels = (faces.splits == split).astype(np.uint8)[:, None]
    heldout_odd = replace(faces, attributes_NA=labels, info=faces.info.model_copy(update={"content_hash": "odd"}))
    model = painted(obedient(blobs_of, asked), attribute_names=("odd",))
    evaluate(model, heldout_odd, protocol=protocol, samples=300, extractor=extractor, quiet=True)
    assert np.concatenate(asked).shape == (300, 1)
    assert np.concatenate(asked).all()


def test_control_is_measured_against_the_judge_s_own_ceiling(
    faces, extractor, painted, blobs_of, monkeypatch, tmp_path
):
    monkeypatch.setattr("limner.evaluation.conditional.load_judge", Sees)
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\nseeds = 1\nfake = 300\n')
    asked = []
    model = painted(obedient(blobs_of, asked), attribute_names=("odd",))
    results = by_metric(evaluate(model, faces, protocol=file, extractor=extractor, quiet=True))
    requested_NA = np.concatenate(asked)
    fakes = np.concatenate([*model.batches(300, labels_NA=requested_NA)])
    accuracy = balanced_accuracy(requested_NA, Sees(None, "cpu").decide(fakes)[:, 1:])[0]
    assert accuracy > 0.9
    control = results["attribute_control_mean"]
    assert control.value == pytest.approx(accuracy / 0.8)
    (row,) = control.details["attributes"]  # "other" was never asked for
    assert (row["name"], row["ceiling"], row["frequency"]) == ("odd", 0.8, 0.5)
    assert (control.extractor, control.extractor_sha256) == ("judge", "2" * 64)
    # Every second image is odd: that is frequent.
    odd = faces.images_NHWC[(faces.splits == "test") & (faces.attributes_NA[:, 0] == 1)]
    expected = frechet(extractor.features(odd), extractor.features(fakes[requested_NA[:, 0] == 1]))
    assert results["conditional_fd_pixels48"].value == pytest.approx(expected, rel=1e-6)

    deaf = painted(lambda seed, first, _: blobs_of(first, 64), attribute_names=("odd",))
    results = by_metric(evaluate(deaf, faces, samples=300, extractor=extractor, quiet=True))
    assert results["attribute_control_mean"].value * 0.8 == pytest.approx(0.5, abs=0.1)
    assert "conditional_fd_pixels48" not in results  # quick leaves it out


def test_attributes_that_the_data_do_not_have_are_no_control(faces, extractor, painted, fair):
    model = painted(fair.paint, attribute_names=("Smiling",))
    results = evaluate(model, faces, samples=60, extractor=extractor, quiet=True)
    assert not any(result.metric.startswith("attribute_control") for result in results)
    assert any("Smiling" in warning for warning in results[0].warnings)


# ---- where results are kept ----


def test_a_run_keeps_its_results(model_folder, faces, extractor, tmp_path):
    run = tmp_path / "run"
    (run / "model").parent.mkdir()
    (run / "model").symlink_to(model_folder)
    (run / "run.json").write_text("{}")
    (run / "recipe.toml").write_text("")
    out = tmp_path / "results.json"
    first = evaluate(run, faces, samples=60, extractor=extractor, out=out, quiet=True)
    second = evaluate(run, faces, samples=80, extractor=extractor, quiet=True)
    assert read_metrics(run) == [*first, *second]
    assert json.loads(out.read_text())["results"][0]["value"] == first[0].value
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"metric": "fd_')  # a killed run's last line
    assert len(read_metrics(run)) == len(first) + len(second)

    with pytest.raises(UserError, match="exists"):
        evaluate(run, faces, samples=60, extractor=extractor, out=out, quiet=True)
    evaluate(model_folder, faces, samples=60, extractor=extractor, out=out, force=True, quiet=True)
    assert not (model_folder / "metrics.jsonl").exists()
    with pytest.raises(UserError, match="There is no folder"):
        evaluate(run, faces, samples=60, extractor=extractor, out=tmp_path / "none" / "a.json", quiet=True)


def test_numbers_of_different_conditions_do_not_mix(faces, extractor, fair):
    first, second = (evaluate(fair, faces, samples=count, extractor=extractor, quiet=True) for count in (100, 120))
    refuse_mixed([*first, *first])
    with pytest.raises(UserError, match="n_fake 100 against 120") as raised:
        refuse_mixed([*first, *second])
    assert "\n" not in str(raised.value)
    other = first[0].model_copy(update={"crop": "centre178", "model": "b"})
    with pytest.raises(UserError, match="crop none against centre178"):
        refuse_mixed([first[0], other])


def test_what_does_not_fit_is_refused_in_one_line(faces, extractor, painted, fair, model_folder, tmp_path):
    cases = {
        "64 pixels": lambda: evaluate(painted(fair.paint, size=64), faces, extractor=extractor, quiet=True),
        "--samples is 3": lambda: evaluate(fair, faces, samples=3, extractor=extractor, quiet=True),
        "truncation is 3": lambda: evaluate(fair, faces, truncation=3, extractor=extractor, quiet=True),
        "no run and no model": lambda: evaluate(tmp_path / "none", faces, extractor=extractor, quiet=True),
        "did you mean lite0": lambda: evaluate(fair, faces, extractor="lite2", quiet=True),
        "no protocol called": lambda: evaluate(fair, faces, protocol="slow", quiet=True),
    }
    for words, call in cases.items():
        with pytest.raises(UserError) as raised:
            call()
        assert words in str(raised.value)
        assert "\n" not in str(raised.value)


# ---- the cache of what real images give ----


def test_real_images_are_looked_at_once(faces, extractor, fair, own_cache):
    first = evaluate(fair, faces, samples=64, extractor=extractor, quiet=True)
    looked = sum(map(len, extractor.seen))
    assert looked == 240 + 360 + 64
    extractor.seen.clear()
    second = evaluate(fair, faces, samples=64, extractor=extractor, quiet=True)
    assert sum(map(len, extractor.seen)) == 64
    assert [result.value for result in second] == [result.value for result in first]
    assert [result.floor for result in second] == [result.floor for result in first]
    assert not list(own_cache.rglob("*.pkl"))
    evaluate(fair, faces, samples=100, extractor=extractor, quiet=True)  # another floor, of images that were looked at
    assert sum(map(len, extractor.seen)) == 64 + 100


def test_a_training_does_not_look_at_every_training_image(faces, extractor, fair, own_cache):
    results = by_metric(evaluate(fair, faces, protocol="training", samples=64, extractor=extractor, quiet=True))
    assert sum(map(len, extractor.seen)) == 60 + 64 + 64
    assert results["fd_pixels48"].floor.n_other == 64
    assert "memorisation_pixels" in results
    assert "memorisation_pixels48" not in results


@pytest.mark.parametrize(("file", "again"), [("features.npy", 240 + 360), ("floors.json", 0), ("reference.json", 600)])
def test_a_damaged_cache_is_made_anew(file, again, faces, extractor, fair, own_cache, capsys):
    first = evaluate(fair, faces, samples=64, extractor=extractor, quiet=True)
    for path in own_cache.rglob(file):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
        path.write_bytes(content)
    extractor.seen.clear()
    second = evaluate(fair, faces, samples=64, extractor=extractor)
    assert sum(map(len, extractor.seen)) == again + 64
    assert [(result.value, result.floor) for result in second] == [(result.value, result.floor) for result in first]
    assert "damaged" in capsys.readouterr().err


def test_a_cache_of_another_format_is_not_taken(faces, extractor, fair, own_cache, monkeypatch):
    evaluate(fair, faces, samples=64, extractor=extractor, quiet=True)
    extractor.seen.clear()
    monkeypatch.setattr(referring, "FORMAT", referring.FORMAT + 1)
    evaluate(fair, faces, samples=64, extractor=extractor, quiet=True)
    assert sum(map(len, extractor.seen)) == 240 + 360 + 64


def test_the_cache_of_other_data_is_not_taken(faces, extractor, fair, blobs_of, own_cache):
    evaluate(fair, faces, samples=64, extractor=extractor, quiet=True)
    changed = replace(
        faces, images_NHWC=blobs_of(9, 600, 60), info=faces.info.model_copy(update={"content_hash": "changed"})
    )
    far = by_metric(evaluate(fair, changed, samples=64, extractor=extractor, quiet=True))["fd_pixels48"].value
    near = by_metric(evaluate(fair, faces, samples=64, extractor=extractor, quiet=True))["fd_pixels48"].value
    assert far > 2 * near
    # Nor where somebody has moved the entries of one to the places of the other.
    folders = {folder: json.loads((folder / "reference.json").read_bytes()) for folder in own_cache.glob("*/*")}
    for folder, info in folders.items():
        (other,) = (
            path
            for path, of in folders.items()
            if of["identity"] | {"data_hash": ""} == info["identity"] | {"data_hash": ""} and of != info
        )
        if info["identity"]["data_hash"] == "made":
            shutil.copytree(other, folder, dirs_exist_ok=True)
    again = by_metric(evaluate(fair, faces, samples=64, extractor=extractor, quiet=True))["fd_pixels48"].value
    assert again == near


def test_other_weights_make_another_entry(faces, extractor, fair, own_cache):
    evaluate(fair, faces, samples=64, extractor=extractor, quiet=True)
    extractor.weights_sha256 = "f" * 64
    extractor.seen.clear()
    evaluate(fair, faces, samples=64, extractor=extractor, quiet=True)
    assert sum(map(len, extractor.seen)) == 240 + 360 + 64
    # Real and training images and the floors of each; and the shrunk pixels of both splits, which have no weights.
    assert len(list((own_cache / "references").iterdir())) == 2 * 3 + 2


def test_data_without_held_out_images_cannot_be_measured_against(pack_faces, blobs_of, extractor, fair):
    with pytest.raises(UserError, match="no images in the split"):
        evaluate(fair, pack_faces(blobs_of(1, 50)), extractor=extractor, quiet=True)
    few = pack_faces(blobs_of(1, 50), ["train"] * 45 + ["test"] * 5)
    with pytest.raises(UserError, match="only 5 images"):
        evaluate(fair, few, extractor=extractor, quiet=True)


def test_images_that_were_tampered_with_are_refused(faces32, extractor, fair, tmp_path):
    shutil.copytree(faces32.path, tmp_path / "data")
    images = np.load(tmp_path / "data" / "images.npy", mmap_mode="r+")
    images[0, 0, 0, 0] ^= 255
    images.flush()
    with pytest.raises(UserError, match="changed or damaged"):
        evaluate(fair, tmp_path / "data", samples=40, extractor=extractor, quiet=True)


def test_a_reference_of_all_images_has_no_training_images_beside_it(faces, extractor, fair, tmp_path):
    file = tmp_path / "all.toml"
    file.write_text('name = "all"\nsplit = "all"\nseeds = 1\nfake = 100\n')
    results = by_metric(evaluate(fair, faces, protocol=file, extractor=extractor, quiet=True))
    fd = results["fd_pixels48"]
    assert (fd.n_real, fd.split, fd.floor) == (660, "all", None)
    assert any("Only 0 training images for the floors" in warning for warning in fd.warnings)
    assert "memorisation_pixels48" not in results  # its real images are the training images
    assert results["memorisation_pixels"].split == "test"


def test_without_inception_s_weights_a_protocol_says_what_it_measured_with(faces, extractor, monkeypatch):
    monkeypatch.setattr(
        "limner.evaluation.setup.load_extractor", lambda name, weights, device: extractor if name == "lite0" else 1 / 0
    )
    extractor.name = "lite0"
    setup = set_up(faces, EvaluationOptions("report004", quiet=True))
    text = " ".join(setup.warnings)
    assert "Inception's weights are not on this machine" in text
    assert "the extractor is lite0, not inception" in text
    assert setup.conditions.extractor == "lite0"


# ---- once for real ----


def test_lite0_measures_a_model(model_folder, faces32, tmp_path):
    results = by_metric(evaluate(model_folder, faces32.path, samples=24, out=tmp_path / "r.json", quiet=True))
    fd = results["fd_lite0"]
    assert fd.value > 3 * fd.floor.value  # noise against drawn faces
    assert len(fd.extractor_sha256) == 64
    assert "224" in fd.resize
    assert fd.data_hash == faces32.info.content_hash
    assert any("Only 24 generated" in warning for warning in fd.warnings)
    assert all(math.isfinite(result.value) for result in results.values())
