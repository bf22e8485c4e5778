"""Sessions of browsers: cookies that say who logged in, which nobody but this server can make."""

import hashlib
import secrets
from dataclasses import astuple, dataclass
from functools import lru_cache

from itsdangerous import BadSignature, URLSafeTimedSerializer

from dashboard.schemas import Role
from dashboard.settings import Settings

SESSION_S = 7 * 24 * 3600
COOKIE = "videossr_session"  # for the documentation; each port's has its own name, see Sessions.cookie


@dataclass(frozen=True)
class Session:
    role: Role
    name: str | None  # as they said when they logged in
    number: str  # another one for each log-in


class Sessions:
    """Makes and reads them.

    A session is signed, with the time, by a key made of the tokens: it holds in every process that has the same
    ones, and none is left when they are changed.
    """

    def __init__(self, settings: Settings) -> None:
        key = _key(settings.token, settings.read_token or "")
        self._signer = URLSafeTimedSerializer(key, salt="videossr-session")
        self._port = settings.port

    def cookie(self, *, https: bool) -> str:
        """The cookie's name. Browsers do not tell ports apart, so it has the port's number.

        What begins with `__Host-` they take over https only, and from this host only: neither a page of http nor a
        neighbour's domain can put another one in its place.
        """
        return f"{'__Host-' if https else ''}{COOKIE}_{self._port}"

    def new(self, role: Role, name: str | None) -> str:
        """A cookie's value."""
        return self._signer.dumps(astuple(Session(role, name, secrets.token_hex(8))))

    def read(self, value: str) -> Session | None:
        """None: it is not ours, or too old."""
        try:
            return Session(*self._signer.loads(value, max_age=SESSION_S))
        except BadSignature:
            return None


@lru_cache(maxsize=8)
def _key(token: str, read_token: str) -> bytes:
    """Slow on purpose: a reader knows one token and has a signature, and could try the other one at home."""
    return hashlib.scrypt(f"{token}\n{read_token}".encode(), salt=b"videossr-session", n=2**14, r=8, p=1)
