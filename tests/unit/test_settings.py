"""Settings: what is misspelt or wrong stops the start, and nothing secret is ever shown."""

import re
import tomllib
from pathlib import Path

import pytest
from hypercorn.config import Config

from tenancy import settings
from tenancy.errors import SettingsError
from tenancy.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_misspelt_name_stops_the_start_and_names_the_right_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TENANCY_POOL_MAXSIZE", "3")
    with pytest.raises(SettingsError, match="TENANCY_POOL_MAX_SIZE"):
        settings.load()


def test_a_misspelt_name_in_the_env_file_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TENANCY_DATABSE_URL=postgresql://a:hunter2@b/c\n")
    with pytest.raises(SettingsError, match="TENANCY_DATABASE_URL") as caught:
        settings.load()
    assert "hunter2" not in str(caught.value)


def test_a_name_like_none_of_ours_gets_no_guess_and_its_place(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TENANCY_FOO=1\n")
    with pytest.raises(SettingsError, match=r"of \.env, .*`python -m tenancy settings`"):
        settings.load()


def test_a_small_pool_needs_one_setting_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANCY_POOL_MAX_SIZE", "1")
    assert (settings.load().pool_min_size, settings.load().pool_max_size) == (1, 1)


def test_the_env_file_is_read_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("TENANCY_POOL_MAX_SIZE=7\nTENANCY_POOL_MIN_SIZE=1\nOTHER=x\n")
    monkeypatch.setenv("TENANCY_POOL_MIN_SIZE", "3")
    assert (settings.load().pool_max_size, settings.load().pool_min_size) == (7, 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://someone:hunter2@host/db"),
        ("DATABASE_URL", "postgresql://someone:hunter2/x@host/db"),
        ("ADMIN_DATABASE_URL", "postgresql://someone:hunter2@host/db"),
        ("POOL_MAX_SIZE", "hunter2"),
        ("POOL_MIN_SIZE", "11"),
        ("POOL_ACQUIRE_TIMEOUT_SECONDS", "0"),
        ("POOL_ACQUIRE_TIMEOUT_SECONDS", "nan"),
        ("ISOLATION", "hunter2"),
        ("SHARED_SCHEMA", "Shared"),
        ("SHARED_SCHEMA", "tenancy"),
        ("SHARED_SCHEMA", "pg_temp"),
        ("BASE_DOMAINS", "https://example.com"),
        ("BASE_DOMAINS", "example.com:8000"),
        ("BASE_DOMAINS", ","),
    ],
)
def test_a_wrong_value_names_its_variable_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"TENANCY_{name}", value)
    with pytest.raises(SettingsError, match=f"TENANCY_{name}") as caught:
        settings.load()
    assert "hunter2" not in f"{caught.value!r} {caught.value}"
    assert "\n" not in str(caught.value)


def test_a_secret_is_shown_by_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANCY_DATABASE_URL", "postgresql://someone:hunter2@host/db")
    loaded = settings.load()
    assert "hunter2" not in f"{loaded} {loaded!r} {loaded.model_dump_json()}"
    assert loaded.admin_dsn == loaded.dsn == "postgresql://someone:hunter2@host/db"


def test_base_domains_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANCY_BASE_DOMAINS", "Example.com., eu.example.com")
    assert settings.load().base_domains == ("example.com", "eu.example.com")


def test_without_a_database_the_error_says_what_to_set() -> None:
    with pytest.raises(SettingsError, match="TENANCY_DATABASE_URL"):
        _ = settings.load().dsn


def test_the_example_file_lists_every_setting_as_the_code_has_it() -> None:
    assert (ROOT / "config" / "tenancy.env.example").read_text() == settings.example()


def test_the_example_file_can_be_used_as_it_is(tmp_path: Path) -> None:
    text = (ROOT / "config" / "tenancy.env.example").read_text()
    (tmp_path / ".env").write_text(re.sub(r"^#(?=TENANCY_\w+=.)", "", text, flags=re.MULTILINE))
    assert settings.load() == Settings(_env_file=None)  # type: ignore[call-arg]


def test_every_key_of_the_hypercorn_file_exists() -> None:
    keys = tomllib.loads((ROOT / "config" / "hypercorn.toml").read_text())
    for key, value in keys.items():
        assert hasattr(Config, key), key
        assert type(value) in (bool, int, float, str, list)
    Config.from_mapping(keys)
    assert "read_timeout" not in keys  # it makes idle connections deaf
