"""Python files: what they may not do to the migrator's event loop and connection; by ast."""

import ast
from collections.abc import Iterator

from tenancy.migrate.lint.finding import EVERYWHERE, Level, Rule

_LOOPS = {"asyncio.run", "asyncio.new_event_loop", "asyncio.get_event_loop", "uvloop.run"}
_LOOP_METHODS = {"run_until_complete", "run_forever"}
_CONNECTIONS = {
    *("asyncpg.connect", "asyncpg.create_pool", "psycopg.connect", "psycopg2.connect"),
    *("psycopg.AsyncConnection.connect", "sqlalchemy.create_engine"),
    "sqlalchemy.ext.asyncio.create_async_engine",
}
_BLOCKING = {
    *("time.sleep", "subprocess.run", "subprocess.check_call", "subprocess.check_output"),
    *("os.system", "urllib.request.urlopen", "requests.get", "requests.post", "requests.request"),
}
_QUERIES = {"execute", "executemany", "fetch", "fetchrow", "fetchval", "cursor", "prepare"}

RULES = (
    Rule(
        "python-event-loop",
        Level.ERROR,
        "the migrator's event loop is running already: a second one raises, or stops the first",
        "await it",
        stages=EVERYWHERE,
    ),
    Rule(
        "python-connection",
        Level.ERROR,
        "a connection of its own is in no tenant's schema and in no transaction of the migrator's",
        "context.conn",
        stages=EVERYWHERE,
    ),
    Rule(
        "python-blocking",
        Level.WARNING,
        "while it waits, every other tenant's migration waits too: they share one event loop",
        "asyncio.sleep, or asyncio.to_thread around the call",
        stages=EVERYWHERE,
    ),
    Rule(
        "python-context",
        Level.WARNING,
        "does nothing to the tenant that it is called for: it never uses its context",
        "context.conn, or take the file out",
        stages=EVERYWHERE,
    ),
    Rule(
        "python-batches",
        Level.ERROR,
        "each batch is a transaction of its own, and this file is one transaction as a whole",
        "# migrate:up transaction:false on top",
        stages=EVERYWHERE,
    ),
)

Hit = tuple[str, ast.expr | ast.AsyncFunctionDef]


def hits(tree: ast.Module, *, transactional: bool) -> Iterator[Hit]:
    """Yield the rule's name and the place of each thing in *tree* that a rule speaks of."""
    names = _imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _called(node, names, transactional=transactional)
    for function in tree.body:
        step = isinstance(function, ast.AsyncFunctionDef) and function.name in {"up", "down"}
        if isinstance(function, ast.AsyncFunctionDef) and step and not _uses_context(function):
            yield "python-context", function


def queries(tree: ast.Module) -> Iterator[ast.Constant]:
    """Yield the strings that are sent to the server as they stand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            text = node.args[0]
            if node.func.attr in _QUERIES and isinstance(text, ast.Constant):
                yield text


def _called(node: ast.Call, names: dict[str, str], *, transactional: bool) -> Iterator[Hit]:
    called = _dotted(node.func, names)
    last = called.rpartition(".")[2]
    if called in _LOOPS or last in _LOOP_METHODS:
        yield "python-event-loop", node
    if called in _CONNECTIONS:
        yield "python-connection", node
    if called in _BLOCKING:
        yield "python-blocking", node
    if transactional and last == "batches" and "." in called:
        yield "python-batches", node


def _imported(tree: ast.Module) -> dict[str, str]:
    """Return what each name that is imported stands for."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update({a.asname: a.name for a in node.names if a.asname})
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})
    return found


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def _uses_context(function: ast.AsyncFunctionDef) -> bool:
    arguments = [*function.args.posonlyargs, *function.args.args]
    used = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    return bool(arguments) and arguments[0].arg in used
