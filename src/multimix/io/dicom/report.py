"""The report of an answer: Comprehensive 3D SR by template TID 1500 "Measurement Report" (PS3.16).

A class is a group (TID 1501) whose finding is the class and whose measurement is its Probability, 0 to 1; the
class that is answered is Present, which need not be the most probable one, and the others are Absent.
A structure is a group (TID 1410) that refers to its segment of the Segmentation, or, where none is made, a group
(TID 1501) of its Area; that is there, in mm2, where the image says what a pixel measures. The cardiothoracic ratio is
not computed, so it is not there.
"""

import uuid
from collections.abc import Sequence
from dataclasses import asdict

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.seg import Segmentation
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegmentationFrame,
    SourceImageForMeasurementGroup,
    SourceImageForSegmentation,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import EnhancedSRStorage, ExplicitVRLittleEndian

from multimix.io.dicom.codes import PRIVATE_SCHEME, class_code, is_private, readable, structure_code
from multimix.io.dicom.header import MANUFACTURER
from multimix.io.dicom.identity import WARNING, Algorithm, answer_uid, identity
from multimix.types import NONE, Prediction

_PRESENT, _ABSENT = (
    QualitativeEvaluation(codes.DCM.PresenceOfProperty, code)
    for code in (codes.DCM.Present, codes.DCM.Absent)
)
_ENHANCED = uuid.UUID("0c9f0a53-0f3e-4c0e-9a53-3b1d6a5f1c88")
_Group = MeasurementsAndQualitativeEvaluations | PlanarROIMeasurementsAndQualitativeEvaluations


def report(
    source: Dataset,
    segmentation: Segmentation | None,
    prediction: Prediction,
    algorithm: Algorithm,
    remark: str,
) -> Comprehensive3DSR:
    """The report about `source` (of a `Source`); `segmentation` holds the masks of `prediction`, if one is made.

    `remark` stands with every finding.
    """
    notes = [*_decided(prediction), *filter(None, [remark])]
    groups: list[_Group] = [
        _class_group(source, name, prediction, algorithm, notes) for name in prediction.probabilities
    ]
    for number, name in enumerate(prediction.masks, start=1):
        if segmentation is not None:
            groups.append(_structure_group(source, segmentation, number, name, prediction, algorithm, remark))
        elif prediction.spacing is not None:
            groups.append(_area_group(source, name, prediction, algorithm, remark))
    names = identity(source, algorithm, "report")
    observer = DeviceObserverIdentifyingAttributes(
        uid=answer_uid("", algorithm, "device"),
        name=f"multimix, {WARNING}",
        manufacturer_name=MANUFACTURER,
        model_name=names.manufacturer_model_name,
        serial_number=names.device_serial_number,
    )
    content = MeasurementReport(
        observation_context=ObservationContext(
            observer_device_context=ObserverContext(codes.DCM.Device, observer)
        ),
        procedure_reported=codes.SCT.PlainRadiography,
        imaging_measurements=groups,
        # No image library, which is optional: highdicom's wants attributes that a CR may lack.
        title=codes.DCM.ImagingMeasurementReport,
    )
    found = [*map(class_code, prediction.probabilities), *map(structure_code, prediction.masks)]
    document = Comprehensive3DSR(
        evidence=[source] if segmentation is None else [source, segmentation],
        content=content[0],
        is_complete=True,
        is_final=False,
        is_verified=False,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        specific_character_set="ISO_IR 192",
        coding_schemes=coding_schemes(found),
        **asdict(names),
    )
    document.PreliminaryFlag = "PRELIMINARY"
    return document


def as_enhanced(report: Dataset) -> Dataset:
    """The same report as Enhanced SR (PS3.3 A.35.2), for archives that take no Comprehensive 3D SR; `report` changes.

    TID 1500 without spatial coordinates needs nothing more. It is another object, so it has another UID, which follows
    from that of `report`.
    """
    report.SOPClassUID = EnhancedSRStorage
    report.SOPInstanceUID = enhanced_uid(report.SOPInstanceUID)
    report.file_meta.MediaStorageSOPClassUID = report.SOPClassUID
    report.file_meta.MediaStorageSOPInstanceUID = report.SOPInstanceUID
    return report


def enhanced_uid(report_uid: str) -> str:
    """SOP Instance UID of the Enhanced SR in place of the report with this one."""
    return f"2.25.{uuid.uuid5(_ENHANCED, report_uid).int}"


