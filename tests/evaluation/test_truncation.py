"""limner evaluate --truncation-curve: what is drawn is what was measured at each truncation."""

import numpy as np
import pytest
from PIL import Image

from limner.core.errors import UserError
from limner.evaluation import truncation
from limner.evaluation.distances import frechet_distance
from limner.evaluation.evaluate import evaluate
from limner.evaluation.measure import moments
from limner.images.png import read_settings
from limner.model.model import load


def test_the_curve_has_the_distance_at_each_truncation(
    model_folder, faces, extractor, own_cache, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(truncation, "TRUNCATIONS", (0.5, 1.0))
    out = tmp_path / "curve.png"
    results = evaluate(model_folder, faces, samples=150, extractor=extractor, truncation_curve=out, quiet=True)
    curve = read_settings(out)
    assert list(curve) == ["truncation", "fd_pixels48", "precision_pixels48", "recall_pixels48"]
    assert curve["truncation"] == [0.5, 1.0]
    by_metric = {result.metric: result.value for result in results}
    assert curve["fd_pixels48"][1] == by_metric["fd_pixels48"]
    assert curve["recall_pixels48"][1] == by_metric["recall_pixels48"]
    fakes_NHWC = load(model_folder).sample(150, truncation=0.5)
    real_NHWC = faces.images_NHWC[faces.rows("test")]
    expected = frechet_distance(*(moments(extractor.features(images)) for images in (real_NHWC, fakes_NHWC)))
    assert curve["fd_pixels48"][0] == pytest.approx(expected, rel=1e-6)
    with Image.open(out) as drawn:
        assert len(np.unique(np.asarray(drawn.convert("RGB")).reshape(-1, 3), axis=0)) > 10


def test_a_curve_that_cannot_be_written_is_one_line(model_folder, faces, extractor, tmp_path) -> None:
    for name in ("curve.jpg", "nowhere/curve.png"):
        with pytest.raises(UserError, match=r"does not end in \.png|There is no folder"):
            evaluate(
                model_folder, faces, samples=150, extractor=extractor, truncation_curve=tmp_path / name, quiet=True
            )
    assert list(tmp_path.iterdir()) == []
