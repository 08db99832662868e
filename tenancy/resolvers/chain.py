"""Several resolvers, in order."""

from tenancy.errors import NoTenantNamedError
from tenancy.resolvers.keys import Found, Resolver, Scope, found


def chain(*resolvers: Resolver) -> Resolver:
    """Ask each of *resolvers*; the first that says something names the tenant, none may disagree.

    All are asked. Whether they agree is known when the registry has been: a slug, a domain and an
    id may be of one tenant. Two tenants are refused (400, ``conflicting_tenants``). A resolver that
    refuses refuses for all. Where none says anything, the answer is that of the first that has one.
    The principal is that of the first that knows one.
    """
    if not resolvers:
        raise ValueError("name at least one resolver")

    def resolve(scope: Scope) -> Found | None:
        silence: NoTenantNamedError | None = None
        said: list[Found] = []
        for resolver in resolvers:
            try:
                said.append(found(resolver(scope)))
            except NoTenantNamedError as error:
                silence = silence or error
        keys = tuple(dict.fromkeys(key for each in said for key in each.keys))
        if not keys and silence is not None:
            raise silence
        return Found(
            keys,
            prefix=next((each.prefix for each in said if each.prefix), ""),
            principal=next((each.principal for each in said if each.principal is not None), None),
        )

    return resolve
