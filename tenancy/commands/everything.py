"""All that can be done to tenants: the group, and the modules that add to it."""

from tenancy.commands import domains, history, life, portability, ready, removal
from tenancy.commands.tenants import tenants

__all__ = ["domains", "history", "life", "portability", "ready", "removal", "tenants"]
