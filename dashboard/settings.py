"""Settings of the dashboard from the environment: its address and who may use it. Unsafe settings are refused."""

import ipaddress
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8470
_MIN_TOKEN_LENGTH = 16
_MIN_DIFFERENT_CHARACTERS = 8
_TOKEN = re.compile(r"[\x21-\x7e]+")  # printable ASCII, which fits in a header


class DashboardError(ValueError):
    """A setting with which the dashboard cannot be served. The message gives name, value, rule and fix."""


@dataclass(frozen=True)
class Settings:
    """All settings of the dashboard. `from_environment` makes and checks them.

    Attributes:
        token: token of operators, who may start, stop and resume runs.
        read_token: token of readers; if None, only operators have a token.
        open_reading: whether reading needs no token.
        made_token: whether the operator token was generated at this start, and has to be printed.
        allow_any_config: whether configurations over HTTP may set everything, code and places included.
        roots: places of models and data that configurations over HTTP may name: folders, bucket addresses, and owners
            of models on the Hugging Face hub.
    """

    runs_dir: Path
    host: str
    port: int
    token: str = field(repr=False)
    read_token: str | None = field(default=None, repr=False)
    open_reading: bool = False
    made_token: bool = False
    allow_any_config: bool = False
    roots: tuple[str, ...] = ()

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)


def from_environment(
    *,
    runs_dir: Path,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """Return settings from VIDEOSSR_TOKEN, VIDEOSSR_READ_TOKEN, VIDEOSSR_ALLOW_ANY_CONFIG and VIDEOSSR_ROOTS.

    On a loopback address without tokens, reading is open and an operator token is generated.

    Raises:
        DashboardError: the address is not loopback and there is no token, a token is weak, or a variable is invalid.
    """
    _check_proxies(environment)
    token = _token("VIDEOSSR_TOKEN", environment)
    read_token = _token("VIDEOSSR_READ_TOKEN", environment)
    if not 0 <= port <= 65535:
        raise DashboardError(
            f"--port={port}: ports go from 0 to 65535. Choose one of these; 0 means any free one."
        )
    if token is None and not is_loopback(host):
        raise DashboardError(
            f"--host={host}: others could reach the dashboard there, so it needs a token. Set VIDEOSSR_TOKEN to a "
            f"secret of {_MIN_TOKEN_LENGTH} characters or more (openssl rand -hex 32), or serve on {DEFAULT_HOST}."
        )
    if token is not None and token == read_token:
        raise DashboardError(
            "VIDEOSSR_READ_TOKEN: is the same as VIDEOSSR_TOKEN, so every reader could stop runs. Generate another."
        )
    return Settings(
        runs_dir=runs_dir,
        host=host,
        port=port,
        token=token or secrets.token_urlsafe(32),
        read_token=read_token,
        open_reading=token is None and read_token is None,
        made_token=token is None,
        allow_any_config=_switch("VIDEOSSR_ALLOW_ANY_CONFIG", environment),
        roots=_roots(environment.get("VIDEOSSR_ROOTS", "")),
    )


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _token(name: str, environment: Mapping[str, str]) -> str | None:
    value = environment.get(name, "").strip()
    if not value:
        return None
    if len(value) < _MIN_TOKEN_LENGTH:
        raise DashboardError(
            f"{name}: has {len(value)} characters, which can be guessed. Use {_MIN_TOKEN_LENGTH} or more, for "
            "example from openssl rand -hex 32."
        )
    if len(set(value)) < _MIN_DIFFERENT_CHARACTERS:
        raise DashboardError(
            f"{name}: has {len(set(value))} different characters, which can be guessed. Use a random one, for "
            "example from openssl rand -hex 32."
        )
    if not _TOKEN.fullmatch(value):
        raise DashboardError(f"{name}: holds spaces or characters outside ASCII. Use ASCII without spaces.")
    return value


def _check_proxies(environment: Mapping[str, str]) -> None:
    """Refuse an invalid FORWARDED_ALLOW_IPS, which uvicorn would accept as a name that never matches."""
    for entry in environment.get("FORWARDED_ALLOW_IPS", "").split(","):
        try:
            if (text := entry.strip()) not in ("", "*"):
                ipaddress.ip_network(text)
        except ValueError as error:
            raise DashboardError(
                f"FORWARDED_ALLOW_IPS: {error}. List the proxies' addresses or networks, such as 10.0.0.0/8."
            ) from None


def _switch(name: str, environment: Mapping[str, str]) -> bool:
    value = environment.get(name, "")
    if value not in ("", "0", "1"):
        raise DashboardError(f"{name}={value!r}: is a switch. Set it to 1 or 0.")
    return value == "1"


def _roots(text: str) -> tuple[str, ...]:
    return tuple(root for part in text.split(",") if (root := part.strip().rstrip("/")))
