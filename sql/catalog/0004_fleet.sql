-- What a fleet needs beyond one file in one schema: runs that can be resumed, files that are no
-- single transaction, backfills, baselines, and the shape that a schema was left in.

ALTER TABLE tenancy.runs
    ADD COLUMN command text NOT NULL DEFAULT 'up',
    -- What was asked for: a run that is resumed goes on with it.
    ADD COLUMN options jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(options) = 'object'),
    -- Of all files of all stages: only who has the same files can join a run.
    ADD COLUMN digest text,
    -- The wave that is open: who has joined the run goes no further. 0 is the canary.
    ADD COLUMN wave integer,
    -- The server process that holds the run's lock.
    ADD COLUMN server_process integer,
    -- The run that this one goes on with.
    ADD COLUMN resumes uuid REFERENCES tenancy.runs,
    DROP CONSTRAINT runs_outcome_check,
    ADD CONSTRAINT runs_outcome_check
        CHECK (outcome IN ('current', 'failed', 'refused', 'interrupted', 'stopped'));

-- The work list of a run, in its order; what has been done of it the other tables tell.
CREATE TABLE tenancy.work (
    run_id      uuid NOT NULL REFERENCES tenancy.runs ON DELETE CASCADE,
    position    integer NOT NULL,
    wave        integer NOT NULL,
    schema_oid  oid NOT NULL,
    schema_name text NOT NULL,
    PRIMARY KEY (run_id, position)
);

-- A baseline stands for all files up to its version: its checksum is the digest of their chain.
ALTER TABLE tenancy.migrations
    ADD COLUMN kind text NOT NULL DEFAULT 'file' CHECK (kind IN ('file', 'baseline')),
    ADD COLUMN milliseconds integer,
    -- Each file of each schema would lock the one row of its run, all workers the same one.
    DROP CONSTRAINT migrations_run_id_fkey;

-- The shape of the schema at its checkpoint: a digest over all its objects' definitions.
ALTER TABLE tenancy.checkpoints
    ADD COLUMN fingerprint text;

-- One row per statement of a file that is no single transaction: written before it is run, and
-- finished after it. One without an end is in doubt until the catalog or a person has said more.
CREATE TABLE tenancy.steps (
    schema_oid  oid NOT NULL,
    version     text NOT NULL,
    direction   text NOT NULL DEFAULT 'up' CHECK (direction IN ('up', 'down')),
    step        integer NOT NULL, -- from 1
    schema_name text NOT NULL,
    statement   text NOT NULL,    -- sha256 of its text
    run_id      uuid REFERENCES tenancy.runs,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    resolved_by text,             -- the login that decided what had become of it
    indexes     oid[],            -- the table's, before one without a name was built on it
    PRIMARY KEY (schema_oid, version, direction, step)
);

-- How far a backfill has come; written in the transaction of each of its batches.
CREATE TABLE tenancy.backfills (
    schema_oid  oid NOT NULL,
    version     text NOT NULL,
    name        text NOT NULL,
    schema_name text NOT NULL,
    columns     text[] NOT NULL,           -- the table, and the key that it goes along
    cursor      jsonb,                     -- the key it came to; null: not begun
    done        bigint NOT NULL DEFAULT 0, -- rows
    total       bigint,                    -- rows, estimated; null: unknown
    finished_at timestamptz,
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (schema_oid, version, name)
);

-- Files taken back. Append only.
CREATE TABLE tenancy.reversals (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schema_oid  oid NOT NULL,
    schema_name text NOT NULL,
    version     text NOT NULL,
    checksum    text NOT NULL,
    run_id      uuid REFERENCES tenancy.runs,
    reversed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The migrator tells of a schema's new version after its COMMIT, and not within it: COMMITs that
-- tell something wait for each other, database-wide, each with its own wait for the disk.
DROP TRIGGER notify_insert ON tenancy.checkpoints;
DROP TRIGGER notify_update ON tenancy.checkpoints;
CREATE TRIGGER notify_insert AFTER INSERT ON tenancy.checkpoints
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
    WHEN (pg_catalog.current_setting('tenancy.tells', true) IS DISTINCT FROM 'later')
    EXECUTE FUNCTION tenancy.notify_changes();
CREATE TRIGGER notify_update AFTER UPDATE ON tenancy.checkpoints
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
    WHEN (pg_catalog.current_setting('tenancy.tells', true) IS DISTINCT FROM 'later')
    EXECUTE FUNCTION tenancy.notify_changes();

-- What every file of every schema asks and writes: functions, for their plans, which are kept from
-- one schema to the next because the path in them is always the same.

CREATE FUNCTION tenancy.facts(first boolean, of_schema oid, named text) RETURNS json
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    facts json;
BEGIN
    SELECT json_build_array(first, c.digest, t.id, t.slug, current_user,
                            obj_description(of_schema, 'pg_namespace'))
    INTO facts
    FROM (VALUES (1)) AS one
    LEFT JOIN tenancy.checkpoints AS c ON c.schema_oid = of_schema
    LEFT JOIN tenancy.tenants AS t ON t.schema_name = named;
    RETURN facts;
END
$$;

-- Moves a checkpoint and notes how long the file took; false: it did not stand where it should.
CREATE FUNCTION tenancy.advance(
    of_schema oid, named text, of_stage text, file text, in_steps boolean,
    digest_before text, digest_after text, newest text
) RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    begun timestamptz;
BEGIN
    IF digest_before = '' THEN
        INSERT INTO tenancy.checkpoints (schema_oid, schema_name, stage, version, digest)
        VALUES (of_schema, named, of_stage, newest, digest_after) ON CONFLICT DO NOTHING;
    ELSE
        UPDATE tenancy.checkpoints
        SET schema_name = named, stage = of_stage, version = newest, digest = digest_after,
            fingerprint = NULL, updated_at = clock_timestamp()
        WHERE schema_oid = of_schema AND digest = digest_before;
    END IF;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF in_steps THEN
        SELECT min(started_at) INTO begun FROM tenancy.steps
        WHERE schema_oid = of_schema AND version = file;
    END IF;
    UPDATE tenancy.migrations
    SET milliseconds = LEAST(2147483647, 1000 * EXTRACT(
            epoch FROM clock_timestamp() - LEAST(applied_at, begun)))
    WHERE schema_oid = of_schema AND version = file;
    RETURN FOUND;
END
$$;

REVOKE ALL ON FUNCTION tenancy.facts(boolean, oid, text),
    tenancy.advance(oid, text, text, text, boolean, text, text, text) FROM PUBLIC;
