"""Browser sessions: cookies that say who logged in, signed so that only this server can create them."""

import hashlib
import secrets
from dataclasses import astuple, dataclass
from functools import lru_cache

from itsdangerous import BadSignature, URLSafeTimedSerializer

from dashboard.schemas import AccessRole
from dashboard.settings import Settings

SESSION_DURATION_S = 7 * 24 * 3600
COOKIE = "videossr_session"  # base of the cookie's name; see Sessions.cookie


@dataclass(frozen=True)
class Session:
    """The content of a session cookie."""

    role: AccessRole
    name: str | None  # name given at the log-in; it is not verified
    number: str  # random number of the log-in


class Sessions:
    """A maker and reader of session cookies.

    A session and its time are signed with a key derived from the tokens. So every process with the same tokens accepts
    it, and changing a token ends all sessions.
    """

    def __init__(self, settings: Settings) -> None:
        key = _key(settings.token, settings.read_token or "")
        self._signer = URLSafeTimedSerializer(key, salt="videossr-session")
        self._port = settings.port

    def cookie(self, *, https: bool) -> str:
        """Return the cookie's name. It holds the port, because browsers share cookies between ports.

        Browsers accept a name that begins with `__Host-` over https and from this host only, so neither an http page
        nor a sibling domain can replace the cookie.
        """
        return f"{'__Host-' if https else ''}{COOKIE}_{self._port}"

    def new(self, role: AccessRole, name: str | None) -> str:
        """Return the value of a new session's cookie."""
        return self._signer.dumps(astuple(Session(role, name, secrets.token_hex(8))))

    def read(self, value: str) -> Session | None:
        """Return the session of a cookie's value; None if its signature is wrong or it has expired."""
        try:
            return Session(*self._signer.loads(value, max_age=SESSION_DURATION_S))
        except BadSignature:
            return None


@lru_cache(maxsize=8)
def _key(token: str, read_token: str) -> bytes:
    """Return the signing key, derived slowly on purpose.

    A reader knows the read token and a signature. With a fast derivation, a reader could guess the operator's token.
    """
    return hashlib.scrypt(f"{token}\n{read_token}".encode(), salt=b"videossr-session", n=2**14, r=8, p=1)
