-- Every change of the registry is told, at its COMMIT, to the processes that remember it.
--
-- The payload is a tenant's id, or 'all': what to read again, never what is new. A forged one makes
-- a process read, and believe nothing. A checkpoint's change names its tenant. The triggers are per
-- statement, so that one which changes thousands of rows sends one notification; equal ones of a
-- transaction are sent once by PostgreSQL itself ("NOTIFY").

CREATE FUNCTION tenancy.notify_changes() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    few CONSTANT integer := 100;
    changed text := CASE TG_OP
        WHEN 'INSERT' THEN 'TABLE new_rows'
        WHEN 'DELETE' THEN 'TABLE old_rows'
        WHEN 'UPDATE' THEN 'TABLE old_rows UNION ALL TABLE new_rows'
    END;
    tenant text := CASE TG_TABLE_NAME
        WHEN 'tenants' THEN 'id FROM changed'
        WHEN 'domains' THEN 'tenant_id FROM changed'
        -- By the index: a join with rows that have no statistics reads all tenants each time.
        WHEN 'checkpoints' THEN 't.id FROM tenancy.tenants AS t'
            ' WHERE t.schema_name = ANY (ARRAY(SELECT schema_name FROM changed))'
    END;
    ids text[];
    id text;
BEGIN
    IF TG_OP <> 'TRUNCATE' THEN
        EXECUTE format(
            'WITH changed AS (%s), tenants (id) AS (SELECT DISTINCT %s LIMIT %s)'
            ' SELECT coalesce(array_agg(id::text), ''{}'') FROM tenants',
            changed, tenant, few + 1) INTO ids;
    END IF;
    IF TG_OP = 'TRUNCATE' OR cardinality(ids) > few THEN
        ids := ARRAY['all'];
    END IF;
    FOREACH id IN ARRAY ids LOOP
        -- Not pg_notify(), which whoever changes the registry may not be allowed to call.
        EXECUTE format('NOTIFY tenancy_registry, %L', id);
    END LOOP;
    RETURN NULL;
END
$$;

-- Nobody but its owner can put it on a table of his own.
REVOKE ALL ON FUNCTION tenancy.notify_changes() FROM PUBLIC;

DO $$
DECLARE
    changed text;
BEGIN
    FOREACH changed IN ARRAY ARRAY['tenants', 'domains', 'checkpoints'] LOOP
        EXECUTE format(
            'CREATE TRIGGER notify_insert AFTER INSERT ON tenancy.%1$I'
            ' REFERENCING NEW TABLE AS new_rows'
            ' FOR EACH STATEMENT EXECUTE FUNCTION tenancy.notify_changes();'
            'CREATE TRIGGER notify_update AFTER UPDATE ON tenancy.%1$I'
            ' REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'
            ' FOR EACH STATEMENT EXECUTE FUNCTION tenancy.notify_changes();'
            'CREATE TRIGGER notify_delete AFTER DELETE ON tenancy.%1$I'
            ' REFERENCING OLD TABLE AS old_rows'
            ' FOR EACH STATEMENT EXECUTE FUNCTION tenancy.notify_changes();'
            'CREATE TRIGGER notify_truncate AFTER TRUNCATE ON tenancy.%1$I'
            ' FOR EACH STATEMENT EXECUTE FUNCTION tenancy.notify_changes()', changed);
    END LOOP;
END
$$;
