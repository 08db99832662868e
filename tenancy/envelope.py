"""What a job carries of the tenant it is for: the tenant's id, sealed where a key is set. Pure."""

import hmac
from collections.abc import Mapping, Sequence
from uuid import UUID

from pydantic import SecretStr

from tenancy.errors import InvalidEnvelopeError, MissingEnvelopeError

VERSION = 1


# A job's tenant, as JSON; only `Tenancy.envelope` makes it. Members: ``version``, of this form;
# ``tenant``, its id, which never changes, unlike slug and state; ``signature`` of both, where
# ``TENANCY_ENVELOPE_KEYS`` is set. A plain type, so that any queue can read and write it.
Envelope = dict[str, int | str]


def seal(tenant_id: UUID, keys: Sequence[SecretStr]) -> Envelope:
    """Return the envelope of a tenant's jobs, signed by the first of *keys* if there is one."""
    envelope: Envelope = {"version": VERSION, "tenant": str(tenant_id)}
    if keys:
        envelope["signature"] = _signature(tenant_id, keys[0])
    return envelope


def unseal(envelope: object, keys: Sequence[SecretStr]) -> UUID:
    """Return the id of the tenant that *envelope* is for; any of *keys* may have signed it.

    Raises:
        MissingEnvelopeError: it is None.
        InvalidEnvelopeError: `seal` has not made it with one of these keys.
    """
    if envelope is None:
        raise MissingEnvelopeError(
            "the job came without an envelope, so it has no tenant: enqueue it with "
            "envelope=tenancy.envelope()"
        )
    if not isinstance(envelope, Mapping):
        raise InvalidEnvelopeError(
            f"an envelope is a JSON object, and this is of type {type(envelope).__name__}: pass "
            "on what tenancy.envelope() returned"
        )
    if envelope.get("version") != VERSION or isinstance(envelope["version"], bool):
        raise InvalidEnvelopeError(
            f"the envelope is not of version {VERSION}: upgrade the workers before what enqueues"
        )
    tenant_id = _id(envelope.get("tenant"))
    if keys:
        signature = envelope.get("signature")
        if not isinstance(signature, str) or not _is_signed(tenant_id, signature, keys):
            raise InvalidEnvelopeError(
                "the envelope is not signed by a key of TENANCY_ENVELOPE_KEYS: enqueue with the "
                "first key that workers know"
            )
    return tenant_id


def _id(text: object) -> UUID:
    try:
        tenant_id = UUID(text) if isinstance(text, str) else None
    except ValueError:
        tenant_id = None
    if tenant_id is None or str(tenant_id) != text:  # one form only: UUID() takes many
        raise InvalidEnvelopeError("the envelope holds no tenant's id")
    return tenant_id


def _is_signed(tenant_id: UUID, signature: str, keys: Sequence[SecretStr]) -> bool:
    given = signature.encode(errors="replace")
    return any(hmac.compare_digest(_signature(tenant_id, key).encode(), given) for key in keys)


def _signature(tenant_id: UUID, key: SecretStr) -> str:
    text = f"tenancy envelope {VERSION} {tenant_id}"
    return hmac.new(key.get_secret_value().encode(), text.encode(), "sha256").hexdigest()
