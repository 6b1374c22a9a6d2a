"""DICOM in and out; needs the `dicom` extra."""
