"""A fair share for every tenant: of the pool, of the way there, and in an outage of the server."""
