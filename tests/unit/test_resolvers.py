"""Resolvers: any bytes lead to a key or to one of our own answers, never to anything else."""

import base64
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwk, jwt

from tenancy import by_header, by_path, by_subdomain, by_token, chain
from tenancy.errors import (
    ExpiredTokenError,
    InvalidTokenError,
    MalformedTargetError,
    MalformedTenantError,
    MisdirectedHostError,
    MissingTokenError,
    NoTenantNamedError,
    TenancyError,
    UnknownTenantError,
    UntrustedTenantError,
)
from tenancy.identifiers import is_slug
from tenancy.problems import problem
from tenancy.resolvers import Found, KeyKind, Resolver, TenantKey, host, signed
from tenancy.resolvers.keys import found

ACME = TenantKey(KeyKind.SLUG, "acme")
SECRET = "s" * 32
ID = "0191d3a0-0000-7000-8000-0000000000ab"


def scope(
    path: str = "/",
    *headers: tuple[bytes, bytes],
    raw: bytes | None = None,
    root: str = "",
    client: Any = ("10.1.2.3", 5),
    kind: str = "http",
) -> dict[str, Any]:
    return {
        "type": kind, "path": path, "raw_path": path.encode() if raw is None else raw,
        "root_path": root, "headers": headers, "client": client, "query_string": b"",
    }  # fmt: skip


def _said(resolver: Resolver, of: Mapping[str, Any]) -> Found | type[TenancyError]:
    """What a resolver says, or its answer, which must be one that a client is to blame for."""
    try:
        return found(resolver(of))
    except TenancyError as error:
        answer = error
    assert 400 <= problem(answer).status < 500
    return type(answer)


# Path


@pytest.mark.parametrize(
    ("prefix", "path", "mounted"),
    [
        ("/t", "/t/acme/notes", "/t/acme"),
        ("/t", "/t/acme", "/t/acme"),
        ("/t", "/t/acme/", "/t/acme"),
        ("/t", "/t/acme//notes", "/t/acme"),
        ("/t", "/t/acme/...", "/t/acme"),
        ("", "/acme/notes", "/acme"),
        ("", "/acme", "/acme"),
        ("/api/v1.2", "/api/v1.2/acme/x", "/api/v1.2/acme"),
    ],
)
def test_a_path_names_its_tenant(prefix: str, path: str, mounted: str) -> None:
    for kind in ("http", "websocket"):
        assert by_path(prefix)(scope(path, kind=kind)) == Found((ACME,), prefix=mounted)


def test_a_path_is_read_below_the_root_path() -> None:
    assert by_path()(scope("/app/t/acme/x", root="/app")) == Found((ACME,), prefix="/t/acme")
    assert by_path()(scope("/app/t/acme/x", root="/app/")) == Found((ACME,), prefix="/t/acme")
    assert _said(by_path(), scope("/t/acme/x", root="/app")) is NoTenantNamedError


@pytest.mark.parametrize(
    ("path", "raw", "answer"),
    [
        ("/t/acme/globex", b"/t%2Facme/globex", NoTenantNamedError),
        ("/t/acme/notes", b"/%74/acme/notes", NoTenantNamedError),
        ("/t/acme/x", b"/t/acme%2Fx", UnknownTenantError),
        ("/t/acme/x", b"/t/acme%2fx", UnknownTenantError),
        ("/t/acme/../globex/x", b"/t/acme%2F..%2Fglobex/x", UnknownTenantError),
        ("/t/acme/x", b"/t/%61cme/x", UnknownTenantError),
        ("/t/%61cme/x", b"/t/%2561cme/x", UnknownTenantError),
        ("/t/acme/x", b"/t/globex/x", UnknownTenantError),
        ("/t//acme/x", b"/t//acme/x", UnknownTenantError),
        ("/t/", b"/t/", UnknownTenantError),
        ("/t/..", b"/t/..", UnknownTenantError),
        ("/t/Acme/x", b"/t/Acme/x", UnknownTenantError),
        ("/t/acme\0/x", b"/t/acme%00/x", UnknownTenantError),
        ("/t/acme;x/x", b"/t/acme;x/x", UnknownTenantError),
        ("/t/acmé/x", "/t/acmé/x".encode(), UnknownTenantError),
        ("/t/" + "a" * 49, b"/t/" + b"a" * 49, UnknownTenantError),
        ("/t/acme/../globex/x", b"/t/acme/../globex/x", MalformedTargetError),
        ("/t/acme/../globex/x", b"/t/acme/%2e%2E/globex/x", MalformedTargetError),
        ("/t/acme/..", b"/t/acme/..", MalformedTargetError),
        ("/t/acme/./x", b"/t/acme/./x", MalformedTargetError),
        ("/t/acme/..\\globex", b"/t/acme/..%5Cglobex", MalformedTargetError),
        ("//t/acme/x", b"//t/acme/x", NoTenantNamedError),
        ("/./t/acme/x", b"/./t/acme/x", NoTenantNamedError),
        ("/x/../t/acme/x", b"/x/../t/acme/x", NoTenantNamedError),
        ("/T/acme/x", b"/T/acme/x", NoTenantNamedError),
        ("/t", b"/t", NoTenantNamedError),
        ("/", b"/", NoTenantNamedError),
        ("*", b"*", NoTenantNamedError),
        ("http://x/t/acme/x", b"http://x/t/acme/x", NoTenantNamedError),
    ],
)
def test_a_path_that_may_be_read_in_two_ways_names_nobody(
    path: str, raw: bytes, answer: type[TenancyError]
) -> None:
    assert _said(by_path(), scope(path, raw=raw)) is answer


