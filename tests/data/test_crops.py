"""Pixels: every kind of image against an expectation made another way, every crop against a slice."""

import io
from typing import Any

import numpy as np
import pytest
from broken import encoded, pixels
from PIL import Image

from limner.core.errors import UserError
from limner.preparation.crops import CROPS, Rejected, decode, find_crop

SIZE = 20
SQUARE = CROPS["square"]
WHOLE_HWC = pixels(1, SIZE, SIZE)  # an image of the wanted size comes through unresized


def file_of(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def grey_HWC(values_HW: np.ndarray) -> np.ndarray:
    return np.repeat(values_HW[..., None], 3, axis=2)


@pytest.mark.parametrize(
    ("name", "rows", "columns"),
    [
        ("report000", slice(39, 179), slice(19, 159)),
        ("report004", slice(45, 173), slice(25, 153)),
        ("centre178", slice(20, 198), slice(0, 178)),
        ("ddim128", slice(57, 185), slice(25, 153)),
        ("square", slice(20, 198), slice(0, 178)),
    ],
)
@pytest.mark.parametrize("size", [32, 64, 128])
def test_crop_is_a_slice_then_a_resize(name: str, rows: slice, columns: slice, size: int) -> None:
    full_HWC = pixels(2, 178, 218)
    cropped = Image.fromarray(full_HWC[rows, columns])
    factor = cropped.width // size or 1
    side = cropped.width / factor  # where the factor leaves a rest, the last mean is over fewer pixels
    wanted = cropped.reduce(factor).resize((size, size), Image.Resampling.BILINEAR, (0, 0, side, side))
    np.testing.assert_array_equal(decode(file_of(Image.fromarray(full_HWC)), CROPS[name], size), np.asarray(wanted))


def test_half_size_is_the_mean_of_two_by_two() -> None:
    full_HWC = np.random.default_rng(0).integers(0, 256, (218, 178, 3), dtype=np.uint8)
    got_HWC = decode(file_of(Image.fromarray(full_HWC)), CROPS["report004"], 64)
    means_HWC = full_HWC[45:173, 25:153].reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(got_HWC, means_HWC, atol=0.5)


@pytest.mark.parametrize("width", [96, 100, 127, 128, 140, 178, 500])
def test_resize_is_antialiased(width: int) -> None:
    stripes_HW = np.tile(np.array([0, 255], np.uint8), (width, width))[:, :width]
    small_HWC = decode(file_of(Image.fromarray(stripes_HW)), SQUARE, 32)
    assert np.abs(small_HWC[:, 2:-2].astype(int) - 127).max() <= 48  # plain sampling: 127, all black and all white


@pytest.mark.parametrize(("width", "height", "left", "top"), [(30, 20, 5, 0), (20, 31, 0, 5), (20, 20, 0, 0)])
def test_square_is_central(width: int, height: int, left: int, top: int) -> None:
    full_HWC = pixels(3, width, height)
    got_HWC = decode(file_of(Image.fromarray(full_HWC)), SQUARE, SIZE)
    np.testing.assert_array_equal(got_HWC, full_HWC[top : top + SIZE, left : left + SIZE])


@pytest.mark.parametrize(
    ("name", "width", "height", "reason"),
    [
        ("report004", 178, 217, "too small"),
        ("report004", 356, 436, "not an aligned image"),
        ("report000", 139, 300, "too small"),
        ("centre178", 400, 177, "too small"),
        ("square", 400, 63, "too small"),
    ],
)
def test_images_that_lack_the_crop(name: str, width: int, height: int, reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        decode(encoded("PNG", 1, width, height), CROPS[name], 64)


def test_central_crops_take_any_larger_image() -> None:
    full_HWC = pixels(4, 200, 300)
    wanted = Image.fromarray(full_HWC[80:220, 30:170]).reduce(2).resize((64, 64), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(
        decode(file_of(Image.fromarray(full_HWC)), CROPS["report000"], 64), np.asarray(wanted)
    )


def test_unknown_crop_names_the_nearest_and_all() -> None:
    with pytest.raises(UserError, match="did you mean centre178") as caught:
        find_crop("center178", 64)
    assert all(name in str(caught.value) for name in CROPS)


# --- kinds of images ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_formats_come_through(form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    np.testing.assert_array_equal(decode(file_of(Image.fromarray(WHOLE_HWC), form, **options), SQUARE, SIZE), WHOLE_HWC)


def test_grey() -> None:
    values_HW = WHOLE_HWC[..., 0]
    np.testing.assert_array_equal(decode(file_of(Image.fromarray(values_HW)), SQUARE, SIZE), grey_HWC(values_HW))


def test_one_bit() -> None:
    bits_HW = WHOLE_HWC[..., 0] > 127
    got_HWC = decode(file_of(Image.fromarray(bits_HW)), SQUARE, SIZE)
    np.testing.assert_array_equal(got_HWC, grey_HWC(bits_HW * np.uint8(255)))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(form: str) -> None:
    values_HW = np.linspace(0, 65535, SIZE * SIZE).astype(np.uint16).reshape(SIZE, SIZE)
    got_HWC = decode(file_of(Image.fromarray(values_HW), form), SQUARE, SIZE)
    np.testing.assert_array_equal(got_HWC, grey_HWC(np.rint(values_HW / 257).astype(np.uint8)))


def test_16_bit_pgm() -> None:
    values_HW = np.linspace(0, 65535, SIZE * SIZE).astype(np.uint16).reshape(SIZE, SIZE)
    data = f"P5 {SIZE} {SIZE} 65535\n".encode() + values_HW.astype(">u2").tobytes()
    np.testing.assert_array_equal(decode(data, SQUARE, SIZE), grey_HWC(np.rint(values_HW / 257).astype(np.uint8)))


def palette_image() -> tuple[Image.Image, np.ndarray, np.ndarray]:
    index_HW = np.random.default_rng(0).integers(0, 5, (SIZE, SIZE), dtype=np.uint8)
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 80, 200], [1, 2, 3]], np.uint8)
    image = Image.fromarray(index_HW, "L").convert("P")
    image.putdata(index_HW.ravel().tolist())
    image.putpalette(colours.tobytes())
    return image, index_HW, colours


