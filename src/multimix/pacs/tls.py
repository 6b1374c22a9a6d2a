"""DICOM over TLS, PS3.15 B.12: version 1.2 or newer, certificates of both sides where both are given."""

import ssl

from multimix.errors import UsageError
from multimix.pacs.config import TlsConfig


def server_context(config: TlsConfig) -> ssl.SSLContext | None:
    """For the node; with `ca_file` only clients with a certificate of that authority are let in.

    None where there is no certificate. Raises UsageError.
    """
    if not config.certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, config, "node.tls")
    if config.ca_file:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(config: TlsConfig) -> ssl.SSLContext | None:
    """For a peer, whose certificate must be of the authority `ca_file` and name its host.

    None where there is no `ca_file`. Raises UsageError.
    """
    if not config.ca_file:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _load(context, config, "peer.tls")
    return context


def _load(context: ssl.SSLContext, config: TlsConfig, name: str) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if config.certificate:
            context.load_cert_chain(config.certificate, config.key)
        if config.ca_file:
            context.load_verify_locations(config.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"{name}: cannot be used ({error.strerror or type(error).__name__}). Give PEM files: certificate, its key "
            "without a password, ca_file."
        ) from error
