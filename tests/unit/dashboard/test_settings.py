"""The addresses and tokens with which the dashboard may be served."""

from pathlib import Path

import pytest

from dashboard.settings import DashboardError, Settings, from_environment, is_loopback

TOKEN = "0123456789abcdef"


def made(host: str = "127.0.0.1", **environment: str) -> Settings:
    return from_environment(runs_dir=Path("runs"), host=host, environment=environment)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.9"])
def test_on_loopback_reading_is_open_and_a_token_is_generated(host: str) -> None:
    first, second = made(host), made(host)
    assert (first.open_reading, first.made_token) == (True, True)
    assert len(first.token) >= 40
    assert first.token != second.token
    assert first.token not in repr(first)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "dashboard.example"])
def test_other_addresses_need_a_token(host: str) -> None:
    with pytest.raises(DashboardError, match=r"--host=.*Set VIDEOSSR_TOKEN"):
        made(host)
    with pytest.raises(DashboardError, match="Set VIDEOSSR_TOKEN"):
        made(host, VIDEOSSR_READ_TOKEN=TOKEN)
    settings = made(host, VIDEOSSR_TOKEN=TOKEN)
    assert (settings.open_reading, settings.made_token) == (False, False)


def test_a_token_closes_reading_on_loopback_too() -> None:
    assert not made(VIDEOSSR_TOKEN=TOKEN).open_reading
    assert not made(VIDEOSSR_READ_TOKEN=TOKEN).open_reading


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"VIDEOSSR_TOKEN": "short"}, "VIDEOSSR_TOKEN: has 5 characters"),
        ({"VIDEOSSR_READ_TOKEN": "short"}, "VIDEOSSR_READ_TOKEN: has 5 characters"),
        ({"VIDEOSSR_TOKEN": TOKEN + " and more"}, "without spaces"),
        ({"VIDEOSSR_TOKEN": TOKEN + "é"}, "ASCII"),
        ({"VIDEOSSR_TOKEN": TOKEN, "VIDEOSSR_READ_TOKEN": TOKEN}, "the same as VIDEOSSR_TOKEN"),
        ({"VIDEOSSR_ALLOW_ANY_CONFIG": "yes"}, "Set it to 1 or 0"),
        ({"VIDEOSSR_TOKEN": "abcdefg" * 5}, "has 7 different characters"),
        ({"FORWARDED_ALLOW_IPS": "10.0.0.0/8, 10.0.0.1/8"}, "10.0.0.1/8 has host bits set. List the proxies"),
        ({"FORWARDED_ALLOW_IPS": "ingress"}, "'ingress' does not appear to be"),
    ],
)
def test_bad_settings_are_refused_without_showing_tokens(environment: dict[str, str], words: str) -> None:
    with pytest.raises(DashboardError, match=words) as raised:
        made(**environment)
    assert TOKEN not in str(raised.value)


def test_valid_proxies_are_accepted() -> None:
    for proxies in ("*", "127.0.0.1, ::1", "10.0.0.0/8,fc00::/7"):
        assert made(FORWARDED_ALLOW_IPS=proxies).open_reading


def test_roots_are_listed() -> None:
    assert made(VIDEOSSR_ROOTS="/videos/, s3://bucket/clips,,Qwen").roots == (
        "/videos",
        "s3://bucket/clips",
        "Qwen",
    )


@pytest.mark.parametrize(
    "host", ["", "example.com", "127.0.0.1.example.com", "localhost.example.com", "1.2.3.4"]
)
def test_names_that_only_look_like_loopback(host: str) -> None:
    assert not is_loopback(host)
