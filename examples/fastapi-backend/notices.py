"""How the sidecar tells of an eviction: by a signed notice (docs/notices.md), and in the reply to the registration."""

import hashlib
import hmac
import time
from urllib.parse import unquote

# Whom the sidecar deleted; and whose deletion was sent but does not show, so that the user may still go.
EVICTED = ["Snaptrade-Sidecar-Evicted", "Snaptrade-Sidecar-Unsettled"]

# A notice that is older cannot be one that was just sent.
AGE_SECONDS_MAX = 300


def is_genuine(headers, body: bytes, secret: str) -> bool:
    """Without a secret, nothing is: anybody could sign with that."""
    timestamp = headers.get("Snaptrade-Sidecar-Timestamp", "").encode()
    given = headers.get("Snaptrade-Sidecar-Signature", "").encode()
    signature = "sha256=" + hmac.new(secret.encode(), timestamp + b"." + body, hashlib.sha256).hexdigest()
    # The timestamp is read once it is known to be the sidecar's.
    is_signed = secret != "" and hmac.compare_digest(signature.encode(), given)
    return is_signed and abs(time.time() - int(timestamp)) <= AGE_SECONDS_MAX


def evicted_by(headers) -> list[str]:
    """Whom a registration's reply says to forget; a registration that failed may say so too."""
    named = ",".join(headers.get(name, "") for name in EVICTED).split(",")
    return [unquote(user_id.strip()) for user_id in named if user_id.strip()]
