-- Who the tenants are, and by which names they are reached.

CREATE TABLE tenancy.tenants (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    slug        text NOT NULL UNIQUE
                CHECK (slug ~ '^[a-z]([a-z0-9-]*[a-z0-9])?$' AND length(slug) <= 48),
    -- Made once, readable, never used again; PostgreSQL would cut a longer name silently.
    schema_name text NOT NULL UNIQUE
                CHECK (schema_name ~ '^t_[a-z0-9_]+$' AND octet_length(schema_name) <= 63),
    state       text NOT NULL DEFAULT 'provisioning'
                CHECK (state IN ('provisioning', 'active', 'read_only', 'suspended', 'deleting')),
    settings    jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(settings) = 'object'),
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE tenancy.domains (
    name        text PRIMARY KEY
                CHECK (name = lower(name) AND name ~ '^[a-z0-9.-]+$' AND length(name) <= 253),
    tenant_id   uuid NOT NULL REFERENCES tenancy.tenants ON DELETE CASCADE,
    is_primary  boolean NOT NULL DEFAULT false,
    verified_at timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX domains_tenant_id ON tenancy.domains (tenant_id);
CREATE UNIQUE INDEX domains_one_primary ON tenancy.domains (tenant_id) WHERE is_primary;