def test_the_raw_path_may_be_missing_or_hold_the_query() -> None:
    assert found(by_path()(scope("/t/acme/x", raw=b"/t/acme/x?a=/.."))).keys == (ACME,)
    bare = {key: value for key, value in scope("/t/acme/x").items() if key != "raw_path"}
    assert found(by_path()(bare)).keys == (ACME,)


@pytest.mark.parametrize("path", ["/static/x.css", "/login", "/", "/healthz", "//acme"])
def test_without_a_prefix_reserved_words_are_the_applications_own(path: str) -> None:
    assert by_path("")(scope(path)) is None


@pytest.mark.parametrize("prefix", ["t", "/t/", "/", "/a b", "/..", "/t?", "/%74", "//t"])
def test_a_prefix_that_is_no_path_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        by_path(prefix)


@given(
    st.text(max_size=40).map(lambda text: "/t/" + text) | st.text(max_size=60),
    st.binary(max_size=60) | st.binary(max_size=40).map(lambda raw: b"/t/" + raw),
    st.sampled_from(["", "/t", "/app"]),
)
def test_any_path_has_an_answer(path: str, raw: bytes, root: str) -> None:
    for resolver in (by_path(), by_path("")):
        said = _said(resolver, scope(path, raw=raw, root=root))
        if isinstance(said, Found):
            assert path.startswith(root.rstrip("/") + said.prefix)
            assert all(is_slug(key.name) for key in said.keys)


_PIECES = ["acme", "globex", "..", ".", "", "%2e", "%2F", "%61"]


@given(st.lists(st.sampled_from(_PIECES), max_size=6))
def test_a_path_that_names_a_tenant_names_it_in_every_reading(segments: list[str]) -> None:
    from posixpath import normpath  # noqa: PLC0415 - what a proxy may do
    from urllib.parse import unquote  # noqa: PLC0415

    raw = "/t/" + "/".join(segments)
    said = _said(by_path(), scope(unquote(raw), raw=raw.encode()))
    if isinstance(said, Found):
        for reading in (raw, unquote(raw), normpath(raw), normpath(unquote(raw))):
            assert (reading + "/").startswith(f"/t/{said.keys[0].name}/")


# Header


def test_a_header_of_a_trusted_peer_names_the_tenant() -> None:
    resolve = by_header("X-Tenant", trusted=["10.0.0.0/8", "::1"])
    for client in ("10.1.2.3", "::1", "::ffff:10.1.2.3"):
        for name in (b"x-tenant", b"X-TENANT"):
            assert resolve(scope("/", (name, b" acme\t"), client=(client, 1))) == ACME


@pytest.mark.parametrize(
    "client",
    [("11.1.2.3", 1), ("::2", 1), ("::ffff:11.0.0.1", 1), ("10.1.2.3.evil.com", 1), ("", 1), None,
     ("<local>", 1), ("testclient", 1), ("010.1.2.3", 1), ("10.1.2.3,1.1.1.1", 1)],
)  # fmt: skip
def test_a_strangers_header_is_as_if_it_were_not_there(client: Any) -> None:
    resolve = by_header("X-Tenant", trusted=["10.0.0.0/8", "::1"])
    for headers in ([b"acme"], [b"acme", b"globex"], [b"\xff"]):
        of = scope("/", *((b"x-tenant", value) for value in headers), client=client)
        assert _said(resolve, of) is NoTenantNamedError


