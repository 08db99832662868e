"""All that can be done to tenants: the group, and the modules that have added to it."""

from tenancy.commands import history, removal
from tenancy.commands.tenants import tenants

__all__ = ["history", "removal", "tenants"]
