"""URLs that users give: what is refused before anything is resolved or opened."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_network

import httpcore
import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.adapters.fetch import MAX_URL_CHARS, Resolver, check_url
from orchestrator.domain.addresses import Reach
from orchestrator.domain.errors import InvalidField

LOOPBACK = (ip_network("127.0.0.0/8"),)


@pytest.mark.parametrize(
    "url",
    [
        "https://pictures.example/first.png",
        "http://pictures.example:8080/a?b=c#d",
        "HTTPS://PICTURES.EXAMPLE",
        "https://bücher.example/ä.png",
        "https://8.8.8.8/first.png",
        "https://[2606:4700::1111]/",
    ],
)
def test_an_http_url_of_a_public_host_passes(url: str) -> None:
    parsed = check_url(url, "image")
    assert parsed.scheme in ("http", "https")
    assert parsed.host


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "http or https"),
        ("pictures.example/first.png", "http or https"),
        ("ftp://pictures.example/", "http or https"),
        ("file:///etc/passwd", "http or https"),
        ("gopher://127.0.0.1:6379/", "http or https"),
        ("https:///first.png", "without a host"),
        ("https://user:secret@pictures.example/", "user name"),
        ("https://127.0.0.1@pictures.example/", "user name"),
        ("https://pictures.example:99999/", "port"),
        ("https://pictures.example/\n", "no valid URL"),
        ("https://\ud800/", "no valid URL"),
        ("https://[::1/", "no valid URL"),
        ("https://xn--/", "no valid URL"),
        ("https://xn--a.example/", "no valid URL"),
        ("http://127.0.0.1/", "not public"),
        ("http://169.254.169.254/latest/meta-data/", "not public"),
        ("http://[::1]:8000/", "not public"),
        ("http://[::ffff:127.0.0.1]/", "not public"),
        ("http://[fe80::1]/", "not public"),
        ("https://pictures.example/" + "a" * MAX_URL_CHARS, "2048 characters"),
    ],
)
def test_any_other_url_is_refused_by_the_name_of_its_field(url: str, why: str) -> None:
    with pytest.raises(InvalidField, match=why) as refused:
        check_url(url, "webhook_url")
    assert refused.value.param == "webhook_url"


def test_a_network_that_the_operator_lets_through_may_be_named_by_address() -> None:
    assert check_url("http://127.0.0.1:9000/x", "image", reach=Reach(allow=LOOPBACK)).port == 9000
    with pytest.raises(InvalidField):
        check_url("http://10.0.0.1/x", "image", reach=Reach(allow=LOOPBACK))


@given(st.text() | st.builds("http://{}".format, st.text()) | st.builds("https://{}/".format, st.ip_addresses()))
@example("http://" + "a" * 300)
@example("http://xn--/")
def test_no_text_makes_the_parser_fail_in_another_way(text: str) -> None:
    with suppress(InvalidField):
        assert check_url(text, "image").raw_host


async def test_the_old_spellings_of_an_address_are_that_address() -> None:
    resolve = Resolver()
    for host in ("2130706433", "0x7f.1", "127.1", "0177.0.0.1"):
        assert [str(address) for address in await resolve(host)] == ["127.0.0.1"], host


@pytest.mark.parametrize("host", [".example", "a" * 64 + ".example", "host.invalid", "-"])
async def test_a_host_that_no_resolver_knows_has_no_address(host: str) -> None:
    assert await Resolver()(host) == []


def test_each_error_of_the_network_has_its_name_in_httpx() -> None:
    def below(base: type[Exception]) -> list[type[Exception]]:
        return [base, *(found for each in base.__subclasses__() for found in below(each))]

    for base in (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError):
        for error in below(base):
            assert issubclass(getattr(httpx, error.__name__), httpx.TransportError)
