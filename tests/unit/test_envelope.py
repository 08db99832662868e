"""A job's envelope: only what we sealed opens, and it opens to the tenant it was sealed for."""

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from tenancy import Settings, errors
from tenancy.envelope import seal, unseal
from tenancy.errors import InvalidEnvelopeError, MissingEnvelopeError, TenancyError

KEYS = [SecretStr(letter * 32) for letter in "abc"]
keyed = st.lists(st.sampled_from(KEYS), unique=True)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.uuids(), keyed)
def test_an_envelope_survives_a_queue(tenant_id: UUID, keys: list[SecretStr]) -> None:
    through = json.loads(json.dumps(seal(tenant_id, keys)))
    assert unseal(through, keys) == tenant_id
    assert unseal(through, []) == tenant_id  # a worker without keys asks for no signature
    assert unseal(through, [KEYS[0], *keys]) == tenant_id if keys else True  # keys that rotate


@settings(max_examples=50)
@given(json_values)
def test_nothing_else_is_an_envelope(value: Any) -> None:
    with pytest.raises((MissingEnvelopeError, InvalidEnvelopeError)):
        unseal(value, [])


@given(st.uuids(), st.sampled_from(["version", "tenant", "signature"]), json_values)
def test_a_signed_envelope_cannot_be_changed(tenant_id: UUID, member: str, value: Any) -> None:
    envelope: Any = seal(tenant_id, KEYS[:1])
    if value == envelope[member] and not isinstance(value, bool):
        return
    with pytest.raises(InvalidEnvelopeError):
        unseal({**envelope, member: value}, KEYS[:1])


@given(st.uuids(), st.uuids())
def test_a_signature_is_of_one_tenant_and_one_key(one: UUID, other: UUID) -> None:
    signature = seal(one, KEYS[:1])["signature"]
    for forged, keys in [
        ({**seal(other, []), "signature": signature}, KEYS[:1]),
        (seal(one, KEYS[:1]), KEYS[1:]),
        (seal(one, []), KEYS),
    ]:
        if forged["tenant"] != str(one) or keys != KEYS[:1]:
            with pytest.raises(InvalidEnvelopeError, match="TENANCY_ENVELOPE_KEYS"):
                unseal(forged, keys)


@pytest.mark.parametrize(
    "text", ["ACME", "{%s}", "urn:uuid:%s", " %s", "%s\n", "", "12345678123456781234567812345678"]
)
def test_an_id_has_one_form(text: str) -> None:
    tenant_id = "12345678-1234-5678-1234-567812345678"
    value = text % tenant_id if "%s" in text else text
    with pytest.raises(InvalidEnvelopeError, match="no tenant's id"):
        unseal({"version": 1, "tenant": value}, [])


def test_no_message_holds_a_key_or_what_was_given() -> None:
    with pytest.raises(InvalidEnvelopeError) as caught:
        unseal({"version": 1, "tenant": "hunter2"}, KEYS)
    assert "hunter2" not in str(caught.value)
    chosen = Settings.model_validate({"envelope_keys": "x" * 32 + ", " + "y" * 40})
    assert [len(key.get_secret_value()) for key in chosen.envelope_keys] == [32, 40]
    assert "xxx" not in repr(chosen)
    with pytest.raises(ValidationError, match="openssl") as refused:
        Settings.model_validate({"envelope_keys": "short-secret"})
    assert "short-secret" not in str(refused.value)


def test_a_job_may_run_again_after_what_saved_nothing_and_may_go_well_later() -> None:
    kinds: list[Any] = [
        k for k in vars(errors).values() if isinstance(k, type) and k is not TenancyError
    ]
    assert {kind.code for kind in kinds if kind("").retryable} >= {
        "database_unavailable", "not_started", "pool_exhausted", "shutting_down",
        "tenant_not_ready", "tenant_suspended",
    }  # fmt: skip
    assert not {kind.code for kind in kinds if kind("").retryable} & {
        "commit_unknown", "conflict", "invalid_envelope", "missing_envelope", "scope_broken",
        "tenant_mismatch", "transaction_failed", "unknown_tenant", "block_ended",
    }  # fmt: skip
