"""Alembic and django-tenants, each with the same history in its own words."""

import asyncio
import os
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
from support import histories
from support.databases import Database

Way = Callable[[Database], Awaitable[None]]

PACKAGES = ("alembic", "sqlalchemy", "psycopg2-binary", "django", "django-tenants")

_ENV = """
    import os

    from alembic import context
    from sqlalchemy import create_engine, text

    schema = context.get_x_argument(as_dictionary=True)["tenant"]
    engine = create_engine(os.environ["ALEMBIC_URL"])
    with engine.connect() as connection:
        connection.execute(text(f'set search_path to "{schema}"'))
        connection.commit()
        connection.dialect.default_schema_name = schema
        context.configure(connection=connection, target_metadata=None,
                          transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
"""
_LOOP = """
    import sys

    from alembic import command
    from alembic.config import Config

    for schema in sys.argv[1:]:
        config = Config("alembic.ini")
        config.cmd_opts = type("Options", (), {"x": [f"tenant={schema}"]})()
        command.upgrade(config, "head")
"""
_DJANGO_SETTINGS = """
    import os

    SECRET_KEY = "benchmark"
    USE_TZ = True
    DATABASES = {"default": {"ENGINE": "django_tenants.postgresql_backend",
                             "NAME": os.environ["PGDATABASE"], "USER": os.environ["PGUSER"],
                             "PASSWORD": os.environ.get("PGPASSWORD", ""),
                             "HOST": os.environ["PGHOST"], "PORT": os.environ["PGPORT"]}}
    DATABASE_ROUTERS = ("django_tenants.routers.TenantSyncRouter",)
    SHARED_APPS = ["django_tenants", "django.contrib.contenttypes", "customers"]
    TENANT_APPS = ["things"]
    INSTALLED_APPS = SHARED_APPS + TENANT_APPS
    TENANT_MODEL = "customers.Client"
    TENANT_DOMAIN_MODEL = "customers.Domain"
    DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
    TENANT_MULTIPROCESSING_MAX_PROCESSES = {parallel}
    TENANT_MULTIPROCESSING_CHUNKS = {chunk}
    LOGGING_CONFIG = None
"""
_CUSTOMERS = """
    from django.db import models
    from django_tenants.models import DomainMixin, TenantMixin


    class Client(TenantMixin):
        name = models.CharField(max_length=100)
        auto_create_schema = False


    class Domain(DomainMixin):
        pass
"""
_MANAGE = """
    import os
    import sys

    os.environ["DJANGO_SETTINGS_MODULE"] = "config"
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
"""


