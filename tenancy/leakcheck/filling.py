"""Rows for both canary tenants: equal ids, and a canary in every column that can hold one."""

import itertools
from collections.abc import Iterable, Sequence
from contextlib import suppress

import asyncpg

from tenancy.faults import reason
from tenancy.leakcheck import seeds, values
from tenancy.leakcheck.canaries import Canaries, Canary
from tenancy.leakcheck.seeds import CanaryTenant, Seed
from tenancy.leakcheck.tables import Column, Reference, Table

ROWS = 3
MAX_ATTEMPTS = 300
LOCK_TIMEOUT = "2s"


class Filler:
    """Fills the tables of both tenants, and fills them again.

    Attributes:
        tenants: both, each with its tables.
        tenant_column: tells whose a row is; None: a table belongs to one tenant wholly.
        seeds: what was seeded, both tenants'.
        unfilled: tables that hold no row of ours, and why.
    """

    def __init__(
        self,
        conn: asyncpg.Connection,
        canaries: Canaries,
        tenants: Sequence[tuple[CanaryTenant, list[Table]]],
        tenant_column: str | None,
    ) -> None:
        self._conn = conn
        self._canaries = canaries
        self.tenants = tenants
        self.tenant_column = tenant_column
        self._chosen: dict[tuple[int, str, int, int], list[str]] = {}
        self._ours: set[str] | None = None
        self.seeds: list[Seed] = []
        self.unfilled: dict[str, str] = {}

    @property
    def tables(self) -> list[str]:
        """Names of the tables, once for both tenants."""
        return [table.name for table in self.tenants[0][1]]

    def text_columns(self, stems: Iterable[str]) -> list[str]:
        """Return the columns that hold text, of the tables with such names; else of all."""
        stems = {stem for stem in stems if stem}
        tables = self.tenants[0][1]
        alike = [t for t in tables if any(t.name.lower().startswith(stem) for stem in stems)]
        return [
            column.name
            for table in alike or tables
            for column in table.columns.values()
            if column.category == "S" and not column.is_key and column.name != self.tenant_column
        ]

    async def fill(self) -> None:
        """Empty what was empty at first, and put the same rows there as before."""
        await self._conn.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        if self._ours is None:
            self._ours = {t.quoted for t in self._all() if not await self._count(t)}
        elif self._ours:
            # Refused where rows of the application's own refer to one, or it is locked.
            with suppress(asyncpg.PostgresError):
                await self._conn.execute(f"TRUNCATE {', '.join(sorted(self._ours))}")
        self.seeds = []
        self.unfilled = {}
        for tenant, tables in self.tenants:
            for table in tables:
                try:
                    await self._fill(tenant, table)
                except asyncpg.PostgresError as error:
                    self.unfilled[table.name] = reason(error)
                await self._remember(tenant, table)

    def _all(self) -> list[Table]:
        found = [table for _, tables in self.tenants for table in tables]
        return list({table.quoted: table for table in found}.values())

    async def _count(self, table: Table) -> int:
        return int(await self._conn.fetchval(f"SELECT count(*) FROM {table.quoted}"))

    # One table

    async def _fill(self, tenant: CanaryTenant, table: Table) -> None:
        rows = ROWS
        if self.tenant_column and table.column(self.tenant_column) is None:
            if not self._lists_tenants(table):
                self.unfilled[table.name] = f"it has no column {self.tenant_column}"
                return
            if table.quoted not in (self._ours or ()):
                return  # the application's own setup has made them
            rows = 1
        for row in range(1, rows + 1):
            refusal = await self._insert(tenant, table, row)
            if refusal:
                self.unfilled[table.name] = refusal
                return
        await self._advance_sequences(table)

    def _lists_tenants(self, table: Table) -> bool:
        return any(
            reference.target == table.oid and self._is_of_tenant(other, reference)
            for other in self._all()
            for reference in other.references
        )

    def _is_of_tenant(self, table: Table, reference: Reference) -> bool:
        names = {table.columns[number].name for number in reference.columns}
        return self.tenant_column is not None and self.tenant_column in names

    async def _insert(self, tenant: CanaryTenant, table: Table, row: int) -> str | None:
        """Insert a row, trying other values where a check refuses; return why it cannot be."""
        candidates: dict[int, list[str]] = {}
        referring = await self._referring(tenant, table, row)
        if isinstance(referring, str):
            return referring
        for number, column in table.columns.items():
            if number in referring or column.generated:
                continue
            found = self._candidates(tenant, table, column, row)
            if found:
                candidates[number] = found
            elif column.required and not column.has_default:
                return f"no value is known for {column.name} ({column.declared})"
        fixed = {number: [value] for number, value in referring.items() if value is not None}
        return await self._try(table, {**candidates, **fixed})

    async def _try(self, table: Table, candidates: dict[int, list[str]]) -> str | None:
        chosen = dict.fromkeys(candidates, 0)
        refusal = ""
        turns = {tuple(candidates): iter([tuple(chosen.values())])}
        for _ in range(MAX_ATTEMPTS):
            row = {number: candidates[number][place] for number, place in chosen.items()}
            try:
                async with self._conn.transaction():
                    await self._conn.execute(*seeds.insert(table, row))
            except (asyncpg.CheckViolationError, asyncpg.DataError) as error:
                refusal = reason(error)
                culprits = seeds.culprits(table, error, candidates)
                if culprits not in turns:
                    turns[culprits] = itertools.product(
                        *(range(len(candidates[number])) for number in culprits)
                    )
                places = next(turns[culprits], None)
                if not culprits or places is None:
                    return refusal
                chosen.update(zip(culprits, places, strict=True))
            else:
                return None
        return refusal

    def _candidates(
        self, tenant: CanaryTenant, table: Table, column: Column, row: int
    ) -> list[str]:
        place = (tenant.number, table.quoted, column.number, row)
        if place not in self._chosen:  # the same when it is filled again
            self._chosen[place] = self._fresh(tenant, table, column, row)
        return self._chosen[place]

    def _fresh(self, tenant: CanaryTenant, table: Table, column: Column, row: int) -> list[str]:
        shared = self.tenant_column is not None
        number = row
        if shared and not any(c.name == self.tenant_column for c in table.key):
            number = tenant.number * ROWS + row  # ids in one table cannot be equal
        if column.name == self.tenant_column:
            return [seeds.identity(tenant, column)]
        if shared and table.column(self.tenant_column or "") is None and column.category == "S":
            return [tenant.name]  # the table that lists the tenants
        if column.is_key:
            return values.of_a_key(column, table.name, number)
        if values.tells(column):
            canary = Canary(tenant.number, f"{table.name}.{column.name}")
            return values.of_a_canary(column, self._canaries, canary, number)
        if column.has_default or not column.required:
            return []
        return values.of_others(column, number)

    async def _referring(
        self, tenant: CanaryTenant, table: Table, row: int
    ) -> dict[int, str | None] | str:
        """Return the values of foreign keys; where one has nothing to refer to, why not."""
        found: dict[int, str | None] = {}
        for reference in table.references:
            target = await self._target(tenant, table, reference, row)
            columns = [table.columns[number] for number in reference.columns]
            if target is None and any(c.required and not c.has_default for c in columns):
                return f"there is no row in {reference.target_quoted} to refer to"
            if target is not None:
                found |= zip(reference.columns, target, strict=True)
            else:
                found |= dict.fromkeys(reference.columns)
        return found

    async def _target(
        self, tenant: CanaryTenant, table: Table, reference: Reference, row: int
    ) -> list[str] | None:
        names = ", ".join(f"{name}::text" for name in reference.target_columns)
        where, arguments = "", []
        if self._is_of_tenant(table, reference):
            where, arguments = "ORDER BY strpos(t::text, $1) = 0", [tenant.name]
        elif self.tenant_column:
            other = next((t for t in self._all() if t.oid == reference.target), None)
            column = other and other.column(self.tenant_column)
            if column:
                where, arguments = (
                    f"WHERE {column.quoted}::text = $1",
                    [await self.identity(tenant, column, other)],
                )
        rows = await self._conn.fetch(
            f"SELECT {names} FROM {reference.target_quoted} t {where} LIMIT {ROWS}", *arguments
        )
        if not rows:
            return None
        return list(rows[0 if arguments and "strpos" in where else (row - 1) % len(rows)])

    async def identity(self, tenant: CanaryTenant, column: Column, table: Table | None) -> str:
        """Return what *column*, the tenant column of *table*, holds in rows of *tenant*."""
        for reference in table.references if table else ():
            if table and reference.columns == (column.number,):
                target = await self._target(tenant, table, reference, 1)
                return target[0] if target else ""
        return seeds.identity(tenant, column)

    async def _advance_sequences(self, table: Table) -> None:
        for column in table.columns.values():
            if column.category == "N" and column.has_default:
                await self._conn.execute(
                    "SELECT setval(s::regclass, (SELECT greatest(max("
                    f"{column.quoted}), 1) FROM {table.quoted})::bigint) "
                    f"FROM pg_get_serial_sequence($1, $2) s WHERE s IS NOT NULL",
                    table.quoted,
                    column.name,
                )

    async def _remember(self, tenant: CanaryTenant, table: Table) -> None:
        columns = [c for c in table.columns.values() if c.is_key or c.category == "S"]
        if not columns:
            return
        where, arguments = "", []
        column = table.column(self.tenant_column) if self.tenant_column else None
        if column:
            where = f"WHERE {column.quoted}::text = $1"
            arguments = [await self.identity(tenant, column, table)]
        names = ", ".join(f"{c.quoted}::text" for c in columns)
        query = f"SELECT {names} FROM {table.quoted} t {where} ORDER BY 1 LIMIT {ROWS}"
        for row in await self._conn.fetch(query, *arguments):
            for each, value in zip(columns, row, strict=True):
                if value is not None:
                    seed = Seed(tenant.number, table.name, each.name, value, each.is_key)
                    self.seeds.append(seed)
