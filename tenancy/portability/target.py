"""The settings of the database that a tenant comes to."""

from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values
from pydantic import ValidationError

from tenancy.errors import SettingsError
from tenancy.settings import PREFIX, Settings, variable

# Of this deployment alone, whatever the other one says of itself.
_OWN = ("database_url", "admin_database_url", "registry_listen_database_url", "pooler")


def read(settings: Settings, path: Path) -> Settings:
    """Return *settings* as the file of the other deployment, in the form of ``.env``, changes them.

    Raises:
        SettingsError: it cannot be read, names no database, or a value is not acceptable.
    """
    try:
        found = dotenv_values(path)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {type(error).__name__}") from error
    values = {
        name.upper().removeprefix(PREFIX).lower(): value
        for name, value in found.items()
        if name.upper().startswith(PREFIX) and value
    }
    return other(settings, values, str(path))


def other(settings: Settings, values: Mapping[str, str], where: str) -> Settings:
    """Return *settings* with *values* instead; an address that these do not give is not there.

    Args:
        settings: of this deployment.
        values: by the settings' names.
        where: what an error calls their place.

    Raises:
        SettingsError: they name no database, a name is no setting, or a value is not acceptable.
    """
    unknown = [variable(name) for name in values if name not in Settings.model_fields]
    if unknown:
        raise SettingsError(f"{', '.join(unknown)}, of {where}, is no setting of tenancy")
    if "database_url" not in values:
        raise SettingsError(
            f"{where} does not say where the tenant is to come to: no "
            f"{variable('database_url')} is in it"
        )
    ours = {name: getattr(settings, name) for name in settings.model_fields_set if name not in _OWN}
    defaults = {name: Settings.model_fields[name].default for name in _OWN}
    try:
        return Settings(**{**defaults, **ours, **values})
    except ValidationError as error:
        names = [variable(str(one["loc"][0])) for one in error.errors() if one["loc"]]
        raise SettingsError(
            f"unusable settings in {where}: {', '.join(names) or 'they do not go together'}"
        ) from None
