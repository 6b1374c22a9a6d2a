"""What the service allows, in one place; every limit is there so that one request cannot hurt the others."""

from dataclasses import dataclass, field

from multimix.errors import UsageError

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class Limits:
    """Bounds of one request and of all requests together."""

    body_bytes: int = 64 * 2**20
    """Size of a request's body."""
    files: int = 32
    """Images in one request."""
    pixels: int = 36_000_000
    """Height times width of one image; a 6000 x 6000 film."""
    body_seconds: float = 30.0
    """Time for the body to arrive."""
    seconds: float = 60.0
    """Time from the arrived body to the answer."""
    header_bytes: int = 32 * 2**10
    """Size of a request's headers."""
    header_seconds: float = 10.0
    """Time for the headers to arrive, from the connection or the last answer on it."""
    waiting_connections: int = 256
    """Connections without a request; of more, the one that waits longest is closed."""
    held_bytes: int = 256 * 2**20
    """Bodies held in memory at once; later requests wait."""
    held_pixels: int = 80_000_000
    """Pixels of decoded images held in memory at once (20 to 30 bytes each); later images wait."""
    batch: int = 16
    """Images that go through the network together."""
    patience: float = 0.01
    """Seconds that a batch waits for images that are being decoded; none where nothing is on its way."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise UsageError(f"{name}: expected more than 0, got {value}; leave it out for the default.")


@dataclass(frozen=True)
class Settings:
    """How a service is reached."""

    token: str | None = None
    """What `Authorization: Bearer` must say; None lets everybody in who reaches the address."""
    hosts: frozenset[str] | None = LOOPBACK
    """Names that the Host header may have, lower case, without port; None allows all."""
    limits: Limits = field(default_factory=Limits)


def settings_for(
    host: str, token: str | None, extra_hosts: tuple[str, ...] = (), limits: Limits | None = None
) -> Settings:
    """The settings of a service bound to `host`.

    On loopback only its own names are answered (and `extra_hosts`, of a proxy in front), so that a web page
    cannot reach the service by pointing its own name at 127.0.0.1. Any other address needs a token of at
    least 16 characters, which such a page does not have. Raises UsageError.
    """
    if token is not None and (len(token) < 16 or not token.isascii() or not token.isprintable()):
        raise UsageError(
            "The token is too easy to guess or cannot be sent: expected 16 or more printable ASCII characters. "
            "Make one with `python -c 'import secrets; print(secrets.token_urlsafe(32))'`."
        )
    loopback = host.lower() in LOOPBACK or host.startswith("127.")
    if not loopback and token is None:
        raise UsageError(
            f"--host {host}: everybody who reaches this address could use the service; give a token with "
            "--token-file FILE or MULTIMIX_TOKEN, or leave --host out to serve this computer only."
        )
    named = frozenset(name.lower().strip("[]") for name in extra_hosts)
    hosts = LOOPBACK | {host.lower()} | named if loopback else named or None
    return Settings(token, hosts, limits or Limits())
