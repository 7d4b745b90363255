"""Verifies webhook deliveries by their headers and body.

Owns the signature's format, its age limit and the secret. It reads no socket and no clock, compares in constant time,
and never gives the secret back: only digests that were made with it are held.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Literal, TypeAlias

SIGNATURE_HEADER: Final = "X-Webhook-Signature"
TIMESTAMP_HEADER: Final = "X-Webhook-Timestamp"
REDELIVERY_HEADER: Final = "X-Webhook-Redelivery"
UNSIGNED_AUTH_HEADER: Final = "X-Webhook-Secret"
"""Contains the secret itself; "still sent for older receivers" (API documentation, "Webhooks")."""

MAX_AGE: Final = 300
"""Seconds between the timestamp and the receiver's clock, in either direction (API documentation, "Webhooks")."""

SignaturePolicy: TypeAlias = Literal["required", "optional"]
Refusal: TypeAlias = Literal["forged", "expired"]

_SIGNATURE: Final = re.compile(r"sha256=([0-9a-fA-F]{64})")
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """The headers that can make a delivery genuine, each with all values that were sent."""

    signatures: Sequence[str] = ()
    timestamps: Sequence[str] = ()
    secrets: Sequence[str] = field(default=(), repr=False)

    @property
    def claims_signature(self) -> bool:
        """Whether any part of a signature was sent."""
        return bool(self.signatures or self.timestamps)

    @property
    def timestamp(self) -> str | None:
        """The timestamp as it was signed; None unless it was sent once, and is plain digits."""
        return _only(self.timestamps, _TIMESTAMP)

    @property
    def digest(self) -> bytes | None:
        """The digest of the signature; None unless it was sent once, and is well-formed."""
        signature = _only(self.signatures, _SIGNATURE)
        return None if signature is None else bytes.fromhex(signature.partition("=")[2])


class Verifier:
    """Verifies the deliveries of one secret.

    Parameters
    ----------
    secret : str
    policy : {"required", "optional"}
        Whether the secret alone, repeated in `UNSIGNED_AUTH_HEADER`, makes a delivery genuine that claims no signature.
    """

    __slots__ = ("_key", "_policy", "_secret_digest", "_token_digest")

    def __init__(self, secret: str, policy: SignaturePolicy = "required") -> None:
        self._key = hmac.new(secret.encode(), digestmod=sha256)
        self._secret_digest = sha256(secret.encode()).digest()
        self._token_digest = sha256(path_token(secret).encode()).digest()
        self._policy = policy

    def refusal(self, credentials: Credentials, *, now: float) -> Refusal | None:
        """Return why a delivery is refused whatever its body is; None where that depends on the body.

        Parameters
        ----------
        credentials : Credentials
        now : float
            Seconds since the epoch.
        """
        if self._policy == "optional" and not credentials.claims_signature:
            return None if _matches(credentials.secrets, self._secret_digest) else "forged"
        timestamp = credentials.timestamp
        if timestamp is None or credentials.digest is None:
            return "forged"
        return "expired" if abs(now - int(timestamp)) > MAX_AGE else None

    def is_genuine(self, credentials: Credentials, body: bytes) -> bool:
        """Return whether the secret's owner has sent this body; its age is for `refusal`."""
        if self._policy == "optional" and not credentials.claims_signature:
            return _matches(credentials.secrets, self._secret_digest)
        timestamp, digest = credentials.timestamp, credentials.digest
        if timestamp is None or digest is None:
            return False
        expected = self._key.copy()
        expected.update(f"{timestamp}.".encode())
        expected.update(body)
        return hmac.compare_digest(digest, expected.digest())

    def is_token(self, token: str) -> bool:
        """Return whether this is the secret's `path_token`."""
        return _matches([token], self._token_digest)


def path_token(secret: str) -> str:
    """Return the last segment of the URL for the legacy dialect, which has no secret: derived from it, one way."""
    mac = hmac.new(secret.encode(), b"eachlabs-frames: the path of a webhook", sha256)
    return urlsafe_b64encode(mac.digest()).rstrip(b"=").decode()


def _only(values: Sequence[str], pattern: re.Pattern[str]) -> str | None:
    return values[0] if len(values) == 1 and pattern.fullmatch(values[0]) else None


def _matches(values: Sequence[str], digest: bytes) -> bool:
    """Compare digests: their lengths are equal, and they show nothing of the secret where locals are logged."""
    value = values[0] if len(values) == 1 else ""
    return hmac.compare_digest(sha256(value.encode("utf-8", "surrogateescape")).digest(), digest)