def test_a_unix_sockets_peer_is_trusted_where_asked() -> None:
    header = (b"x-tenant", b"acme")
    assert by_header("X-Tenant", trusted=["unix"])(scope("/", header, client=None)) == ACME
    of = scope("/", header)
    assert _said(by_header("X-Tenant", trusted=["unix"]), of) is NoTenantNamedError


@pytest.mark.parametrize(
    "values",
    [[b"acme", b"globex"], [b"acme", b"acme"], [b""], [b" "], [b"acme,globex"], [b"acme, acme"],
     [b"acme\r\n globex"], [b"acme\0"], [b"acm\xe9"], ["acmé".encode()], [b"Acme"], [b"-acme"],
     [b"acme;globex"], [b"a" * 600], [b"acme globex"], [b'"acme"'], [b"%61cme"], [b"../acme"]],
)  # fmt: skip
def test_a_header_that_names_nobody_or_two_is_malformed(values: list[bytes]) -> None:
    resolve = by_header("X-Tenant", trusted=["10.0.0.0/8"])
    assert _said(resolve, scope("/", *((b"x-tenant", v) for v in values))) is MalformedTenantError


@pytest.mark.parametrize("name", [b"x_tenant", b"x-tenant ", b"x-tenant\0", b"xtenant", b"x-tenan"])
def test_another_headers_name_is_another_header(name: bytes) -> None:
    resolve = by_header("X-Tenant", trusted=["10.0.0.0/8"])
    assert _said(resolve, scope("/", (name, b"acme"))) is NoTenantNamedError


@pytest.mark.parametrize(
    ("kind", "value", "key"),
    [
        (KeyKind.ID, ID.upper().encode(), ID),
        (KeyKind.DOMAIN, b"Notes.Acme.Example.", "notes.acme.example"),
    ],
)
def test_a_header_may_hold_an_id_or_a_domain(kind: KeyKind, value: bytes, key: str) -> None:
    resolve = by_header("X-Tenant", trusted=["10.0.0.0/8"], kind=kind)
    assert resolve(scope("/", (b"x-tenant", value))) == TenantKey(kind, key)
    for wrong in (b"acme", b"{" + ID.encode() + b"}", b"urn:uuid:" + ID.encode(), b"1.2.3.4", b"'"):
        assert _said(resolve, scope("/", (b"x-tenant", wrong))) is MalformedTenantError


def test_a_signed_header_counts_whoever_sends_it() -> None:
    resolve = by_header("X-Tenant", secret=["o" * 32, SECRET])
    value = signed("x-TENANT", "acme", SECRET).encode()
    assert resolve(scope("/", (b"x-tenant", value), client=None)) == ACME


def test_signed_and_trusted_is_both() -> None:
    resolve = by_header("X-Tenant", secret=SECRET, trusted=["10.0.0.0/8"])
    header = (b"x-tenant", signed("X-Tenant", "acme", SECRET).encode())
    assert resolve(scope("/", header)) == ACME
    assert _said(resolve, scope("/", header, client=("11.0.0.1", 1))) is NoTenantNamedError
    assert _said(resolve, scope("/", (b"x-tenant", b"acme"))) is UntrustedTenantError


def _forged() -> list[str]:
    good = signed("X-Tenant", "acme", SECRET)
    name, seconds, signature = good.split(";")
    now = time.time()
    return [
        "acme", f"{name};{seconds}", f"globex;{seconds};{signature}", f"{name};t=1;{signature}",
        f"{name};{seconds};{signature[:-1]}", f"{name};{seconds};{signature.upper()}",
        f"{good};v1=00", f"acme;{good}", good.replace("t=", "t=+"),
        signed("X-Other", "acme", SECRET), signed("X-Tenant", "acme", "x" * 32),
        signed("X-Tenant", "acme", SECRET, at=now - 70),
        signed("X-Tenant", "acme", SECRET, at=now + 70), ";;", ";t=1;v1=" + "0" * 64,
        f"acme;t={'9' * 12};v1=" + "0" * 64, "acme;t=٣;v1=" + "0" * 64,
    ]  # fmt: skip


@pytest.mark.parametrize("n", range(len(_forged())))
def test_a_wrong_or_old_signature_is_refused(n: int) -> None:
    resolve = by_header("X-Tenant", secret=SECRET)
    assert _said(resolve, scope("/", (b"x-tenant", _forged()[n].encode()))) in (
        UntrustedTenantError,
        MalformedTenantError,
    )


