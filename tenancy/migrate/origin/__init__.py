"""Where schemas come from: a snapshot for new tenants, a life before this one for others."""
