"""From an uploaded file to a Radiograph, with its size known before anything is decoded.

PNG, JPEG and DICOM only, told by the first bytes and never by the name; fewer decoders are fewer surprises.
"""

import struct
from io import BytesIO

from PIL import JpegImagePlugin

from multimix.errors import ImageError
from multimix.io.dicom.read import read_header
from multimix.io.limits import explained
from multimix.io.readers import is_dicom, read_image_bytes
from multimix.types import Radiograph

NAME = "image"
"""What readers call the file; its real name may be anything, and would end in a log."""

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


def declared_pixels(data: bytes, limit: int) -> int:
    """Height times width as the header says, decoding nothing. Raises ImageError where it is above `limit`.

    Also for what is no PNG, JPEG or DICOM file, or is damaged so early that it has no size.
    """
    if not data:
        raise ImageError(f"{NAME}: is empty (0 bytes); export the file again")
    head = data[:132]
    with explained(NAME):
        if head.startswith(_PNG):
            width, height = _png_size(data)
        elif head.startswith(_JPEG):
            with JpegImagePlugin.JpegImageFile(BytesIO(data)) as image:
                width, height = image.size
        elif is_dicom(head):
            width, height = _dicom_size(data)
        else:
            raise ImageError(f"{NAME}: is not a PNG, JPEG or DICOM file; export it as one of these")
    if height * width > limit:
        raise ImageError(
            f"{NAME}: {width} x {height} pixels are more than the {limit / 1e6:g} megapixels this service takes; "
            "make the image smaller first"
        )
    return height * width


def decode(data: bytes, channels: int) -> Radiograph:
    """The radiograph of a file that `declared_pixels` let pass, with 1 or 3 `channels`. Raises ImageError.

    What its DICOM header says against it stands in `against`, so that the predictor can reject it.
    """
    return read_image_bytes(data, NAME, channels, force=True)


def reason(error: ImageError) -> str:
    """The message without the stand-in name, as a sentence, with this service's words for the command's options."""
    words = str(error).removeprefix(f"{NAME}: ")
    return sentence(words.replace("use --format png", "ask for another format"))


def sentence(text: str) -> str:
    """With a capital at its beginning, and everything else as it is."""
    return text[:1].upper() + text[1:]


def _png_size(data: bytes) -> tuple[int, int]:
    # The PNG specification (section 5.6) puts IHDR first; its width and height are bytes 16 to 23.
    if len(data) < 24 or data[12:16] != b"IHDR":
        raise ImageError(f"{NAME}: damaged PNG without a header; export the file again")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def _dicom_size(data: bytes) -> tuple[int, int]:
    header = read_header(BytesIO(data), NAME)
    return int(header.get("Columns") or 0), int(header.get("Rows") or 0)
