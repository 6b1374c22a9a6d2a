"""Loaded by schemathesis: to a schema any bytes are a file; these are files that are images."""

import schemathesis
import services
from hypothesis import strategies as st

import studies

IMAGES = {
    "image/png": [services.encoded("PNG"), services.encoded("PNG", services.pixels(16, 90))],
    "image/jpeg": [services.encoded("JPEG")],
    "application/dicom": [services.file_of(studies.cr()), services.file_of(studies.capture())],
}

for media_type, files in IMAGES.items():
    schemathesis.openapi.media_type(media_type, st.sampled_from(files))
