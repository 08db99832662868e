-- Views over all tenants, for the operator's reports. They are in a schema of their own,
-- tenancy_reports, which is made with the first one.

CREATE TABLE tenancy.reports (
    name         text PRIMARY KEY
                 CHECK (name ~ '^[a-z_][a-z0-9_]*$' AND octet_length(name) <= 63),
    table_name   text NOT NULL,
    columns      text[],      -- null: all that any tenant's table has
    reader       text NOT NULL,
    tenants      integer NOT NULL DEFAULT 0,
    digest       text,        -- sha256 of the view's definition
    -- Since when it reads no table, for one that is being changed, and says so; null: it works.
    aside_at     timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    refreshed_at timestamptz NOT NULL DEFAULT now()
);
