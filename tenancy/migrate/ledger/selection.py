"""Which tenants are meant, as a value and as a condition of SQL."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Selection:
    """Tenants that satisfy all of what is given; without anything, all that are not being deleted.

    Attributes:
        tenants: these slugs.
        exclude: not these slugs.
        states: in one of these states.
        at: the last file applied is of this version.
        behind: the last file applied is of an earlier version, or none was.
        where: keys of the tenant's settings, and what they say as text.
    """

    tenants: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    at: str | None = None
    behind: str | None = None
    where: tuple[tuple[str, str], ...] = ()

    @property
    def everything(self) -> bool:
        """Whether nothing is given."""
        return self == Selection()

    def __str__(self) -> str:
        """Say it after "no tenant is"."""
        parts = [
            f"called {' or '.join(self.tenants)}" if self.tenants else "",
            f"other than {' or '.join(self.exclude)}" if self.exclude else "",
            " or ".join(self.states),
            f"at {self.at}" if self.at is not None else "",
            f"behind {self.behind}" if self.behind is not None else "",
            *(f"one whose settings say {key}={value}" for key, value in self.where),
        ]
        return ", ".join(filter(None, parts))

    def conditions(self, arguments: list[object]) -> str:
        """Return the condition on a tenant `w` and its checkpoint `c`; extends *arguments*."""

        def given(value: object) -> str:
            arguments.append(value)
            return f"${len(arguments)}"

        found = ["true"]
        if self.tenants:
            found.append(f"w.slug = ANY ({given(list(self.tenants))}::text[])")
        if self.exclude:
            found.append(f"w.slug <> ALL ({given(list(self.exclude))}::text[])")
        if self.states:
            found.append(f"w.state = ANY ({given(list(self.states))}::text[])")
        elif not self.tenants:
            found.append("w.state <> 'deleting'")
        if self.at is not None:
            found.append(f"c.version = {given(self.at)}::text")
        if self.behind is not None:
            found.append(f"coalesce(c.version, '') < {given(self.behind)}::text COLLATE \"C\"")
        found += [
            f"w.settings ->> {given(key)}::text = {given(value)}::text" for key, value in self.where
        ]
        return " AND ".join(found)


EVERYTHING = Selection()
