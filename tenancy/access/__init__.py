"""Break-glass access: an operator inside one tenant's scope, by hand, and on record.

The session is scoped as a request's is: the tenant's path, the tenant's role, and no writing unless
told. That keeps an operator's slip inside; it is no wall against an operator, who knows the
addresses and can connect as he likes.
"""
