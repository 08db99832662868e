"""A tenant's life, for the commands, the operator's API and Python alike.

Each step is one transaction, with the hooks of the deployment and the audit's row in it: all of it
happens, or nothing. ``README.md`` beside this file is the operator's guide.
"""

from tenancy.provision.actor import Actor
from tenancy.provision.administrator import Administrator, administrator
from tenancy.provision.claims import Domain
from tenancy.provision.hooks import Event, Hooks, Moment, Step
from tenancy.provision.profiles import Profile

__all__ = [
    "Actor",
    "Administrator",
    "Domain",
    "Event",
    "Hooks",
    "Moment",
    "Profile",
    "Step",
    "administrator",
]
