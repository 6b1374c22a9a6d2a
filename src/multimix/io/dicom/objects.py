"""Answers as DICOM objects that land in the study of the image: Segmentation, report and overlay.

Segmentation  one BINARY segment per structure, pixel for pixel on the image, PS3.3 A.51
Report        Comprehensive 3D SR by template TID 1500: `report`
Overlay       secondary capture in RGB, PS3.3 A.8.1: image, outlines and saliency, with a warning burned in

A projection has no place in space, but viewers (OHIF) and converters (dcmqi, 3D Slicer) read no Segmentation without
one. So it has a nominal one: rows along x, columns along y, from the origin, in a frame of reference that is the
image's own or else that of this one answer.

Needs `multimix[dicom]`. The same image and weights give the same UIDs (`identity`), so an archive that
gets an answer twice keeps one.
"""

from collections.abc import Collection
from copy import copy
from dataclasses import asdict
from typing import Literal

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.sc import SCImage
from highdicom.seg import Segmentation, SegmentDescription
from highdicom.sr import CodedConcept
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from multimix.errors import ImageError
from multimix.io.dicom.codes import readable, structure_code
from multimix.io.dicom.header import MANUFACTURER, ON_REQUEST, is_ours
from multimix.io.dicom.identity import WARNING, Algorithm, algorithm_of, answer_uid, identity
from multimix.io.dicom.report import coding_schemes, report
from multimix.io.dicom.source import aspect, cleaned
from multimix.io.overlay import overlay
from multimix.types import Prediction

__all__ = ["WARNING", "Algorithm", "algorithm_of", "answer_objects", "is_ours"]

Result = Literal["seg", "sr", "overlay"]
RESULTS: tuple[Result, ...] = ("seg", "sr", "overlay")
"""What an answer can consist of."""

_LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
_READABLE = 200  # pixels of width that the warning needs


def answer_objects(
    source: Dataset,
    prediction: Prediction,
    pixels: Float[np.ndarray, "C H W"],
    algorithm: Algorithm,
    results: Collection[Result] = RESULTS,
) -> list[Dataset]:
    """Segmentation (where the model has masks), report, and overlay (where it has classes), in this order, as far as
    they are among `results`.

    `source` is the image's header, its pixels need not be there; `pixels` in [0, 1] is what the overlay is
    drawn on. Every object refers to `source` and carries its patient and study; what `source` lacks of these
    is left empty. Of an image that is answered although it would be rejected, every object says so. Raises
    ImageError where `source` has not what a reference needs (`cleaned`), or is of another size than the prediction.
    """
    rejection = prediction.rejection
    remark = f"{ON_REQUEST.capitalize()}: {rejection}" if rejection else ""
    origin = cleaned(source, prediction.path, algorithm)
    clean = origin.clean
    size = (int(clean.Rows), int(clean.Columns))
    if any(mask.shape != size for mask in prediction.masks.values()) or pixels.shape[1:] != size:
        raise ImageError(
            f"{prediction.path}: the answer is of another size than the DICOM image ({size[1]} x {size[0]}); "
            "answer the pixels of this very image"
        )
    # The name is set at the end: highdicom warns of names with one component, as anonymised images have.
    patient, clean.PatientName = clean.PatientName, ""
    pixel = aspect(source, prediction.spacing)
    objects: list[Dataset] = []
    segmentation = None
    if prediction.masks and "seg" in results:
        segmentation = _segmentation(
            _placed(clean, prediction, pixel, algorithm), prediction, algorithm, remark
        )
        objects.append(segmentation)
    if "sr" in results:
        objects.append(report(clean, segmentation, prediction, algorithm, _remarks(remark, prediction.note)))
    if prediction.saliency is not None and "overlay" in results:
        objects.append(_overlay(clean, prediction, pixels, algorithm, remark, pixel))
    for made in objects:
        made.PatientName = patient
        origin.restore(made)
    return objects


def _remarks(remark: str, note: str) -> str:
    return ". ".join(filter(None, (remark, note and f"Of the file: {note}")))


def _placed(
    source: Dataset, prediction: Prediction, pixel: tuple[int, int] | None, algorithm: Algorithm
) -> Dataset:
    """A copy of `source` with the nominal place; a pixel of unknown size, and the plane, are a millimetre wide."""
    placed = copy(source)
    height, width = pixel or (1, 1)
    placed.PixelSpacing = [float(f"{mm:.8g}") for mm in prediction.spacing or (height / width, 1.0)]
    placed.ImageOrientationPatient, placed.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 0]
    placed.SliceThickness = 1
    if "FrameOfReferenceUID" not in placed:
        placed.FrameOfReferenceUID = answer_uid(source.SOPInstanceUID, algorithm, "frame of reference")
        placed.PositionReferenceIndicator = ""
    return placed


