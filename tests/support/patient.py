"""Hypercorn's configuration for clients that keep a connection, however slow the machine is."""

keep_alive_timeout = 600
keep_alive_max_requests = 1_000_000
