"""The network and its layers, its saliency, and weights turned into a network again. Imports torch."""
