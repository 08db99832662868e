-- Tenants on their way to another database, and those that have come there. Kept here, where they
-- come from, until they are purged: so that whoever runs a move again goes on where it was.

CREATE TABLE tenancy.moves (
    tenant_id    uuid PRIMARY KEY REFERENCES tenancy.tenants ON DELETE CASCADE,
    -- The other database: its server's system identifier, and its oid there.
    target       text NOT NULL,
    -- What the tenant is to be there, and here again if nothing comes of it.
    state_before text NOT NULL CHECK (state_before IN ('active', 'read_only', 'suspended')),
    begun_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- From then on nobody can write here, and what is there counts.
    closed_at    timestamptz,
    -- Who might do what to the tables before, to be given back if nothing comes of it.
    rights       text[],
    finished_at  timestamptz
);
