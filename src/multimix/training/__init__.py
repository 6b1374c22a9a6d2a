"""From records to trained weights: batches, augmentation, objective, loop and state. Imports torch."""
