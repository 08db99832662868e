-- A tenant's life: where it is on its way out, by which names it was known, and who did what to it.

ALTER TABLE tenancy.tenants
    -- Of one that is being deleted: where `restore` leads back to, and when it may be purged.
    ADD COLUMN state_before text
        CHECK (state_before IN ('provisioning', 'active', 'read_only', 'suspended')),
    ADD COLUMN purge_at timestamptz,
    -- From then on its tables are being dropped, and there is no way back.
    ADD COLUMN purge_begun_at timestamptz,
    -- Slugs it had. They redirect to the one it has, and never lead to another's data: a tenant
    -- that takes one of them takes it out of here.
    ADD COLUMN former_slugs text[] NOT NULL DEFAULT '{}';

-- Few tenants have any.
CREATE INDEX tenants_former_slugs ON tenancy.tenants USING gin (former_slugs)
    WHERE former_slugs <> '{}';

-- Whoever changes the registry: a slug that is somebody's is nobody's former one. Who leaves a slug,
-- and who takes it, wait for each other here, where neither holds a row yet that the other wants;
-- those who make tenants do not wait for each other. A few locks serve all slugs: one statement may
-- make many tenants.
CREATE FUNCTION tenancy.take_slug() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM pg_advisory_xact_lock_shared(7306119, hashtext(NEW.slug) & 63);
    ELSIF NEW.slug = OLD.slug THEN
        RETURN NEW;
    ELSE
        PERFORM tenancy.hold_slugs(OLD.slug, NEW.slug);
    END IF;
    NEW.former_slugs := array_remove(NEW.former_slugs, NEW.slug);
    -- Looked for first: an UPDATE of nothing calls triggers, too.
    IF EXISTS (SELECT FROM tenancy.tenants
               WHERE former_slugs <> '{}' AND former_slugs @> ARRAY[NEW.slug] AND id <> NEW.id) THEN
        UPDATE tenancy.tenants SET former_slugs = array_remove(former_slugs, NEW.slug)
        WHERE former_slugs <> '{}' AND former_slugs @> ARRAY[NEW.slug] AND id <> NEW.id;
    END IF;
    RETURN NEW;
END
$$;

-- Two that trade their slugs would wait for each other: one rename at a time.
CREATE FUNCTION tenancy.hold_slugs(old text, new text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7306119);
    PERFORM pg_advisory_xact_lock(7306119, hashtext(old) & 63);
    PERFORM pg_advisory_xact_lock(7306119, hashtext(new) & 63);
END
$$;

REVOKE ALL ON FUNCTION tenancy.hold_slugs(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION tenancy.take_slug() FROM PUBLIC;

CREATE TRIGGER take_slug BEFORE INSERT OR UPDATE OF slug ON tenancy.tenants
    FOR EACH ROW EXECUTE FUNCTION tenancy.take_slug();
-- And once more when it is taken: who had it may have been renamed while this one waited for it.
CREATE TRIGGER took_slug AFTER INSERT OR UPDATE OF slug ON tenancy.tenants
    FOR EACH ROW EXECUTE FUNCTION tenancy.take_slug();

ALTER TABLE tenancy.domains
    -- What a DNS TXT record must say before the domain is served; null: an operator vouched for it.
    ADD COLUMN challenge text,
    -- Several may say that a domain is theirs; one has shown it.
    DROP CONSTRAINT domains_pkey,
    ADD PRIMARY KEY (name, tenant_id);

CREATE UNIQUE INDEX domains_one_owner ON tenancy.domains (name) WHERE verified_at IS NOT NULL;

-- Who did what to which tenant, when, from where, with what outcome. A row outlives its tenant.
CREATE TABLE tenancy.audit (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor     text NOT NULL,  -- an account of the machine, a token's name, a token's subject
    source    text NOT NULL,  -- the machine, or the client's address
    login     text NOT NULL DEFAULT session_user,
    action    text NOT NULL,
    tenant_id uuid,
    slug      text,
    outcome   text NOT NULL CHECK (outcome IN ('begun', 'done', 'refused', 'failed', 'unknown')),
    code      text,           -- of the error; never its words, which may quote what was typed
    reason    text,           -- given by the actor
    detail    jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(detail) = 'object')
);

CREATE INDEX audit_tenant_id ON tenancy.audit (tenant_id, id);
CREATE INDEX audit_slug ON tenancy.audit (slug, id);

CREATE FUNCTION tenancy.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'tenancy.audit is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;

REVOKE ALL ON FUNCTION tenancy.refuse_change() FROM PUBLIC;

-- Against whoever has the rights all the same, such as a superuser's slip.
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON tenancy.audit
    FOR EACH STATEMENT EXECUTE FUNCTION tenancy.refuse_change();

-- Where session_replication_role says that triggers rest, too.
ALTER TABLE tenancy.audit ENABLE ALWAYS TRIGGER refuse_change;

-- An owner has them too, until they are taken.
REVOKE UPDATE, DELETE, TRUNCATE ON tenancy.audit FROM CURRENT_USER;
