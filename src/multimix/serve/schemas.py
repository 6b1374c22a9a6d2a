"""The shapes of what the API sends, for its OpenAPI description; the examples are answers to a phantom."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from multimix.inference.stability import STABILITY
from multimix.serve.answers import NOTICE
from multimix.serve.uploads import FIELD

_WEIGHTS = "3b4fb0a1" * 8

FILE_EXAMPLE: dict[str, Any] = {
    "name": "chest.dcm",
    "status": "ok",
    "height": 2048,
    "width": 1789,
    "predicted": "PNEUMONIA",
    "prediction_set": ["PNEUMONIA"],
    "decision": "PNEUMONIA 0.858 reaches its threshold 0.280",
    "probabilities": {"NORMAL": 0.142033, "PNEUMONIA": 0.857967},
    "thresholds": {"NORMAL": 0.720323, "PNEUMONIA": 0.279677},
    "p_range": {"NORMAL": [0.097112, 0.180231], "PNEUMONIA": [0.819769, 0.902888]},
    "p_range_of": STABILITY,
    "area_px": {"lungs": 812345},
    "area_mm2": {"lungs": 24862.21},
    "spacing_mm": [0.175, 0.175],
    "spacing_note": "ImagerPixelSpacing: at the detector, so lengths in the patient are shorter",
}
MODEL_EXAMPLE = {"name": "multimix", "version": "0.1.0", "weights": _WEIGHTS}
ANSWERS_EXAMPLE: dict[str, Any] = {
    "files": [
        FILE_EXAMPLE,
        {
            "name": "letter.pdf",
            "status": "failed",
            "error": "Is not a PNG, JPEG or DICOM file; export it as ...",
        },
    ],
    "model": MODEL_EXAMPLE,
    "notice": NOTICE,
}


class ModelName(BaseModel):
    """Which weights answered."""

    name: str
    version: str
    weights: str = Field(description="SHA-256 of the weights.", pattern="^[0-9a-f]{64}$")


class Values(BaseModel):
    """The values of an image."""

    bits: Literal[8, 16]
    png: str = Field(
        description="PNG, base64: grey or RGB of 8 bits; with 16 bits a grey one of twice the width, "
        "the high bytes left, the low bytes right."
    )


class Header(BaseModel):
    """Whose and what a DICOM image is; what its header leaves empty is left out."""

    patient: str | None = None
    patient_id: str | None = None
    birth_date: str | None = None
    sex: str | None = None
    age: str | None = None
    date: str | None = Field(None, description="Of the image, else of its series or study.")
    time: str | None = None
    view: str | None = None
    laterality: str | None = None
    body_part: str | None = None
    modality: str | None = None
    study: str | None = None


class FileAnswer(BaseModel):
    """One image: fields that the model or the file cannot give are left out."""

    name: str
    status: Literal["ok", "failed", "rejected"] = Field(
        description="rejected: the model is not for such an image, and force was not given."
    )
    error: str | None = Field(None, description="Why there is no answer, and what to do.")
    rejection: str | None = Field(
        None, description="Why the model is not for this image; with force beside the answer."
    )
    height: int | None = Field(None, description="Pixels, after the image was turned upright.")
    width: int | None = None
    predicted: str | None = Field(
        None,
        description="The class decided for; where classes are not exclusive all of them, joined by '|', or 'none'.",
    )
    prediction_set: list[str] | None = Field(
        None, description="The classes not ruled out at the coverage that the model's card states."
    )
    decision: str | None = Field(None, description="How predicted follows from the probabilities.")
    probabilities: dict[str, float] | None = None
    thresholds: dict[str, float] | None = Field(
        None, description="The probability from which a class is decided; without it the largest decides."
    )
    p_range: dict[str, tuple[float, float]] | None = Field(None, description="With stability=true.")
    p_range_of: str | None = Field(None, description="What p_range is the range of.")
    area_px: dict[str, int] | None = Field(None, description="Structure -> pixels of the image itself.")
    area_mm2: dict[str, float] | None = Field(None, description="Where the file gives a pixel spacing.")
    spacing_mm: tuple[float, float] | None = Field(None, description="Row and column spacing.")
    spacing_note: str | None = Field(None, description="Where the spacing was measured, how far to trust it.")
    note: str | None = Field(None, description="What a DICOM header says that was not followed.")
    mask: dict[str, str] | None = Field(None, description="Structure -> PNG, 0 and 255, base64.")
    saliency: str | None = Field(None, description="Grey PNG, base64.")
    overlay: str | None = Field(None, description="Colour PNG with outlines and heat, base64.")
    image: str | None = Field(None, description="The image as decoded, grey PNG, base64.")
    pixels: Values | None = Field(None, description="With pixels=true.")
    header: Header | None = Field(None, description="With header=true, of a DICOM file.")


class Answers(BaseModel):
    """The answer to a request in which at least one image could be used."""

    model_config = ConfigDict(json_schema_extra={"examples": [ANSWERS_EXAMPLE]})

    files: list[FileAnswer] = Field(description="In the order of the request.")
    model: ModelName
    notice: str


class Problem(BaseModel):
    """Why a request was refused."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"detail": "Is empty (0 bytes); export the file again"}]}
    )

    detail: str = Field(description="One line.")
    files: list[FileAnswer] | None = Field(
        None, description="Where every file was refused: each one's reason."
    )
    model: ModelName | None = None
    notice: str | None = None


class ScoreLine(BaseModel):
    """How the model did on labelled images."""

    source: str
    split: str
    images: int
    metric: str
    value: float | None
    low: float | None = Field(description="Of the 95 % interval over patients.")
    high: float | None
    trivial: float | None = Field(description="The same score of the answer that needs no model.")


class TaughtLine(BaseModel):
    """Images that the model learned from."""

    source: str
    taught: Literal["classes", "masks"]
    images: int


class Card(ModelName):
    """What is known about the model."""

    input: str = Field(description="What one image is, as far as it is known, such as 'frontal chest X-ray'.")
    trained_on: list[TaughtLine] = Field(description="Empty where it is not known.")

    classes: list[str]
    exclusive: bool = Field(description="Whether the probabilities of the classes sum to 1.")
    structures: list[str]
    size: int = Field(description="Side in pixels of what the network sees.")
    thresholds: dict[str, float] = Field(
        description="The probability from which a class is decided; empty where the largest decides."
    )
    decision: str = Field(description="How a class is decided, in words.")
    calibrated: bool = Field(description="Whether the probabilities were calibrated on validation images.")
    coverage: float | None = Field(description="Of prediction_set; null where the model has none.")
    rejects: bool = Field(description="Whether images unlike those learned from are rejected.")
    saliency: str = Field(description="What the saliency says and what it does not.")
    scores: list[ScoreLine]
    intervals: str = Field(description="Which intervals there are for a single image.")
    notice: str


class State(BaseModel):
    """Whether the service runs, or can answer."""

    status: Literal["ok"]


REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [FIELD],
                "properties": {
                    FIELD: {
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "string", "format": "binary"},
                        "description": "PNG, JPEG or DICOM files.",
                    }
                },
            },
            "encoding": {FIELD: {"contentType": "image/png, image/jpeg, application/dicom"}},
        }
    },
}
