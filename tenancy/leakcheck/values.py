"""Which values to try for a column, the most telling one first. Pure."""

from uuid import NAMESPACE_DNS, uuid5

from tenancy.leakcheck.canaries import TEXT_LENGTH, Canaries, Canary
from tenancy.leakcheck.tables import Column

_PLAIN = {
    "bool": ["false", "true"],
    "date": ["2001-02-{n:02}", "2999-02-{n:02}"],
    "time": ["12:00:{n:02}"],
    "timetz": ["12:00:{n:02}+00"],
    "timestamp": ["2001-02-{n:02} 12:00", "2999-02-{n:02} 12:00"],
    "timestamptz": ["2001-02-{n:02} 12:00+00", "2999-02-{n:02} 12:00+00"],
    "interval": ["{n} hours"],
    "inet": ["192.0.2.{n}"],
    "cidr": ["192.0.2.{n}/32"],
    "macaddr": ["08:00:2b:01:02:{n:02}"],
    "oid": ["{n}"],
    "int2": ["{n}", "0"],
    "tsvector": ["canary"],
    "point": ["({n},{n})"],
    "xml": ["<canary/>"],
}
_NUMBERS = ("int4", "int8", "numeric", "float8", "money")
_JSON = ("json", "jsonb")
_SHORT = ("id{n}", "{letter}{letter}", "{n}", "{capital}{capital}", "{capital}")


def tells(column: Column) -> bool:
    """Whether a value of *column* can be a canary."""
    if column.category == "S":
        return column.length is None or column.length >= TEXT_LENGTH
    if column.base in _NUMBERS:
        return not (column.base == "numeric" and column.limited)
    return column.base in (*_JSON, "uuid", "bytea") or column.is_text_array


def of_a_key(column: Column, table: str, number: int) -> list[str]:
    """Return values for the primary key of row *number*: the same for both tenants."""
    if column.base == "uuid":
        return [str(uuid5(NAMESPACE_DNS, f"{table}.{column.name}.{number}"))]
    if column.category == "N":
        return [str(number)]
    if column.category == "S" and column.base != "name":
        return _fitting(column, [*_turned(column.allowed, number), *_plain(_SHORT, number)])
    return of_others(column, number)


def of_a_canary(column: Column, canaries: Canaries, canary: Canary, number: int) -> list[str]:
    """Return values for a column that `tells`, the canary itself in several shapes first."""
    if column.base == "uuid":
        return [canaries.uuid(canary)]
    if column.base in _NUMBERS:
        return [canaries.number(canary), str(number), "0", "1"]
    word = canaries.text(canary)
    if column.base in _JSON:
        return [f'{{"canary": "{word}"}}', f'["{word}"]']
    if column.is_text_array:
        return [f"{{{word}}}"]
    if column.base == "bytea":
        return [rf"\x{word.encode().hex()}"]
    shapes = [word, f"{word}@example.com", f"https://example.com/{word}", word.upper()]
    return _fitting(column, shapes + of_others(column, number))


def of_others(column: Column, number: int) -> list[str]:
    """Return values for a column that tells nothing; none: this type cannot be filled."""
    if column.is_enum:
        return _turned(column.labels, number)
    if column.category == "S":
        return _fitting(column, [*_turned(column.allowed, number), *_plain(_SHORT, number)])
    if column.category == "A":
        return ["{}"]
    if column.category == "R":
        return ["empty"]
    if column.category == "N":
        return [str(number), "0", "1"]
    return _plain(_PLAIN.get(column.base, ()), number)


def _plain(shapes: "list[str] | tuple[str, ...]", number: int) -> list[str]:
    letter = chr(ord("a") + number % 26)
    return [s.format(n=number, letter=letter, capital=letter.upper()) for s in shapes]


def _turned(values: list[str], number: int) -> list[str]:
    """Return *values* beginning with another one for each row, for a key is unique."""
    start = (number - 1) % len(values) if values else 0
    return values[start:] + values[:start]


def _fitting(column: Column, values: list[str]) -> list[str]:
    return [v for v in dict.fromkeys(values) if column.length is None or len(v) <= column.length]
