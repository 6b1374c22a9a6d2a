"""Answers where the images are: over HTTP and in the archive."""