@given(st.lists(st.tuples(st.sampled_from([b"x-tenant", b"X-Tenant", b"x_tenant"]), st.binary())))
def test_any_header_has_an_answer(headers: list[tuple[bytes, bytes]]) -> None:
    for resolver in (
        by_header("X-Tenant", trusted=["0.0.0.0/0"]),
        by_header("X-Tenant", secret=SECRET),
        by_header("X-Tenant", trusted=["0.0.0.0/0"], kind=KeyKind.ID),
    ):
        said = _said(resolver, scope("/", *headers))
        assert isinstance(said, type) or said.keys


@given(st.text(max_size=60))
def test_any_client_has_an_answer(client: str) -> None:
    of = scope("/", (b"x-tenant", b"acme"), client=(client, 1))
    assert _said(by_header("X-Tenant", trusted=["10.0.0.0/8"]), of) is not None


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("X-Tenant", {}),
        ("X-Tenant", {"secret": "short"}),
        ("X-Tenant", {"secret": [SECRET, ""]}),
        ("X-Tenant", {"trusted": ["10.0.0.1/8"]}),
        ("X-Tenant", {"trusted": ["proxy.internal"]}),
        ("X_Tenant", {"secret": SECRET}),
        ("X-Tenant\r\n", {"secret": SECRET}),
        ("", {"secret": SECRET}),
    ],
)
def test_a_header_anybody_may_send_is_no_resolver(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        by_header(name, **options)
    assert "short" not in str(caught.value)


# Token

RSA = jwk.generate_key("RSA", 2048, {"kid": "a"})
PUBLIC = RSA.as_pem(private=False)
CLAIMS: dict[str, Any] = {"aud": "notes", "iss": "https://id.example.com", "tenant": "acme"}


def _token(
    key: Any = RSA, header: dict[str, Any] | None = None, seconds: int = 60, **claims: Any
) -> bytes:
    body = {"exp": int(time.time()) + seconds, **CLAIMS, **claims}
    header = {"alg": "RS256", "kid": "a"} | (header or {})
    return jwt.encode(
        {k: v for k, v in header.items() if v is not None},
        {k: v for k, v in body.items() if v is not None},
        key,
        algorithms=[header["alg"]],
    ).encode()


def _by_token(key: Any = PUBLIC, **options: Any) -> Resolver:
    chosen = {"algorithm": "RS256", "audience": "notes", "issuer": "https://id.example.com"}
    return by_token(key=key, **{**chosen, **options})


def _bearing(token: bytes, scheme: bytes = b"Bearer ") -> dict[str, Any]:
    return scope("/", (b"authorization", scheme + token))


def test_a_token_names_the_tenant_and_who_asks() -> None:
    for scheme in (b"Bearer ", b"bearer ", b" BEARER  "):
        said = _said(_by_token(), _bearing(_token(sub="ann"), scheme))
        assert isinstance(said, Found)
        assert said.keys == (ACME,)
        assert said.principal["sub"] == "ann"


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"seconds": -60}, ExpiredTokenError),
        ({"exp": None}, InvalidTokenError),
        ({"exp": "tomorrow"}, InvalidTokenError),
        ({"aud": "billing"}, InvalidTokenError),
        ({"aud": None}, InvalidTokenError),
        ({"aud": ["billing", 1]}, InvalidTokenError),
        ({"iss": "https://evil.example.com"}, InvalidTokenError),
        ({"iss": None}, InvalidTokenError),
        ({"nbf": int(time.time()) + 600}, InvalidTokenError),
        ({"tenant": None}, InvalidTokenError),
        ({"tenant": ""}, InvalidTokenError),
        ({"tenant": 7}, InvalidTokenError),
        ({"tenant": ["acme"]}, InvalidTokenError),
        ({"tenant": "Acme"}, InvalidTokenError),
        ({"tenant": "acme/globex"}, InvalidTokenError),
        ({"header": {"kid": "b"}, "key": jwk.generate_key("RSA", 2048)}, InvalidTokenError),
        ({"header": {"crit": ["x"], "x": 1}}, InvalidTokenError),
    ],
)
def test_a_token_that_is_not_ours_is_refused(
    changes: dict[str, Any], answer: type[TenancyError]
) -> None:
    try:
        token = _token(**changes)
    except Exception:  # the library would not even make it
        token = _handmade({"alg": "RS256", "crit": ["x"], "x": 1}, dict(CLAIMS))
    said = _said(_by_token(), _bearing(token))
    assert said is answer


