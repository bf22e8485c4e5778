"""Names and addresses of callers, cleaned for logs and for counting. Pure."""

import ipaddress
import re
from dataclasses import dataclass

from dashboard.schemas import MAX_NAME_LENGTH, AccessRole

_ADDRESS = re.compile(r"[0-9A-Za-z.:%_-]{1,64}")
_UNKNOWN = "an unknown address"


@dataclass(frozen=True)
class Caller:
    """The sender of a request.

    Attributes:
        role: role of the token or session; None without either.
        name: name that the caller gave, not verified; None without one.
        key: key under which the caller's requests are counted: the session, the role and network, or the network.
    """

    role: AccessRole | None
    name: str | None
    key: str


def cleaned_name(text: str) -> str | None:
    r"""Return a name on one line, of at most MAX_NAME_LENGTH visible characters; None if nothing is left.

    In the log the name is followed by "(operator) at ADDRESS", so it must not hold brackets that imitate this.
    Control characters, line ends and marks that change the direction of writing become spaces.

    >>> cleaned_name(" Ann\nB. (operator) ")
    'Ann B. operator'
    """
    visible = "".join(c if c.isprintable() and c not in "()" else " " for c in text)
    return " ".join(visible.split())[:MAX_NAME_LENGTH].rstrip() or None


def name_in_header(value: str | None) -> str | None:
    """Return the cleaned name from a header, whose bytes are UTF-8; None if there is none."""
    return cleaned_name(value.encode("latin-1", "replace").decode("utf-8", "replace")) if value else None


def cleaned_address(host: str | None) -> str:
    """Return a valid address unchanged, and a fixed text for anything else, which a proxy may have forwarded."""
    return host if host and _ADDRESS.fullmatch(host) else _UNKNOWN


def network_of(address: str) -> str:
    """Return the network under which an address is counted: for IPv6 its /64, which usually belongs to one customer.

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
