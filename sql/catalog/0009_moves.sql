-- Tenants on their way to another database, and those that have come there. Kept here, where they
-- come from, until they are purged: so that whoever runs a move again goes on where it was.

CREATE TABLE tenancy.moves (
    tenant_id    uuid PRIMARY KEY REFERENCES tenancy.tenants ON DELETE CASCADE,
    -- The other database: its server's system identifier, and its oid there.
    target       text NOT NULL,
    -- What the tenant is to be there, and here again if nothing comes of it.
    state_before text NOT NULL CHECK (state_before IN ('active', 'read_only', 'suspended')),
    begun_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- As they were: who might do what to the tables, some of which is taken for the time of the
    -- move, and the shape of the schema.
    rights       text[] NOT NULL,
    fingerprint  text NOT NULL,
    -- From then on nobody is served here, and what is there counts.
    closed_at    timestamptz,
    finished_at  timestamptz
);