def _b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _handmade(header: object, claims: object, signature: bytes = b"") -> bytes:
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return b".".join(map(_b64, parts))


def test_an_algorithm_that_is_not_the_pinned_one_is_refused() -> None:
    claims = {**CLAIMS, "exp": time.time() + 60}
    public = RSA.as_pem(private=False)
    import hashlib  # noqa: PLC0415 - the classic forgery, by hand: no library would make it
    import hmac  # noqa: PLC0415

    signed_part = _handmade({"alg": "HS256"}, claims).rpartition(b".")[0]
    forged = signed_part + b"." + _b64(hmac.new(public, signed_part, hashlib.sha256).digest())
    for token in (
        forged,
        _handmade({"alg": "none"}, claims),
        _handmade({"alg": "None"}, claims),
        _handmade({"alg": ["RS256"]}, claims),
        _handmade({}, claims),
        _handmade([], claims),
        _token(header={"alg": "RS512"}),
        _token(header={"alg": "PS256"}),
    ):
        assert _said(_by_token(), _bearing(token)) is InvalidTokenError


@pytest.mark.parametrize(
    "header", [{"jku": "https://evil.example.com"}, {"jwk": RSA.as_dict(private=False)}]
)
def test_a_key_that_the_token_brings_along_is_not_taken(header: dict[str, Any]) -> None:
    mine = jwk.generate_key("RSA", 2048)
    assert _said(_by_token(), _bearing(_token(mine, header))) is InvalidTokenError


def test_a_key_set_has_its_keys_by_id_and_may_be_replaced() -> None:
    second = jwk.generate_key("RSA", 2048, {"kid": "b"})
    curve = jwk.generate_key("EC", "P-256", {"kid": "c"})
    sets = [{"keys": [key.as_dict(private=False) for key in (curve, RSA)]}]
    resolve = _by_token(lambda: sets[0])
    assert found(resolve(_bearing(_token()))).keys == (ACME,)
    token = _token(second, {"kid": "b"})
    assert _said(resolve, _bearing(token)) is InvalidTokenError
    sets[0] = {"keys": [key.as_dict(private=False) for key in (curve, RSA, second)]}
    assert found(resolve(_bearing(token))).keys == (ACME,)


@pytest.mark.parametrize("scheme", [b"Basic ", b"", b"Bearer", b"Bearertoken ", b"Token "])
def test_without_a_bearer_token_nothing_is_said(scheme: bytes) -> None:
    said = _said(_by_token(), _bearing(b"YTpi" if scheme != b"Bearer" else b"", scheme))
    assert said in (MissingTokenError, InvalidTokenError)
    assert (said is InvalidTokenError) is (scheme == b"Bearer")
    assert _said(_by_token(), scope("/")) is MissingTokenError


def test_two_authorizations_are_malformed() -> None:
    header = (b"authorization", b"Bearer " + _token())
    assert _said(_by_token(), scope("/", header, header)) is MalformedTenantError


def test_a_token_may_say_who_asks_and_nothing_of_the_tenant() -> None:
    said = _said(_by_token(claim=None), _bearing(_token(tenant=None, sub="ann")))
    assert isinstance(said, Found)
    assert (said.keys, said.principal["sub"]) == ((), "ann")


@given(st.binary(max_size=200) | st.text(alphabet="abyJ0=._-", max_size=80).map(str.encode))
def test_any_token_has_an_answer(token: bytes) -> None:
    assert _said(_by_token(), _bearing(token)) is InvalidTokenError


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(["alg", "kid", "typ", "crit", "b64"], _JSON)),
    _JSON,
)
def test_any_token_header_has_an_answer(header: dict[str, Any], claims: Any) -> None:
    keys = {"keys": [RSA.as_dict(private=False)]}
    for resolver in (_by_token(), _by_token(keys)):
        assert _said(resolver, _bearing(_handmade(header, claims))) is InvalidTokenError
        header["alg"] = "RS256"
        assert _said(resolver, _bearing(_handmade(header, claims))) is InvalidTokenError


@given(st.fixed_dictionaries(dict.fromkeys([*CLAIMS, "exp", "nbf", "iat"], _JSON)))
def test_any_claims_have_an_answer(claims: dict[str, Any]) -> None:
    secret = jwk.import_key(SECRET, "oct")
    token = jwt.encode({"alg": "HS256"}, {**claims, "exp": claims["exp"] or 1}, secret)
    said = _said(_by_token(SECRET, algorithm="HS256"), _bearing(token.encode()))
    assert said in (InvalidTokenError, ExpiredTokenError)


