"""What a client asks for: the parameters of `/v1/predict`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Format = Literal["json", "mask", "overlay", "saliency", "dicom"]


class Wanted(BaseModel):
    """The query; by default the answer in words."""

    model_config = ConfigDict(frozen=True)

    format: Format = Field("json", description="What is sent back; see the responses.")
    mask: bool = Field(False, description="Put the masks into the JSON.")
    saliency: bool = Field(False, description="Put the saliency into the JSON.")
    overlay: bool = Field(False, description="Put a picture with outlines and heat into the JSON.")
    image: bool = Field(False, description="Put the image as decoded into the JSON.")
    pixels: bool = Field(False, description="Put the values of the image into the JSON, to be windowed.")
    header: bool = Field(
        False, description="Put patient, date and view into the JSON, where the file is DICOM."
    )
    stability: bool = Field(False, description="Add p_range: six changed images are answered too.")
    force: bool = Field(
        False, description="Answer lateral views, other body parts and images unlike those learned from."
    )
