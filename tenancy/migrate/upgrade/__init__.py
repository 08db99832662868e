"""One schema's way to the target: session, lock, statements, checkpoint."""