def test_an_error_says_nothing_of_the_token() -> None:
    token = _token(header={"kid": "hunter2"}, tenant="hunter2!")
    for resolver in (_by_token(), _by_token({"keys": [RSA.as_dict(private=False)] * 2})):
        with pytest.raises(InvalidTokenError) as caught:
            resolver(_bearing(token))
        assert "hunter2" not in str(caught.value)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (RSA.as_pem(private=False), "none"),
        (RSA.as_pem(private=False), "HS256"),
        (RSA.as_pem(private=False), "EdDSA"),
        (RSA.as_pem(private=False), "ES256"),
        (SECRET, "RS256"),
        (SECRET, "HS512"),
        ("hunter2", "HS256"),
        ({"kty": "oct", "k": "aHVudGVyMg"}, "HS256"),
        ({"keys": []}, "RS256"),
        ({"kty": "RSA"}, "RS256"),
        (jwk.generate_key("EC", "P-384").as_dict(private=False), "ES256"),
    ],
)
@pytest.mark.filterwarnings("ignore:Key size")
def test_a_key_that_does_not_fit_its_algorithm_stops_the_start(key: Any, algorithm: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        _by_token(key, algorithm=algorithm)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("option", ["audience", "issuer"])
def test_a_token_for_anybody_is_refused_at_the_start(option: str) -> None:
    with pytest.raises(ValueError, match="audience and the issuer"):
        _by_token(**{option: ""})


def test_without_the_extra_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['joserfc'] = None\n"
        "from tenancy import by_token\n"
        "by_token(key='k' * 32, algorithm='HS256', audience='a', issuer='i')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert b"MissingExtraError" in result.stderr
    assert b"pip install 'tenancy[jwt]'" in result.stderr


# Chain


def _says(key: TenantKey | Found | None) -> Resolver:
    return lambda _scope: key


def _raises(error: TenancyError) -> Resolver:
    def resolve(_scope: Mapping[str, Any]) -> TenantKey:
        raise error

    return resolve


GLOBEX = TenantKey(KeyKind.SLUG, "globex")


def test_a_chain_hands_on_all_that_is_said_once_and_in_order() -> None:
    who = Found((ACME,), prefix="/t/acme", principal="ann")
    silent = _raises(MisdirectedHostError("not here"))
    said = chain(silent, _says(None), _says(GLOBEX), _says(who), _says(GLOBEX))(scope())
    assert said == Found((GLOBEX, ACME), "/t/acme", "ann")


def test_a_chain_where_nobody_speaks_answers_as_its_first_that_has_an_answer() -> None:
    silent = chain(_says(None), _raises(MissingTokenError("a")), _raises(NoTenantNamedError("b")))
    assert _said(silent, scope()) is MissingTokenError
    assert chain(_says(None), _says(None))(scope()) == Found()


def test_one_that_refuses_refuses_for_all() -> None:
    refusing = chain(_says(ACME), _raises(InvalidTokenError("forged")))
    assert _said(refusing, scope()) is InvalidTokenError


def test_a_reserved_sub_domain_and_a_foreign_host_say_nothing_in_a_chain() -> None:
    resolve = chain(by_subdomain("example.com"), by_path())
    for name in (b"api.example.com", b"example.com", b"10.0.0.1"):
        assert found(resolve(scope("/t/acme/x", (b"host", name)))).keys == (ACME,)
    said = found(resolve(scope("/t/acme/x", (b"host", b"globex.example.com"))))
    assert said.keys == (GLOBEX, ACME)
    assert _said(resolve, scope("/t/acme/x", (b"host", b"a..b"))).code == "malformed_host"  # type: ignore[union-attr]


def test_an_empty_chain_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        chain()


@given(st.binary(max_size=80), st.binary(max_size=80), st.text(max_size=30))
def test_any_request_has_an_answer(name: bytes, header: bytes, path: str) -> None:
    resolve = chain(
        by_subdomain("example.com"), by_path(), by_header("X-Tenant", trusted=["0.0.0.0/0"])
    )
    of = scope("/t/" + path, (b"host", name), (b"x-tenant", header), raw=b"")
    assert _said(resolve, of) is not None


def test_a_forwarded_host_is_not_read() -> None:
    of = scope("/", (b"host", b"acme.example.com"), (b"x-forwarded-host", b"globex.example.com"))
    assert host(of) == "acme.example.com"
