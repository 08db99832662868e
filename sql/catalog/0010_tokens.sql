-- Who may use the operator's HTTP API. A token is shown once, when it is made; this is its digest.

CREATE TABLE tenancy.tokens (
    id           text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{12}$'),  -- the part that is no secret
    name         text NOT NULL CHECK (name ~ '^[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?$'),
    -- Of 256 random bits, so a plain sha256 is enough: there is no list of likely ones to try.
    digest       bytea NOT NULL CHECK (octet_length(digest) = 32),
    scopes       text[] NOT NULL CHECK (cardinality(scopes) > 0),
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    revoked_at   timestamptz,
    last_used_at timestamptz  -- to the minute
);

-- The audit knows it by its name.
CREATE UNIQUE INDEX tokens_name ON tenancy.tokens (name) WHERE revoked_at IS NULL;
