"""Names and addresses in logs and rate limits."""

import pytest

from dashboard.access.identity import cleaned_address, cleaned_name, name_in_header, network_of
from dashboard.schemas import MAX_NAME_LENGTH


def test_names_are_one_visible_line() -> None:
    every = cleaned_name("a" + "".join(map(chr, range(0x3000))) + "b")
    assert every is not None
    assert every.isprintable()
    assert len(every) == MAX_NAME_LENGTH
    assert not set("()") & set(cleaned_name("a(b)c") or "")
    assert name_in_header("J\u00c3\u00b6rg") == "Jörg"  # UTF-8 bytes as a server decodes headers
    assert name_in_header("J\u00f6rg") == "J\ufffdrg"
    assert name_in_header(None) is None


@pytest.mark.parametrize("host", [None, "", "a" * 65, "10.0.0.1\n", "10.0.0.1 (operator)", "é", "a/b"])
def test_an_invalid_address_from_a_proxy_is_replaced(host: str | None) -> None:
    assert cleaned_address(host) == "an unknown address"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("::1", "::/64"),
        ("an unknown address", "an unknown address"),
    ],
)
def test_a_network_counts_as_one(address: str, network: str) -> None:
    assert network_of(address) == network
