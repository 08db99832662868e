"""Connections that forget, handed out inside a transaction."""