@pytest.mark.parametrize("form", ["PNG", "GIF", "BMP", "TIFF"])
def test_palette(form: str) -> None:
    image, index_HW, colours = palette_image()
    np.testing.assert_array_equal(decode(file_of(image, form), SQUARE, SIZE), colours[index_HW])


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_transparent_palette_entry_is_white(form: str) -> None:
    image, index_HW, colours = palette_image()
    colours[2] = 255
    got_HWC = decode(file_of(image, form, transparency=2), SQUARE, SIZE)
    np.testing.assert_array_equal(got_HWC, colours[index_HW])


def test_transparency_is_over_white() -> None:
    alpha_HW1 = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 1), dtype=np.uint8)
    got_HWC = decode(file_of(Image.fromarray(np.concatenate([WHOLE_HWC, alpha_HW1], axis=2))), SQUARE, SIZE)
    share_HW1 = alpha_HW1 / 255
    wanted_HWC = WHOLE_HWC * share_HW1 + 255 * (1 - share_HW1)
    np.testing.assert_allclose(got_HWC, wanted_HWC, atol=1.01)


def test_grey_with_transparency_is_over_white() -> None:
    values_HW2 = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 2), dtype=np.uint8)
    got_HWC = decode(file_of(Image.fromarray(values_HW2, "LA")), SQUARE, SIZE)
    share_HW = values_HW2[..., 1] / 255
    np.testing.assert_allclose(got_HWC, grey_HWC(values_HW2[..., 0] * share_HW + 255 * (1 - share_HW)), atol=1.01)


def test_transparent_colour_of_an_rgb_png_is_white() -> None:
    full_HWC = WHOLE_HWC.copy()
    full_HWC[3:6, 3:6] = (10, 20, 30)
    wanted_HWC = full_HWC.copy()
    wanted_HWC[3:6, 3:6] = 255
    data = file_of(Image.fromarray(full_HWC), transparency=(10, 20, 30))
    np.testing.assert_array_equal(decode(data, SQUARE, SIZE), wanted_HWC)


def test_cmyk() -> None:
    cmyk_HW4 = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 4), dtype=np.uint8)
    got_HWC = decode(file_of(Image.fromarray(cmyk_HW4, "CMYK"), "TIFF"), SQUARE, SIZE)
    ink_HW4 = cmyk_HW4 / 255
    wanted_HWC = 255 * (1 - ink_HW4[..., :3]) * (1 - ink_HW4[..., 3:])
    np.testing.assert_allclose(got_HWC, wanted_HWC, atol=2)


def test_cmyk_jpeg_is_not_a_negative() -> None:
    flat = Image.new("CMYK", (SIZE, SIZE), (0, 200, 200, 0))  # red ink
    red, green, blue = decode(file_of(flat, "JPEG", quality=95), SQUARE, SIZE).reshape(-1, 3).mean(axis=0)
    assert red > 230
    assert max(green, blue) < 90


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_animation_gives_its_first_frame(form: str) -> None:
    frames = [Image.new("RGB", (SIZE, SIZE), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if form == "WEBP" else {}
    data = file_of(frames[0], form, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(decode(data, SQUARE, SIZE), np.asarray(frames[0]))


# EXIF orientation -> how the stored array became what should be seen, in numpy's words.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation(orientation: int, form: str) -> None:
    stored_HWC = pixels(5, SIZE, SIZE + 10)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    data = file_of(Image.fromarray(stored_HWC), form, exif=exif, **options)
    seen_HWC = UPRIGHT[orientation](stored_HWC)
    top, left = (side // 2 - SIZE // 2 for side in seen_HWC.shape[:2])
    np.testing.assert_array_equal(decode(data, SQUARE, SIZE), seen_HWC[top : top + SIZE, left : left + SIZE])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_does_not_cost_the_image() -> None:
    data = file_of(Image.fromarray(WHOLE_HWC), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff rubbish")
    np.testing.assert_array_equal(decode(data, SQUARE, SIZE), WHOLE_HWC)
