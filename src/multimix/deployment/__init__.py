"""A trained model as one file for other runtimes: graph, formats and the certificate of parity. Imports torch."""
