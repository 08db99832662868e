"""Host headers: lists of them by their answer, and mutations with an oracle of their own."""

import random
import re

TENANT = [
    b"acme.example.com", b"acme.example.com:8000", b"ACME.Example.COM", b"acme.example.com.",
    b" acme.example.com", b"\tacme.example.com ", b"acme.example.com.:443",
    b"acme.example.com:65535",
]  # fmt: skip
MALFORMED = [
    b"", b" ", b"acme.example.com,globex.example.com", b"acme .example.com",
    b"acme\r\n example.com",
    b"acme.example.com\r\n\tx", b"ac\0me.example.com", b"acme.example.com\r", b"acme.example.com\n",
    b"acme\x7f.example.com", b"acm\xe9.example.com", b"\xffacme.example.com",
    b"ac\xc3\xa9.example.com",
    *(b"ac%cme.example.com" % bytes([c]) for c in b"_$@/?#\\%\"';!&()*+=<>[]^`{|}~"),
    b"-acme.example.com", b"acme-.example.com", b"acme.-example.com", b"acme.example-.com",
    b"acme..example.com", b"a..b", b".acme.example.com", b".", b"..", b"acme.example.com..",
    b"a" * 64 + b".example.com", (b"a" * 62 + b".") * 4 + b"example.com", b"a" * 300,
    b"acme.example.com:abc", b"acme.example.com:", b"acme.example.com:0", b"acme.example.com:99999",
    b"acme.example.com:65536", b"acme.example.com:-1", b"acme.example.com:80:80", b":80",
    b"acme.example.com:8 0", b"acme.example.com:+80", "acme.example.com:٣".encode(),
    b"[::1", b"::1", b"[::1]x", b"[fe80::1%eth0]", b"[fe80::1%25eth0]", b"[]", b"[::g]",
    b"[1.2.3.4]",
    b"user@acme.example.com", b"http://acme.example.com", b"acme.example.com/",
]  # fmt: skip
UNKNOWN = [
    b"nobody.example.com", b"www.example.com", b"api.example.com", b"admin.example.com",
    b"public.example.com", b"postgres.example.com", b"tenancy.example.com", b"shared.example.com",
    b"template0.example.com", b"pg-catalog.example.com", b"xn--acme-9qa.example.com",
    b"a.acme.example.com", b"www.acme.example.com", b"1acme.example.com",
    b"a" * 49 + b".example.com", b"t.example.com", b"gone.example.com",
]  # fmt: skip
FOREIGN = [
    b"example.com", b"example.com:8000", b"example.com.", b"acme.example.com.evil.com",
    b"acme.evilexample.com", b"127.0.0.1", b"127.0.0.1:8000", b"[::1]", b"[::1]:8000",
    b"localhost", b"acme", b"10.0.0.1", b"notes.customer.example", b"com", b"acme.example.org",
    b"[::ffff:1.2.3.4]",
]  # fmt: skip

# Written apart from the resolver, so that both would have to be wrong in the same way.
_ACME = re.compile(rb"[ \t]*acme\.example\.com\.?(:(\d{1,5}))?[ \t]*", re.IGNORECASE)
_PIECES = [
    *(bytes([code]) for code in range(256)),
    b"acme", b"globex", b"example.com", b".example.com", b"..", b":80", b":0", b"[::1]", b"xn--",
    b"www.", b"\r\n", b"\xc3\xa9", b"%2e", b"a" * 64, b"-", b"@", b"127.0.0.1", b"localhost",
]  # fmt: skip


def is_acme(value: bytes) -> bool:
    """Whether *value* names the tenant acme, and nobody else."""
    match = _ACME.fullmatch(value)
    return match is not None and (match[2] is None or 0 < int(match[2]) <= 65_535)


def mutated(rng: random.Random) -> bytes:
    """Return a value of the lists, changed in a few places or not at all."""
    value = rng.choice(rng.choice((TENANT, TENANT, UNKNOWN, FOREIGN, MALFORMED)))
    for _ in range(rng.randrange(4)):
        at, much = rng.randrange(len(value) + 1), rng.choice((0, 0, 1, 1, 2, 5))
        value = value[:at] + rng.choice(_PIECES) + value[at + much :]
    return value
