"""What a service serves, to whom, and how much of it at once."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

ENVIRONMENT = "DERMIS_SERVE"
"""how the worker processes are told (JSON; the token itself is read from its file by each)"""

SHOWN = ("diagnosis",)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of one service; ``dermis serve --help`` explains the same settings."""

    model: str
    embeddings: str | None = None
    """folder of `dermis embed`, to search in"""
    show: tuple[str, ...] = SHOWN
    """columns of a found case that are told"""
    thumbnails: bool = False
    """are small pictures of found cases given out?"""
    token_file: str | None = None
    """its first line is the token that requests must bear; None: everybody may ask"""
    waiting: int = 32
    """requests that are worked on or wait at once, in each worker; one more is sent away with 429"""
    batch: int = 16
    """pictures that go through the model together at most"""
    max_bytes: int = 20_000_000
    """of one request"""
    max_pixels: int = 50_000_000
    """of one picture"""
    seconds: float = 30.0
    """for the upload of a request, and again for its answer"""
    workers: int = 1
    """processes, each with a model of its own"""
    threads: int | None = None
    """processor threads of each worker; None: the cores by the workers"""
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("waiting", "batch", "max_bytes", "max_pixels", "seconds", "workers", "threads"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be more than 0; it is {value}.")
        for name, given in (("thumbnails", self.thumbnails), ("show", tuple(self.show) != SHOWN)):
            if given and self.embeddings is None:
                raise ValueError(f"{name} has no effect without embeddings to search in.")
        self.token()

    def token(self) -> str | None:
        """Raises ValueError if the file cannot be read, or its first line is no token of 16 characters or more."""
        if self.token_file is None:
            return None
        try:
            lines = Path(self.token_file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"the token file cannot be read: {error}") from None
        token = lines[0].strip() if lines else ""
        if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError(
                f"the first line of {self.token_file} must be a token of 16 or more letters, digits and signs: "
                "python -c 'import secrets; print(secrets.token_urlsafe(32))' makes one."
            )
        return token

    def to_environment(self) -> None:
        """For worker processes, which start anew and read it by ``from_environment``."""
        os.environ[ENVIRONMENT] = json.dumps(asdict(self))

    @classmethod
    def from_environment(cls) -> "Settings":
        """What ``to_environment`` wrote."""
        given = json.loads(os.environ[ENVIRONMENT])
        return cls(**given | {"show": tuple(given["show"])})