def coding_schemes(found: Sequence[CodedConcept]) -> list[CodingSchemeIdentificationItem] | None:
    """Our own coding scheme, introduced where one of the codes is of it (PS3.3 C.12.1.1.4.1)."""
    if not any(map(is_private, found)):
        return None
    name = "Names of multimix's structures and classes"
    return [CodingSchemeIdentificationItem(PRIVATE_SCHEME, name=name, responsible_organization=MANUFACTURER)]


def _decided(prediction: Prediction) -> list[str]:
    """The answer in words, as the probabilities alone may suggest another: it is decided at an operating point."""
    if not prediction.probabilities:
        return []
    answered = "none of the classes" if prediction.predicted == NONE else prediction.predicted
    said = [f"Answer: {answered}", f"Decision: {prediction.decision}"]
    if prediction.prediction_set:
        said.append(f"Not ruled out: {', '.join(prediction.prediction_set)}")
    return said


def _class_group(
    source: Dataset, name: str, prediction: Prediction, algorithm: Algorithm, notes: Sequence[str]
) -> MeasurementsAndQualitativeEvaluations:
    probability = round(prediction.probabilities[name], 6)
    answered = name in prediction.predicted.split("|")
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(source, algorithm, "class", name),
        finding_type=class_code(name),
        algorithm_id=_algorithm(algorithm, *notes),
        measurements=[Measurement(codes.DCM.Probability, probability, codes.UCUM.NoUnits)],
        qualitative_evaluations=[_PRESENT if answered else _ABSENT],
        source_images=[SourceImageForMeasurementGroup.from_source_image(source)],
    )


def _structure_group(
    source: Dataset,
    segmentation: Segmentation,
    number: int,
    name: str,
    prediction: Prediction,
    algorithm: Algorithm,
    remark: str,
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    measurements, notes = _area(name, prediction, remark)
    segment = ReferencedSegmentationFrame(
        sop_class_uid=segmentation.SOPClassUID,
        sop_instance_uid=segmentation.SOPInstanceUID,
        frame_number=number,
        segment_number=number,
        source_image=SourceImageForSegmentation.from_source_image(source),
    )
    # The segment is the reference; a frame number beside it is not allowed, PS3.3 table 10-3.
    del segment[0].ReferencedSOPSequence[0].ReferencedFrameNumber
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(source, algorithm, "structure", name),
        referenced_segment=segment,
        finding_type=structure_code(name),
        algorithm_id=_algorithm(algorithm, *notes),
        measurements=measurements,
    )


def _area_group(
    source: Dataset, name: str, prediction: Prediction, algorithm: Algorithm, remark: str
) -> MeasurementsAndQualitativeEvaluations:
    measurements, notes = _area(name, prediction, remark)
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(source, algorithm, "structure", name),
        finding_type=structure_code(name),
        algorithm_id=_algorithm(algorithm, *notes),
        measurements=measurements,
        source_images=[SourceImageForMeasurementGroup.from_source_image(source)],
    )


def _area(name: str, prediction: Prediction, remark: str) -> tuple[list[Measurement] | None, list[str]]:
    """The Area of a structure, where it is known, and what a reader must know of it."""
    notes = [remark] if remark else []
    area = prediction.area_mm2(name)
    if area is None or prediction.spacing is None:
        return None, notes
    row, column = prediction.spacing
    size = f"Area from {row:g} x {column:g} mm per pixel (row x column). {prediction.spacing_note}"
    measurement = Measurement(codes.SCT.Area, float(f"{area:.8g}"), codes.UCUM.SquareMillimeter)
    return [measurement], [size.strip(), *notes]


def _tracking(source: Dataset, algorithm: Algorithm, kind: str, name: str) -> TrackingIdentifier:
    uid = answer_uid(str(source.SOPInstanceUID), algorithm, f"{kind} {name}")
    return TrackingIdentifier(uid=uid, identifier=readable(name, 1024) or kind)


def _algorithm(algorithm: Algorithm, *notes: str) -> AlgorithmIdentification:
    """TID 4019: the model's name and version, its weights, and what a reader must know of a value."""
    parameters = [f"Weights, SHA-256: {algorithm.weights}", *notes, f"Research software, {WARNING}"]
    return AlgorithmIdentification(algorithm.name, algorithm.version, parameters=parameters)
