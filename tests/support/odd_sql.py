"""Files of a tenant that are as odd as other people's histories, for what copies a schema."""

FILES = {
    "shared/0001_kinds.sql": "CREATE TABLE kinds (kind text PRIMARY KEY); "
    "INSERT INTO kinds VALUES ('plain');",
    "tenant/0001_first.sql": r'''
        CREATE TYPE mood AS ENUM ('low', 'high');
        CREATE DOMAIN email AS text CHECK (VALUE ~ '@');
        CREATE TABLE "Odd ""Name""" (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            "the when" timestamptz NOT NULL DEFAULT now(),
            mood mood DEFAULT 'low', mail email, kind text REFERENCES kinds,
            twice bigint GENERATED ALWAYS AS (id * 2) STORED
        );
        CREATE TABLE notes (id serial PRIMARY KEY, body text NOT NULL, parent int
            REFERENCES notes DEFERRABLE INITIALLY DEFERRED);
        CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS
        $body$ BEGIN NEW.body := upper(NEW.body); RETURN NEW; END; $body$;
    ''',
    "tenant/0002_seeds.sql": r'''
        INSERT INTO notes (id, body, parent) VALUES
            (2, E'two; \\\\ ''quoted''\\n', 1), (1, 'one', NULL);
        INSERT INTO "Odd ""Name""" (mood, mail, kind) VALUES
            ('high', 'a@b', 'plain'), (NULL, NULL, NULL);
        SELECT setval('notes_id_seq', 7);
    ''',
    "tenant/0003_more.sql": """
        ALTER TABLE notes ADD COLUMN secret text, ALTER COLUMN body TYPE varchar(90);
        ALTER TYPE mood ADD VALUE 'middle' BEFORE 'high';
        CREATE TRIGGER loud BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION shout();
        CREATE VIEW tops AS SELECT n.id, k.kind FROM notes n
            CROSS JOIN kinds k WHERE parent IS NULL;
        CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM notes;
        CREATE FUNCTION counting() RETURNS bigint LANGUAGE sql
            BEGIN ATOMIC SELECT 1; SELECT count(*) FROM notes; END;
        CREATE TABLE parts (at date NOT NULL, n int) PARTITION BY RANGE (at);
        CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2020-01-01') TO ('2030-01-01');
        INSERT INTO parts VALUES ('2024-02-29', 1);
        CREATE RULE quiet AS ON DELETE TO parts DO ALSO (SELECT 1; SELECT 2);
        ALTER TABLE notes ENABLE ROW LEVEL SECURITY; ALTER TABLE notes FORCE ROW LEVEL SECURITY;
        CREATE POLICY own ON notes USING (secret IS NULL);
        COMMENT ON TABLE notes IS 'what''s noted; here';
        ALTER TABLE notes DROP COLUMN secret CASCADE;
        REVOKE ALL ON FUNCTION counting() FROM PUBLIC;
    """,
    "tenant/0004_where.sql": """
        CREATE TABLE places (name text);
        INSERT INTO places SELECT current_schema();
        DO $$ BEGIN EXECUTE format(
            'CREATE FUNCTION home() RETURNS text LANGUAGE sql AS %L',
            'SELECT ' || quote_literal(current_schema())); END $$;
    """,
}
