"""Custom domains as they are kept, and the redirects that lead to them."""

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tenancy import identifiers
from tenancy.errors import InvalidDomainError, RenamedTenantError
from tenancy.provision import hostnames
from tenancy.settings import Settings, name_server
from tenancy.web import elsewhere


@given(st.text() | st.from_regex(r"[a-zß-ÿ0-9-]{1,20}(\.[a-zа-я]{1,9}){1,3}\.?", fullmatch=True))
def test_a_domain_is_kept_as_a_browser_sends_it_or_refused(text: str) -> None:
    try:
        name = hostnames.plain(text)
    except InvalidDomainError:
        return
    assert identifiers.is_host_name(name)
    assert name == name.lower()
    assert hostnames.plain(name) == name  # what was kept is found again


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Notes.Acme.Test.", "notes.acme.test"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.EXAMPLE", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("пример.испытание", "xn--e1afmkfd.xn--80akhbyknj4f"),
        ("faß.de", "xn--fa-hia.de"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("r3---sn-x.example.net", "r3---sn-x.example.net"),
    ],
)
def test_idna_is_as_browsers_have_it(text: str, name: str) -> None:
    assert hostnames.plain(text) == name


_PATHS = st.binary().map(lambda rest: b"/" + rest) | st.binary()


@given(_PATHS, st.binary(), st.sampled_from(["", ":8000"]))
def test_a_redirect_to_a_host_leads_to_that_host_whatever_was_asked(
    path: bytes, query: bytes, port: str
) -> None:
    scope = {
        "headers": [(b"host", f"old.example.com{port}".encode())], "raw_path": path, "path": "/",
        "query_string": query,
    }  # fmt: skip
    location = _location(elsewhere.at_host(RenamedTenantError(), scope, "new.example.com"))
    parts = urlsplit(urljoin("https://old.example.com/x", location))
    assert (parts.scheme, parts.netloc) == ("https", f"new.example.com{port}")
    assert not parts.fragment


@given(
    st.binary(), st.binary(), st.sampled_from(["", "/app", "/app/"]), st.sampled_from(["", "/t"])
)
def test_a_redirect_to_a_path_stays_on_its_host_and_below_the_tenant(
    rest: bytes, query: bytes, root: str, prefix: str
) -> None:
    before = f"{root.rstrip('/')}{prefix}"
    scope = {
        "headers": [(b"host", b"example.com")], "root_path": root, "path": "/",
        "raw_path": f"{before}/old".encode() + (b"/" + rest if rest else b""),
        "query_string": query,
    }  # fmt: skip
    moved = elsewhere.at_prefix(RenamedTenantError(), scope, f"{prefix}/old", f"{prefix}/new")
    location = _location(moved)
    assert location.startswith(f"{before}/new")
    assert location.removeprefix(f"{before}/new")[:1] in ("", "/", "?")
    assert not location.startswith("//")
    assert urlsplit(urljoin("https://example.com/x", location)).netloc == "example.com"


def _location(moved: RenamedTenantError) -> str:
    ((name, location),) = moved.headers
    assert name == "location"
    assert location.isascii()
    assert location.isprintable()
    return location


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("192.0.2.53", ("192.0.2.53", 53)),
        ("192.0.2.53:5353", ("192.0.2.53", 5353)),
        ("2001:db8::35", ("2001:db8::35", 53)),
        ("[2001:db8::35]", ("2001:db8::35", 53)),
        ("[2001:db8::35]:5353", ("2001:db8::35", 5353)),
    ],
)
def test_a_name_server_is_an_address_with_or_without_a_port(
    text: str, server: tuple[str, int]
) -> None:
    assert name_server(text) == server
    both = Settings.model_validate({"dns_servers": f"192.0.2.1, {text}"})
    assert both.dns_servers == ("192.0.2.1", text)


@pytest.mark.parametrize("text", ["ns.example.com", "1.2.3", "1.2.3.4:x", "1.2.3.4:99999", "[::1"])
def test_a_name_server_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"dns_servers": text})
