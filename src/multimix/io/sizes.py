"""The size of an image from its header, without decoding it."""

from pathlib import Path

from PIL import Image

from multimix.errors import ImageError
from multimix.io import tiff
from multimix.io.limits import explained
from multimix.io.planes import is_plane, plane_size
from multimix.io.readers import DICOM_SUFFIXES, HEAD, JSRT_SIDE, is_dicom

_FORMATS = ("PNG", "JPEG", "TIFF", "GIF", "BMP")


def image_size(path: Path) -> tuple[int, int]:
    """Height and width in pixels, as stored; ImageError where the file is missing or has no header that is known."""
    if path.suffix.lower() == ".img":
        return JSRT_SIDE, JSRT_SIDE
    if is_plane(path.name):
        return plane_size(path)
    try:
        with explained(path), path.open("rb") as stream:
            head = stream.read(HEAD)
        if path.suffix.lower() in DICOM_SUFFIXES or is_dicom(head):
            import pydicom

            with explained(path):
                header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
                return int(header.Rows), int(header.Columns)
        if head.startswith(tiff.MAGIC):  # of which Pillow knows some kinds only
            with path.open("rb") as stream:
                if (found := tiff.look(stream, str(path))) is not None:
                    return found.size
        with explained(path), Image.open(path, formats=_FORMATS) as image:
            return image.height, image.width
    except ImportError as error:
        raise ImageError(
            f"{path}: DICOM needs an extra; install it with `pip install 'multimix[dicom]'`."
        ) from error
