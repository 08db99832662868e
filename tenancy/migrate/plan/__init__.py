"""Where a schema stands, and what that means for it."""
