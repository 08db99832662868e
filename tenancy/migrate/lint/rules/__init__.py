"""The rules for tenants: one module for each thing that they are about."""
