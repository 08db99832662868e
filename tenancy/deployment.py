"""Which deployment a command is for."""

import click
from quart.cli import NoAppException, ScriptInfo

from tenancy import settings as settings_module
from tenancy.settings import Settings


def settings() -> Settings:
    """Return the settings of the Quart application that a command belongs to, else of the process.

    Under ``quart --app NAME tenancy`` the application says them, where it holds a `Tenancy`.

    Raises:
        SettingsError: as `settings.load`.
        click.UsageError: ``--app`` names no application.
    """
    context = click.get_current_context(silent=True)
    script = context.find_object(ScriptInfo) if context is not None else None
    if script is not None:
        try:
            application = script.load_app()
        except NoAppException:
            if script.app_import_path:
                raise
        else:
            given = getattr(application.extensions.get("tenancy"), "settings", None)
            if isinstance(given, Settings):
                return given
    return settings_module.load()
