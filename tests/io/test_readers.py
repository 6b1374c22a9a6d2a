import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from multimix.errors import ImageError, UsageError
from multimix.io.readers import find_images, natural_key, other_kinds, read_image, read_mask


def save(path: Path, array: np.ndarray, mode: str | None = None, **options: object) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def ramp(dtype: type = np.uint8) -> np.ndarray:
    """16 x 20 pixels, 0 in the corner and the type's largest value opposite."""
    top = np.iinfo(dtype).max
    return np.linspace(0, top, 320).round().astype(dtype).reshape(16, 20)


def png_header(path: Path, width: int, height: int) -> Path:
    """A PNG that is nothing but a correct header of this size and the beginning of its data."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 1000) + b"IDAT" + b"\0" * 50)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".gif"])
def test_eight_bits_are_divided_by_255(tmp_path: Path, suffix: str) -> None:
    image = read_image(save(tmp_path / f"x{suffix}", ramp()))
    np.testing.assert_array_equal(image.pixels, (ramp() / np.float32(255))[None].astype(np.float32))
    assert image.pixels.dtype == np.float32
    assert image.size == (16, 20)
    assert image.path == str(tmp_path / f"x{suffix}")
    assert image.spacing is None


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_keep_their_levels(tmp_path: Path, suffix: str) -> None:
    pixels = read_image(save(tmp_path / f"x{suffix}", ramp(np.uint16))).pixels[0]
    np.testing.assert_allclose(pixels, ramp(np.uint16) / 65535, atol=1e-7)
    assert len(np.unique(pixels)) == 320


def test_twelve_bits_in_a_16_bit_png_stay_dark(tmp_path: Path) -> None:
    pixels = read_image(save(tmp_path / "x.png", np.full((16, 16), 4095, np.uint16))).pixels
    np.testing.assert_allclose(pixels, 4095 / 65535)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_a_channel_are_kept_in_a_png(tmp_path: Path, channels: int) -> None:
    codecs = pytest.importorskip("imagecodecs")
    levels = np.arange(0, 4096, 4, dtype=np.uint16).reshape(32, 32)
    samples = [levels] * (channels - (channels in (2, 4))) + [np.full_like(levels, 65535)] * (
        channels in (2, 4)
    )
    (tmp_path / "x.png").write_bytes(codecs.png_encode(np.dstack(samples) if channels > 1 else levels))
    for wanted in (1, 3):
        pixels = read_image(tmp_path / "x.png", wanted).pixels
        np.testing.assert_allclose(pixels, np.repeat(levels[None] / 65535, wanted, 0), atol=1e-7)


def test_sixteen_bits_of_colour_and_of_alpha(tmp_path: Path) -> None:
    codecs = pytest.importorskip("imagecodecs")
    rgba = np.zeros((16, 16, 4), np.uint16)
    rgba[..., :3] = 1001, 2002, 40_004
    rgba[..., 3] = 65535
    rgba[:8, :, 3] = 32768
    (tmp_path / "x.png").write_bytes(codecs.png_encode(rgba))
    found = read_image(tmp_path / "x.png", 3).pixels * 65535
    np.testing.assert_allclose(found[:, 15, 0], [1001, 2002, 40_004], atol=0.1)
    np.testing.assert_allclose(found[:, 0, 0], [1001 / 2, 1001, 20_002], atol=1)


def test_jpeg_is_read(tmp_path: Path) -> None:
    pixels = read_image(save(tmp_path / "x.jpg", np.full((16, 16), 51, np.uint8))).pixels
    np.testing.assert_allclose(pixels, 0.2, atol=0.005)


def test_colour_becomes_luma_and_grey_is_repeated(tmp_path: Path) -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 255
    file = save(tmp_path / "red.png", red)
    np.testing.assert_allclose(read_image(file).pixels, 76 / 255)  # .299 * 255 = 76.2
    three = read_image(file, channels=3).pixels
    assert three.shape == (3, 16, 16)
    np.testing.assert_array_equal(three[:, 0, 0], [1, 0, 0])
    grey = read_image(save(tmp_path / "grey.png", ramp()), channels=3).pixels
    assert grey.shape == (3, 16, 20)
    np.testing.assert_array_equal(grey[0], grey[2])


def test_alpha_lies_over_black(tmp_path: Path) -> None:
    rgba = np.full((16, 16, 4), 200, np.uint8)
    rgba[:, :8, 3] = 0
    rgba[:, 8:, 3] = 255
    pixels = read_image(save(tmp_path / "x.png", rgba)).pixels[0]
    assert (pixels[:, :8] == 0).all()
    np.testing.assert_allclose(pixels[:, 8:], 200 / 255, atol=1e-6)
    grey_alpha = read_image(save(tmp_path / "la.png", rgba, mode="LA")).pixels[0]
    np.testing.assert_array_equal(grey_alpha, pixels)


def test_palette_and_cmyk_become_their_colours(tmp_path: Path) -> None:
    palette = Image.fromarray(np.tile(np.array([0, 1], np.uint8), (16, 8)))
    palette = palette.convert("P")
    palette.putpalette([255, 255, 255, 0, 0, 0] + [0] * 762)  # index 0 is white
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_image(tmp_path / "p.png").pixels[0, 0, :2], [1, 0])
    Image.new("CMYK", (16, 16), (0, 0, 0, 255)).save(tmp_path / "k.jpg")
    assert read_image(tmp_path / "k.jpg").pixels.max() < 0.02


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    pixels = read_image(save(tmp_path / "x.png", ramp() > 128)).pixels[0]
    np.testing.assert_array_equal(pixels, ramp() > 128)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.25, 0.5), (0.25, 0.5)),  # within [0, 1]: kept
        ((-1000.0, 3000.0), (0.0, 1.0)),  # outside: minimum to maximum
        ((7.0, 7.0), (0.0, 0.0)),
    ],
)
def test_float_tiff(tmp_path: Path, values: tuple[float, float], expected: tuple[float, float]) -> None:
    array = np.full((16, 16), values[0], np.float32)
    array[0, 0] = values[1]
    pixels = read_image(save(tmp_path / "x.tif", array)).pixels[0]
    np.testing.assert_allclose([pixels[1, 1], pixels[0, 0]], expected)


def test_sixteen_bit_tiff_with_white_zero_is_inverted(tmp_path: Path) -> None:
    file = save(tmp_path / "x.tif", ramp(np.uint16), tiffinfo={262: 0})
    np.testing.assert_allclose(read_image(file).pixels[0], 1 - ramp(np.uint16) / 65535, atol=1e-6)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying: a viewer turns it by 90 degrees clockwise
    file = save(tmp_path / "x.png", ramp(), exif=exif)
    np.testing.assert_array_equal(
        read_image(file).pixels[0], np.rot90(ramp(), -1).astype(np.float32) / np.float32(255)
    )


def test_jsrt_raw_is_inverted_with_its_spacing(tmp_path: Path) -> None:
    film = np.zeros((2048, 2048), ">u2")
    film[0, 1] = 4095
    film.tofile(tmp_path / "JPCLN001.IMG")
    image = read_image(tmp_path / "JPCLN001.IMG")
    assert image.pixels.shape == (1, 2048, 2048)
    np.testing.assert_array_equal(image.pixels[0, 0, :2], [1, 0])
    assert image.spacing == (0.175, 0.175)


def test_jsrt_of_the_wrong_byte_order_is_refused(tmp_path: Path) -> None:
    np.full((2048, 2048), 1000, "<u2").tofile(tmp_path / "x.IMG")
    with pytest.raises(ImageError, match=r"x\.IMG: values reach 59395, expected 12-bit big-endian"):
        read_image(tmp_path / "x.IMG")


def test_channels_other_than_1_and_3_are_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="use --channels 1 or 3"):
        read_image(save(tmp_path / "x.png", ramp()), channels=2)


def broken(kind: str, folder: Path) -> Path:
    """Make a file that no reader can use."""
    file = folder / "x.png"
    if kind == "missing":
        return file
    if kind == "folder":
        file.mkdir()
    elif kind == "zero bytes":
        file.write_bytes(b"")
    elif kind == "text":
        file.write_text("patient,label\n1,NORMAL\n")
    elif kind == "truncated":
        whole = save(folder / "whole.png", np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
        file.write_bytes(whole.read_bytes()[:2000])
    elif kind == "truncated jpeg":
        whole = save(folder / "whole.jpg", np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
        file.write_bytes(whole.read_bytes()[:1500])
    elif kind == "header only":
        file.write_bytes(b"\x89PNG\r\n\x1a\n")
    elif kind == "1 x 1":
        save(file, np.zeros((1, 1), np.uint8))
    elif kind == "15 x 100":
        save(file, np.zeros((100, 15), np.uint8))
    elif kind == "20,000 x 20,000":
        png_header(file, 20_000, 20_000)
    elif kind == "symlink loop":
        file.symlink_to(file)
    elif kind == "dangling symlink":
        file.symlink_to(folder / "nowhere.png")
    elif kind == "fifo":
        os.mkfifo(file)
    elif kind == "nan":
        file = save(folder / "x.tif", np.full((16, 16), np.nan, np.float32))
    elif kind == "infinite":
        file = save(folder / "x.tif", np.full((16, 16), np.inf, np.float32))
    elif kind == "damaged tiff":
        file = folder / "x.tif"
        file.write_bytes(b"II*\0" + b"\xff" * 40)
    elif kind == "short jsrt":
        file = folder / "x.IMG"
        file.write_bytes(b"\0" * 100)
    elif kind == "dicom that is none":
        file = folder / "x.dcm"
        file.write_bytes(b"not a DICOM file at all" * 20)
    return file


@pytest.mark.parametrize(
    ("kind", "problem", "remedy"),
    [
        ("missing", "no such file", "check the path"),
        ("folder", "is a folder", "name the files in it"),
        ("zero bytes", "is empty (0 bytes)", "copy or export the file again"),
        ("text", "is not a PNG, JPEG", "export it as one of these"),
        ("truncated", "damaged or incomplete", "copy or export the file again"),
        ("truncated jpeg", "damaged or incomplete", "copy or export the file again"),
        ("header only", "damaged or incomplete", "copy or export the file again"),
        ("1 x 1", "1 x 1 pixels is too small", "give the original image"),
        ("15 x 100", "15 x 100 pixels is too small", "give the original image"),
        ("20,000 x 20,000", "20000 x 20000 pixels, more than 100 megapixels", "made smaller first"),
        ("symlink loop", "cannot be opened", "check the file and its permissions"),
        ("dangling symlink", "no such file", "check the path"),
        ("fifo", "is not an ordinary file", "name an image file"),
        ("nan", "256 pixels are NaN or infinite", "replace them and save the image again"),
        ("infinite", "256 pixels are NaN or infinite", "replace them and save the image again"),
        ("damaged tiff", "damaged or incomplete", "copy or export the file again"),
        ("short jsrt", "has 8388608 bytes", "convert it to PNG"),
        ("dicom that is none", "is not a DICOM file", "export it as a DICOM file again"),
    ],
)
def test_broken_files_are_one_line_that_names_file_and_remedy(
    tmp_path: Path, kind: str, problem: str, remedy: str
) -> None:
    file = broken(kind, tmp_path)
    with pytest.raises(ImageError) as caught:
        read_image(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert problem in message
    assert remedy in message
    assert "\n" not in message


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_permission(tmp_path: Path) -> None:
    file = save(tmp_path / "x.png", ramp())
    file.chmod(0)
    with pytest.raises(ImageError, match=r"Permission denied.*check the file and its permissions"):
        read_image(file)


def test_mask_threshold_is_half_of_the_range(tmp_path: Path) -> None:
    array = np.zeros((16, 16), np.uint8)
    array[0, :4] = [127, 128, 255, 1]
    mask = read_mask([save(tmp_path / "m.png", array)])
    assert mask.dtype == bool
    assert mask[0, :4].tolist() == [False, True, True, False]
    assert mask.sum() == 2


def test_mask_of_16_bits_of_0_and_1_and_of_one_bit(tmp_path: Path) -> None:
    left = np.zeros((16, 16), bool)
    left[:, :5] = True
    files = [
        save(tmp_path / "deep.png", left.astype(np.uint16) * 65535),
        save(tmp_path / "ones.png", left.astype(np.uint8)),
        save(tmp_path / "bits.png", left),
        save(tmp_path / "float.tif", left.astype(np.float32)),
    ]
    for file in files:
        np.testing.assert_array_equal(read_mask([file]), left)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("red and green", "levels 0, 76, 150"),
        ("blue and yellow", "levels 0, 29, 226"),
        ("two levels", "levels 0, 100, 200"),
        ("half and full", "levels 0, 127, 255"),
        ("one and ignore", "levels 0, 1, 255"),
        ("palette", "levels 0, 76, 150"),
        ("green and navy", "levels 0, 15, 150"),
        ("dark and white", "levels 0, 10, 255"),
    ],
)
def test_masks_of_several_areas_are_refused_not_halved(tmp_path: Path, kind: str, told: str) -> None:
    areas = np.zeros((64, 64), np.uint8)
    areas[8:56, 8:28], areas[8:56, 36:56] = 1, 2
    colours = {
        "red and green": [0, 0, 0, 255, 0, 0, 0, 255, 0],
        "blue and yellow": [0, 0, 0, 0, 0, 255, 255, 255, 0],
        "green and navy": [0, 0, 0, 0, 255, 0, 0, 0, 128],
    }
    levels = {
        "two levels": [0, 100, 200],
        "half and full": [0, 127, 255],
        "one and ignore": [0, 1, 255],
        "dark and white": [0, 10, 255],
    }
    if kind in levels:
        image = Image.fromarray(np.array(levels[kind], np.uint8)[areas])
    else:
        image = Image.fromarray(areas).convert("P")
        image.putdata(areas.ravel().tolist())
        image.putpalette(colours.get(kind, colours["red and green"]))
        image = image if kind == "palette" else image.convert("RGB")
    image.save(tmp_path / "m.png")
    with pytest.raises(
        ImageError, match=rf"m\.png: mask has areas of the {told}.*one mask file per structure"
    ):
        read_mask([tmp_path / "m.png"])


def test_a_thin_contour_to_be_ignored_does_not_become_the_mask(tmp_path: Path) -> None:
    array = np.zeros((64, 64), np.uint8)
    array[10:50, 10:50] = 255
    array[11:49, 11:49] = 1
    with pytest.raises(ImageError, match=r"m\.png: mask has areas of the levels 0, 1, 255"):
        read_mask([save(tmp_path / "m.png", array)])


@pytest.mark.parametrize("quality", [16, 23, 40, 75])
def test_masks_of_few_levels_that_jpeg_left_are_halved(tmp_path: Path, quality: int) -> None:
    shape = np.zeros((256, 256), np.uint8)
    shape[4:100, 8:64] = 255  # along JPEG's blocks, so that hardly an edge is blurred
    file = save(tmp_path / "m.jpg", shape, quality=quality)
    assert len(np.unique(np.asarray(Image.open(file)))) < 16
    np.testing.assert_array_equal(read_mask([file]), shape == 255)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_float_and_32_bits_may_have_the_range_of_8(tmp_path: Path, dtype: type) -> None:
    levels = np.zeros((16, 16), dtype)
    levels[0, :4] = [127, 128, 255, 1]
    assert np.argwhere(read_mask([save(tmp_path / "m.tif", levels)])).tolist() == [[0, 1], [0, 2]]
    with pytest.raises(ImageError, match=r"m\.tif: mask values reach 2 where 0 and 1 are expected"):
        read_mask([save(tmp_path / "m.tif", np.full((16, 16), 2, dtype))])


def test_masks_with_soft_edges_are_halved(tmp_path: Path) -> None:
    shape = np.zeros((256, 256), np.uint8)
    shape[40:200, 60:180] = 255
    plain = Image.fromarray(shape)
    files = [
        tmp_path / name
        for name in ("soft.png", "blurred.png", "low.jpg", "from_jpeg.png", "green.png", "f.tif")
    ]
    plain.resize((96, 96), Image.Resampling.BILINEAR).resize((256, 256), Image.Resampling.BICUBIC).save(
        files[0]
    )
    plain.filter(ImageFilter.GaussianBlur(4)).save(files[1])
    plain.save(files[2], quality=20)
    Image.open(files[2]).save(files[3])
    Image.merge("RGB", [Image.new("L", plain.size), plain, Image.new("L", plain.size)]).save(files[4])
    Image.fromarray(shape.astype(np.float32)).save(files[5])
    for file in files:
        assert abs(int(read_mask([file]).sum()) - 160 * 120) <= 160 * 120 // 50, file.name


def test_a_mask_of_several_frames_is_refused(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((16, 16), level, np.uint8)) for level in (0, 255)]
    pages[0].save(tmp_path / "m.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(ImageError, match=r"m\.tif: mask has 2 frames, expected one"):
        read_mask([tmp_path / "m.tif"])


def test_mask_union_of_palette_gifs(tmp_path: Path) -> None:
    files = []
    for name, columns in (("left", slice(0, 4)), ("right", slice(8, 12))):
        index = np.ones((16, 16), np.uint8)
        index[:, columns] = 0
        image = Image.fromarray(index).convert("P")
        image.putpalette([255, 255, 255, 0, 0, 0])  # index 0 is the white one
        image.save(tmp_path / f"{name}.gif")
        files.append(tmp_path / f"{name}.gif")
    mask = read_mask(files)
    assert mask[:, :4].all()
    assert mask[:, 8:12].all()
    assert mask.sum() == 16 * 8


def test_empty_mask_is_read_as_empty(tmp_path: Path) -> None:
    assert not read_mask([save(tmp_path / "m.png", np.zeros((16, 16), np.uint8))]).any()


def test_label_map_is_refused_rather_than_read_as_empty(tmp_path: Path) -> None:
    file = save(tmp_path / "m.png", np.full((16, 16), 3, np.uint8))
    with pytest.raises(ImageError, match=r"m\.png: mask values reach 3 .*one mask file per structure"):
        read_mask([file])


def test_masks_of_two_sizes_are_refused(tmp_path: Path) -> None:
    files = [save(tmp_path / f"{n}.png", np.zeros((16, n), np.uint8)) for n in (16, 20)]
    with pytest.raises(ImageError, match=r"20\.png: mask is 20 x 16 but .*16\.png.* is 16 x 16"):
        read_mask(files)


def test_no_mask_file_is_refused() -> None:
    with pytest.raises(ImageError, match="name at least one file"):
        read_mask([])


def test_natural_order() -> None:
    assert sorted(["x10", "x9b", "x9", "a"], key=natural_key) == ["a", "x9", "x9b", "x10"]


def test_find_images_expands_folders(tmp_path: Path) -> None:
    for name in ("10.png", "9.jpeg", "notes.txt", ".hidden.png", "sub/a.TIF", ".git/b.png", "film"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"\0" * 128 + b"DICM" if name == "film" else b"x")
    save(tmp_path / "photo.png", np.zeros((16, 16), np.uint8)).rename(
        tmp_path / "photo"
    )  # told by its beginning
    save(tmp_path / "p.png", np.zeros((16, 16), np.uint8)).rename(tmp_path / "p.bak")
    (tmp_path / "sub" / "back").symlink_to(tmp_path)
    found = find_images([tmp_path])
    names = [f.relative_to(tmp_path).as_posix() for f in found]
    assert names == ["9.jpeg", "10.png", "film", "photo", "sub/a.TIF"]
    again = find_images([tmp_path / "10.png", tmp_path, tmp_path / "missing.png"])
    assert again[0].name == "10.png"
    assert again[-1].name == "missing.png"  # kept: reading it says what is wrong
    assert len(again) == 6
    assert other_kinds(tmp_path, found) == "2 files of other kinds (1 .bak, 1 .txt)"
    assert other_kinds(tmp_path, [*found, tmp_path / "p.bak"]) == "1 file of another kind (1 .txt)"


def test_find_images_in_a_folder_without_any(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no image in this folder; expected .*\.png"):
        find_images([tmp_path])


@pytest.mark.real
def test_shared_image_and_mask(shared: Path) -> None:
    folder = shared / "data" / "segmentation" / "jsrt"
    image = read_image(sorted((folder / "images").iterdir())[0])
    mask = read_mask([sorted((folder / "masks").iterdir())[0]])
    assert image.size == mask.shape == (256, 256)
    assert image.pixels[0][mask].mean() < image.pixels[0][~mask].mean()  # lungs are dark


def test_scr_masks_are_doubled_to_the_size_of_the_film_and_others_are_refused(tmp_path: Path) -> None:
    half = np.zeros((1024, 1024), np.uint8)
    half[10, 20] = 255
    for name in ("scr.gif", "other.png"):
        Image.fromarray(half).save(tmp_path / name)
    mask = read_mask([tmp_path / "scr.gif"], (2048, 2048))
    assert mask.shape == (2048, 2048)
    assert np.argwhere(mask).tolist() == [[20, 40], [20, 41], [21, 40], [21, 41]]
    for name, size in [("other.png", (2048, 2048)), ("scr.gif", (512, 512))]:
        with pytest.raises(
            ImageError, match=f"{name}.*1024 x 1024 but its image is {size[1]} x {size[0]}; export"
        ):
            read_mask([tmp_path / name], size)
