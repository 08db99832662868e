"""What a file should not say, found by reading it: rules for tenants, and squawk's."""