def _segmentation(source: Dataset, prediction: Prediction, algorithm: Algorithm, remark: str) -> Segmentation:
    made_by = AlgorithmIdentificationSequence(
        name=readable(algorithm.name, 64) or "multimix",
        family=codes.DCM.ArtificialIntelligence,
        version=readable(algorithm.version, 64) or "0",
        source=MANUFACTURER,
        parameters={"weights": algorithm.weights},
    )
    segments = [
        SegmentDescription(
            segment_number=number,
            segment_label=readable(name, 64) or f"structure {number}",
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=structure_code(name),
            algorithm_type="AUTOMATIC",
            algorithm_identification=made_by,
        )
        for number, name in enumerate(prediction.masks, start=1)
    ]
    made = Segmentation(
        source_images=[source],
        pixel_array=np.stack(list(prediction.masks.values()), axis=-1)[None].astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=segments,
        omit_empty_frames=False,  # so that frame n is segment n, also where nothing was found
        content_label="ANATOMY",
        content_description=f"Structures found by multimix, {WARNING}{', on request' if remark else ''}",
        content_creator_name="multimix^",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        specific_character_set="ISO_IR 192",
        coding_schemes=coding_schemes([structure_code(name) for name in prediction.masks]),
        **asdict(identity(source, algorithm, "segmentation")),
    )
    made.PatientOrientation = source.PatientOrientation  # the frames lie as the image does
    return made


def _overlay(
    source: Dataset,
    prediction: Prediction,
    pixels: Float[np.ndarray, "C H W"],
    algorithm: Algorithm,
    remark: str,
    pixel: tuple[int, int] | None,
) -> SCImage:
    words = f"{WARNING}, rejected: on request" if remark else WARNING
    picture = _warned(overlay(pixels, prediction.masks, prediction.pictured_saliency), words)
    probable = max(prediction.probabilities, key=lambda name: prediction.probabilities[name])
    capture = SCImage.from_ref_dataset(
        ref_dataset=source,
        pixel_array=picture,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),  # replaced below: highdicom knows no image without one
        transfer_syntax_uid=ExplicitVRLittleEndian,
        specific_character_set="ISO_IR 192",
        **asdict(identity(source, algorithm, "overlay")),
    )
    capture.PatientOrientation = source.PatientOrientation
    capture.Laterality = ""  # type 2C: of an unpaired part, or of one that is not known
    capture.copy_patient_and_study_information(source)
    capture.ImageType = ["DERIVED", "SECONDARY"]
    if pixel is not None:
        capture.PixelAspectRatio = list(pixel)
    for keyword in _LOSSY:
        if keyword in source:
            setattr(capture, keyword, source[keyword].value)
    capture.BurnedInAnnotation = "YES"
    capture.ImageComments = f"Research software, {WARNING}. {remark}".strip()
    capture.DerivationDescription = (
        f"multimix {algorithm.version}: outlines of structures{_of_saliency(prediction, probable)} over the source "
        f"image; {WARNING}"
    )
    capture.SourceImageSequence = [_source_image(source)]
    return capture


def _of_saliency(prediction: Prediction, probable: str) -> str:
    """What the overlay shows of it, with the verdict of its tests; the value is of at most 1,024 characters."""
    verdict = readable(prediction.saliency_verdict, 400)
    if prediction.pictured_saliency is None:
        return f" (the saliency is left out: {verdict})"
    told = f": {verdict}" if verdict else ""
    return f" and saliency (what speaks for the most probable class, {readable(probable, 64)}{told})"


def _source_image(source: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    purpose = codes.DCM.SourceImageForImageProcessingOperation
    item.PurposeOfReferenceCodeSequence = [
        CodedConcept(purpose.value, purpose.scheme_designator, purpose.meaning)
    ]
    return item


def _warned(picture: UInt8[np.ndarray, "H W 3"], words: str) -> UInt8[np.ndarray, "h w 3"]:
    """`picture` with `words` in a dark band at its lower edge; enlarged where it is too small to read."""
    factor = -(-_READABLE // picture.shape[1])
    image = Image.fromarray(picture.repeat(factor, axis=0).repeat(factor, axis=1))
    draw = ImageDraw.Draw(image)
    # As large as fits: a 30th of the width per character or so, at most a 20th of the height.
    wanted = max(11, min(image.width * len(WARNING) // (14 * len(words)), image.height // 20))
    font = ImageFont.load_default(wanted)
    box = draw.textbbox((0, 0), words, font=font)
    band = round(1.6 * wanted)
    draw.rectangle((0, image.height - band, image.width, image.height), fill=(0, 0, 0))
    left, top = (image.width - box[2] - box[0]) / 2, image.height - (band + box[3] + box[1]) / 2
    draw.text((left, top), words, font=font, fill=(255, 220, 80))
    return np.asarray(image)
