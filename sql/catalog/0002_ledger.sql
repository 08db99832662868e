-- What was applied where. A schema is known by its oid, so that one dropped and made again is new.

CREATE TABLE tenancy.runs (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    started_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    outcome     text CHECK (outcome IN ('current', 'failed', 'refused', 'interrupted')),
    host        text NOT NULL,
    process_id  integer NOT NULL
);

-- One row per file and schema, written first in the transaction that applies the file.
CREATE TABLE tenancy.migrations (
    schema_oid  oid NOT NULL,
    version     text NOT NULL,
    schema_name text NOT NULL,
    stage       text NOT NULL CHECK (stage IN ('catalog', 'shared', 'tenant')),
    name        text NOT NULL,
    checksum    text NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    run_id      uuid REFERENCES tenancy.runs,
    PRIMARY KEY (schema_oid, version)
);

-- Where each schema stands, in one row: the fleet's pending set is one query over this table.
-- digest is sha256(previous digest || version || checksum), over all files applied, in order.
CREATE TABLE tenancy.checkpoints (
    schema_oid  oid PRIMARY KEY,
    schema_name text NOT NULL,
    stage       text NOT NULL CHECK (stage IN ('catalog', 'shared', 'tenant')),
    version     text NOT NULL,
    digest      text NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Append only. Never holds data of a tenant: the SQLSTATE and the place in the file.
CREATE TABLE tenancy.failures (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id      uuid REFERENCES tenancy.runs,
    schema_oid  oid NOT NULL,
    schema_name text NOT NULL,
    version     text NOT NULL,
    sqlstate    text,
    place       text NOT NULL,
    message     text NOT NULL,
    failed_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX failures_schema_oid ON tenancy.failures (schema_oid, failed_at DESC);
