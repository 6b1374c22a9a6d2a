"""Scores: of class probabilities over many images, of one mask."""
