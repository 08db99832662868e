"""What a process knows of the tenants, and how it hears of their changes."""
