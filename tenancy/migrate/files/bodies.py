"""The SQL inside SQL: bodies of functions and of DO."""

from collections.abc import Iterator, Sequence

from tenancy.migrate.files.splitter import Kind, Token

_READ = {"sql", "plpgsql"}
_MAKES_BODY = {"FUNCTION", "PROCEDURE"}


def bodies(pieces: Sequence[Token]) -> Iterator[tuple[str, int]]:
    """Yield the bodies in one statement's tokens at their offsets, where they are SQL."""
    loud = [token for token in pieces if not token.silent]
    words = [token.word for token in loud]
    is_do = words[:1] == ["DO"]
    if not is_do and not (words[:1] == ["CREATE"] and _MAKES_BODY & set(words[1:4])):
        return
    if _language(words) not in _READ:
        return
    for at, token in enumerate(loud):
        if is_do or words[at - 1] == "AS":
            if token.kind is Kind.DOLLAR_STRING and token.closed:
                tag = token.text[: token.text.index("$", 1) + 1]
                yield token.text[len(tag) : -len(tag)], token.start + len(tag)
            elif token.kind is Kind.STRING and token.text.startswith("'"):
                yield token.text[1:-1], token.start + 1


def _language(words: Sequence[str]) -> str:
    for at, word in enumerate(words[:-1]):
        if word == "LANGUAGE":
            return words[at + 1].strip("'\"").lower()
    return "plpgsql" if words[:1] == ["DO"] else ""
