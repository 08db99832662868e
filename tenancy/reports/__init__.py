"""Read-only views over the tables of all tenants, for the operator's reports.

A view depends on its tables, so that the migrator and the purge take it away from them before they
change or drop one.
"""
