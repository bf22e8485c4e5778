"""Names and addresses of those who ask, fit to stand in a log and to be counted by. Pure."""

import ipaddress
import re
from dataclasses import dataclass

from dashboard.schemas import MAX_NAME, Role

_ADDRESS = re.compile(r"[0-9A-Za-z.:%_-]{1,64}")
_UNKNOWN = "an unknown address"


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        role: None: anybody.
        name: as they say, which nobody checked.
        key: what they are counted by: their session, their kind of token at their network, or their network.
    """

    role: Role | None
    name: str | None
    key: str


def cleaned_name(text: str) -> str | None:
    """A name of one line, of at most MAX_NAME characters that one sees; None where nothing is left of it.

    In the log it stands before "(operator) at ADDRESS", so it may not hold brackets, and look like that itself.
    Control characters, line ends and marks that turn the direction of writing become spaces.

    >>> cleaned_name(" Ann\\nB. (operator) ")
    'Ann B. operator'
    """
    seen = "".join(sign if sign.isprintable() and sign not in "()" else " " for sign in text)
    return " ".join(seen.split())[:MAX_NAME].rstrip() or None


def name_in_header(value: str | None) -> str | None:
    """The same of a header, whose bytes are UTF-8."""
    return cleaned_name(value.encode("latin-1", "replace").decode("utf-8", "replace")) if value else None


def cleaned_address(host: str | None) -> str:
    """An address as it is, or words for what is none: a proxy hands on whatever it was sent."""
    return host if host and _ADDRESS.fullmatch(host) else _UNKNOWN


def network_of(address: str) -> str:
    """What an address is counted by: of IPv6 its /64, for one customer has all addresses of that.

    >>> network_of("10.0.0.7"), network_of("2001:db8::7")
    ('10.0.0.7', '2001:db8::/64')
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if found.version == 4:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))
