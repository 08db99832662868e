"""The operator's HTTP API: an application of its own. ``README.md`` beside this file is its guide.

``python -m tenancy admin``, or ``hypercorn "tenancy.admin:create_admin_app()"``.
"""

from tenancy.admin.app import create_admin_app

__all__ = ["create_admin_app"]
