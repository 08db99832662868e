-- What making a tenant remembers: requests that may be sent twice, and schemas made ahead.

-- One row for each key under which a tenant was made, written in the transaction that made it.
CREATE TABLE tenancy.idempotency_keys (
    actor     text NOT NULL,  -- nobody meets another's keys
    key       text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    request   text NOT NULL,  -- sha256 of what was asked for
    tenant_id uuid,           -- no reference: who sends it again after a purge makes nothing
    made_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (actor, key)
);

CREATE INDEX idempotency_keys_made_at ON tenancy.idempotency_keys (made_at);

-- Schemas that are nobody's yet: with role, grants, tables and ledger, but in no tenant's name. The
-- row goes in the transaction that gives the schema to a tenant, or drops it.
CREATE TABLE tenancy.ready_schemas (
    schema_name   text PRIMARY KEY
                  CHECK (schema_name ~ '^t_ready_[a-z0-9]+$' AND octet_length(schema_name) <= 63),
    shared_schema text NOT NULL,
    shared_digest text NOT NULL,     -- of what the tenants' files could read there
    login         text NOT NULL,     -- whom it is open to
    own_role      boolean NOT NULL,  -- by a role of its own
    made_at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