class Rivals:
    """Their projects in *folder*, for so many files, workers and tenants."""

    def __init__(
        self, folder: Path, files: int, parallel: int, tenants: int, *, references: bool
    ) -> None:
        self.folder = folder
        self.references = references
        self.files = files
        self.parallel = parallel
        self.schemas = [f"t_tenant_{number}" for number in range(1, tenants + 1)]
        self.python = str(folder / "venv" / "bin" / "python")

    async def install(self) -> None:
        """Make the environment and the projects; some seconds, and the package index."""
        self.folder.mkdir()
        await _run(sys.executable, "-m", "venv", str(self.folder / "venv"), env={**os.environ})
        await _run(
            *(self.python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES),
            env={**os.environ},
        )
        freeze = await _run(self.python, "-m", "pip", "freeze", env={**os.environ})
        wanted = tuple(f"{name}==" for name in PACKAGES)
        print(*(line for line in freeze.splitlines() if line.lower().startswith(wanted)), sep=", ")
        self._write_alembic()
        self._write_django()

    def ways(self) -> dict[str, Way]:
        return {
            "alembic": self._alembic,
            "alembic loop": self._alembic_loop,
            "django": self._django,
        }

    async def _alembic(self, database: Database) -> None:
        env = {**os.environ, "ALEMBIC_URL": _libpq(database.admin_url)}
        for schema in self.schemas:
            command = (self.python, "-m", "alembic", "-x", f"tenant={schema}", "upgrade", "head")
            await _run(*command, env=env, cwd=self.folder / "alembic")

    async def _alembic_loop(self, database: Database) -> None:
        env = {**os.environ, "ALEMBIC_URL": _libpq(database.admin_url)}
        await _run(self.python, "loop.py", *self.schemas, env=env, cwd=self.folder / "alembic")

    async def _django(self, database: Database) -> None:
        env = {**os.environ, **_variables(database.admin_url)}
        await _run(
            *(self.python, "manage.py", "migrate_schemas", "--tenant"),
            *("--executor=multiprocessing", "-v", "0"),
            env=env,
            cwd=self.folder / "django",
        )

    async def prepare(self, database: Database) -> None:
        """Make in *database*, the one that is copied, what django-tenants knows its tenants by."""
        env = {**os.environ, **_variables(database.admin_url)}
        command = ("migrate_schemas", "--shared", "-v", "0")
        await _run(self.python, "manage.py", *command, env=env, cwd=self.folder / "django")
        conn = await asyncpg.connect(database.admin_url)
        await conn.execute(
            "INSERT INTO public.customers_client (schema_name, name) "
            "SELECT schema_name, slug FROM tenancy.tenants"
        )
        await conn.close()

    def _write_alembic(self) -> None:
        root = self.folder / "alembic"
        (root / "migrations" / "versions").mkdir(parents=True)
        (root / "alembic.ini").write_text("[alembic]\nscript_location = migrations\n")
        _write(root / "migrations" / "env.py", _ENV)
        _write(root / "loop.py", _LOOP)
        for number in range(1, self.files + 1):
            before = repr(f"{number - 1:04}") if number > 1 else None
            head = f"from alembic import op\nimport sqlalchemy as sa\n\nrevision = '{number:04}'\n"
            body = textwrap.indent(_alembic(number, references=self.references), "    ")
            (root / "migrations" / "versions" / f"{number:04}_things.py").write_text(
                f"{head}down_revision = {before}\n\n\ndef upgrade():\n{body}"
            )

    def _write_django(self) -> None:
        root = self.folder / "django"
        for app in ("customers", "things"):
            (root / app / "migrations").mkdir(parents=True)
            for init in (root / app, root / app / "migrations"):
                (init / "__init__.py").touch()
        chunk = max(2, len(self.schemas) // self.parallel // 4)
        settings = _DJANGO_SETTINGS.replace("{parallel}", str(self.parallel))
        _write(root / "config.py", settings.replace("{chunk}", str(chunk)))
        _write(root / "manage.py", _MANAGE)
        _write(root / "customers" / "models.py", _CUSTOMERS)
        (root / "customers" / "migrations" / "0001_initial.py").write_text(_customers())
        for number in range(1, self.files + 1):
            before = f"[('things', '{number - 1:04}_things')]" if number > 1 else "[]"
            (root / "things" / "migrations" / f"{number:04}_things.py").write_text(
                "from django.db import migrations, models\n\n\n"
                "class Migration(migrations.Migration):\n"
                f"    dependencies = {before}\n    operations = [\n"
                f"{textwrap.indent(_django(number, references=self.references), '        ')}    ]\n"
            )


def _alembic(number: int, *, references: bool) -> str:
    name = f"things_{histories.table(number)}"
    parent = ",\n    sa.Column('parent_id', sa.BigInteger, sa.ForeignKey('things_1.id'))"
    if number % 3 == 1:
        return (
            f"op.create_table('{name}',\n"
            "    sa.Column('id', sa.BigInteger, sa.Identity(), primary_key=True),\n"
            "    sa.Column('name', sa.String(200), nullable=False),\n"
            "    sa.Column('amount', sa.Numeric(12, 2), nullable=False),\n"
            "    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False)"
            f"{parent if references and number > 1 else ''})\n"
            f"op.create_index('{name}_name', '{name}', ['name'])\n"
        )
    if number % 3 == 2:
        return (
            f"op.add_column('{name}', sa.Column('note', sa.String(200)))\n"
            f"op.create_index('{name}_created_at', '{name}', ['created_at'])\n"
        )
    return "".join(f'op.execute("{statement}")\n' for statement in _statements(number))


def _django(number: int, *, references: bool) -> str:
    name = f"things_{histories.table(number)}"
    parent = (
        ",\n    ('parent', models.ForeignKey('Thing1', models.CASCADE, null=True, db_index=False))"
    )
    if number % 3 == 1:
        return (
            f"migrations.CreateModel('Thing{number}', fields=[\n"
            "    ('id', models.BigAutoField(primary_key=True)),\n"
            "    ('name', models.CharField(max_length=200)),\n"
            "    ('amount', models.DecimalField(max_digits=12, decimal_places=2)),\n"
            "    ('created_at', models.DateTimeField())"
            f"{parent if references and number > 1 else ''}], options={{'db_table': '{name}'}}),\n"
            f"migrations.AddIndex('Thing{number}', models.Index(fields=['name'], "
            f"name='{name}_name')),\n"
        )
    if number % 3 == 2:
        model = f"Thing{histories.table(number)}"
        return (
            f"migrations.AddField('{model}', 'note', "
            "models.CharField(max_length=200, null=True)),\n"
            f"migrations.AddIndex('{model}', models.Index(fields=['created_at'], "
            f"name='{name}_created_at')),\n"
        )
    return "".join(f'migrations.RunSQL("{text}"),\n' for text in _statements(number))


def _statements(number: int) -> list[str]:
    return [text.strip() for text in histories.sql(number).split(";") if text.strip()]


def _customers() -> str:
    return textwrap.dedent("""
        import django.db.models.deletion
        from django.db import migrations, models


        class Migration(migrations.Migration):
            initial = True
            dependencies = []
            operations = [
                migrations.CreateModel("Client", fields=[
                    ("id", models.BigAutoField(primary_key=True)),
                    ("schema_name", models.CharField(max_length=63, unique=True, db_index=True)),
                    ("name", models.CharField(max_length=100))]),
                migrations.CreateModel("Domain", fields=[
                    ("id", models.BigAutoField(primary_key=True)),
                    ("domain", models.CharField(max_length=253, unique=True, db_index=True)),
                    ("is_primary", models.BooleanField(default=True, db_index=True)),
                    ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE,
                     related_name="domains", to="customers.client"))]),
            ]
    """)


def _variables(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    host = parse_qs(parts.query).get("host", [parts.hostname or "127.0.0.1"])[0]
    return {
        "PGHOST": host,
        "PGPORT": parse_qs(parts.query).get("port", [str(parts.port or 5432)])[0],
        "PGUSER": parts.username or "",
        "PGPASSWORD": parts.password or "",
        "PGDATABASE": parts.path.lstrip("/"),
    }


def _libpq(url: str) -> str:
    at = _variables(url)
    login = f"{at['PGUSER']}:{at['PGPASSWORD']}"
    return (
        f"postgresql+psycopg2://{login}@/{at['PGDATABASE']}?host={at['PGHOST']}&port={at['PGPORT']}"
    )


def _write(path: Path, text: str) -> None:
    path.write_text(textwrap.dedent(text).lstrip())


async def _run(*command: str, env: dict[str, str], cwd: Path | None = None) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        env=env,
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise SystemExit(f"{command[:4]} ended with {process.returncode}:\n{out.decode()[-3000:]}")
    return out.decode()
