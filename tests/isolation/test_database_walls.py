"""What PUBLIC may call in a database behind the walls: each function reviewed."""

import asyncpg
import pytest
from support.databases import Database, raise_walls, superuser

from tenancy import Isolation, walls

# Volatile functions that PUBLIC may call: what each does to a session or to others was looked up.
HARMLESS = {
    "answers, and no more": """
        amvalidate array_sample array_shuffle clock_timestamp current_query gen_random_uuid random
        random_normal timeofday uuidv4 uuidv7 pg_jit_available pg_is_in_recovery
    """,
    "rights are checked inside: the table, sequence or index has an owner": """
        currtid2 currval lastval nextval setval pg_sequence_last_value pg_get_sequence_data
        brin_desummarize_range brin_summarize_new_values brin_summarize_range
        gin_clean_pending_list pg_clear_attribute_stats pg_clear_relation_stats
        pg_restore_attribute_stats pg_restore_relation_stats
    """,
    "for superusers or replication alone: checked inside": """
        pg_copy_logical_replication_slot pg_copy_physical_replication_slot
        pg_create_logical_replication_slot pg_create_physical_replication_slot
        pg_drop_replication_slot pg_logical_slot_get_binary_changes pg_logical_slot_get_changes
        pg_logical_slot_peek_binary_changes pg_logical_slot_peek_changes
        pg_replication_slot_advance pg_sync_replication_slots pg_nextoid pg_read_file_old
        pg_rotate_logfile_old pg_stop_making_pinned_objects pg_import_system_collations
        pg_extension_config_dump plpgsql_call_handler plpgsql_validator
    """,
    "only while pg_upgrade runs: checked inside": """
        binary_upgrade_add_sub_rel_state binary_upgrade_create_empty_extension
        binary_upgrade_create_conflict_detection_slot
        binary_upgrade_logical_slot_has_caught_up binary_upgrade_replorigin_advance
        binary_upgrade_set_missing_value binary_upgrade_set_next_array_pg_type_oid
        binary_upgrade_set_next_heap_pg_class_oid binary_upgrade_set_next_heap_relfilenode
        binary_upgrade_set_next_index_pg_class_oid binary_upgrade_set_next_index_relfilenode
        binary_upgrade_set_next_multirange_array_pg_type_oid
        binary_upgrade_set_next_multirange_pg_type_oid binary_upgrade_set_next_pg_authid_oid
        binary_upgrade_set_next_pg_enum_oid binary_upgrade_set_next_pg_tablespace_oid
        binary_upgrade_set_next_pg_type_oid binary_upgrade_set_next_toast_pg_class_oid
        binary_upgrade_set_next_toast_relfilenode binary_upgrade_set_record_init_privs
    """,
    "the gate calls them as the tenant; the seed is replaced at a request's end": """
        pg_advisory_unlock pg_advisory_unlock_all pg_advisory_unlock_shared setseed
    """,
    "figures of the server, of its log and of other schemas: not promised": """
        pg_available_wal_summaries pg_blocking_pids pg_collation_actual_version
        pg_control_checkpoint pg_control_init pg_control_recovery pg_control_system
        pg_current_wal_flush_lsn pg_current_wal_insert_lsn pg_current_wal_lsn
        pg_database_collation_actual_version pg_database_size pg_get_loaded_modules
        pg_get_multixact_members pg_get_wait_events pg_get_wal_replay_pause_state
        pg_get_wal_resource_managers pg_get_wal_summarizer_state pg_indexes_size
        pg_is_wal_replay_paused pg_isolation_test_session_is_blocked pg_last_committed_xact
        pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp
        pg_lock_status pg_notification_queue_usage pg_partition_ancestors pg_partition_tree
        pg_prepared_xact pg_relation_size pg_safe_snapshot_blocking_pids pg_table_size
        pg_tablespace_size pg_total_relation_size pg_wal_summary_contents pg_xact_commit_timestamp
        pg_xact_commit_timestamp_origin pg_xact_status txid_status
    """,
    "counters: of this session, or of all without a name": """
        pg_stat_clear_snapshot pg_stat_force_next_flush pg_stat_get_backend_io
        pg_stat_get_backend_wal pg_stat_get_io pg_stat_get_recovery_prefetch
        pg_stat_get_xact_blocks_fetched pg_stat_get_xact_blocks_hit
        pg_stat_get_xact_function_calls pg_stat_get_xact_function_self_time
        pg_stat_get_xact_function_total_time pg_stat_get_xact_numscans
        pg_stat_get_xact_tuples_deleted pg_stat_get_xact_tuples_fetched
        pg_stat_get_xact_tuples_hot_updated pg_stat_get_xact_tuples_inserted
        pg_stat_get_xact_tuples_newpage_updated pg_stat_get_xact_tuples_returned
        pg_stat_get_xact_tuples_updated
    """,
}
REVIEWED = {name for names in HARMLESS.values() for name in names.split()}

_CALLABLE = """
    SELECT DISTINCT proname FROM pg_proc
     WHERE provolatile = 'v' AND pronamespace = 'pg_catalog'::regnamespace
       AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
       AND NOT 'internal'::regtype = ANY (proargtypes)
       AND EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner)))
                    WHERE grantee = 0)
"""


@pytest.fixture
async def walled(database: Database) -> Database:
    async with superuser(database.superuser_url) as conn:
        await conn.execute(
            f"GRANT TEMPORARY, CREATE ON DATABASE {database.name} TO PUBLIC; "
            "GRANT CREATE ON SCHEMA public TO PUBLIC"
        )
    await raise_walls(database)
    return database


async def test_every_volatile_function_left_to_public_was_reviewed(walled: Database) -> None:
    """A newer server has newer ones: look each up, then name it here or in `walls.FUNCTIONS`."""
    async with superuser(walled.superuser_url) as conn:
        left = {row["proname"] for row in await conn.fetch(_CALLABLE)}
    assert left - REVIEWED == set()


async def test_behind_the_walls_nothing_is_missing(walled: Database) -> None:
    strict = walled.settings(isolation=Isolation.STRICT)
    async with superuser(walled.app_url) as conn:
        assert await walls.missing(conn, strict) == ()


@pytest.mark.parametrize(
    ("grant", "told"),
    [
        (
            "EXECUTE ON FUNCTION set_config TO PUBLIC",
            "EXECUTE ON ROUTINE set_config(text,text,boolean)",
        ),
        ("USAGE ON LANGUAGE plpgsql TO PUBLIC", "USAGE ON LANGUAGE plpgsql"),
        ("TEMPORARY ON DATABASE {database} TO PUBLIC", "TEMPORARY ON DATABASE {database}"),
        ("CREATE ON SCHEMA public TO PUBLIC", "CREATE ON SCHEMA public"),
        ("UPDATE ON pg_settings TO PUBLIC", "UPDATE ON TABLE pg_settings"),
    ],
)
async def test_each_kind_of_hole_is_told(walled: Database, grant: str, told: str) -> None:
    strict = walled.settings(isolation=Isolation.STRICT)
    async with superuser(walled.superuser_url) as conn:
        await conn.execute(f"GRANT {grant.format(database=walled.name)}")
    async with superuser(walled.app_url) as conn:
        assert await walls.missing(conn, strict) == (told.format(database=walled.name),)
        assert await walls.missing(conn, walled.settings()) == ()


async def test_the_owner_gains_nothing_that_public_never_had(walled: Database) -> None:
    async with superuser(walled.admin_url) as conn:
        assert await conn.fetchval("SELECT set_config('work_mem', '1MB', true)") == "1MB"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.fetchval("SELECT lo_import('/etc/passwd')")


async def test_extensions_that_run_a_text_are_walled_too(walled: Database) -> None:
    strict = walled.settings(isolation=Isolation.STRICT)
    async with superuser(walled.superuser_url) as conn:
        if not await conn.fetchval(
            "SELECT count(*) = 2 FROM pg_available_extensions WHERE name IN ('dblink', 'tablefunc')"
        ):
            pytest.skip("this server comes without contrib")
        await conn.execute("CREATE EXTENSION dblink SCHEMA shared; CREATE EXTENSION tablefunc")
        said = " ".join(await walls.missing(conn, strict))
        assert "EXECUTE ON ROUTINE shared.dblink(text)" in said
        assert "crosstab(text)" in said
        assert "normal_rand" not in said
        assert "dblink_connect_u" not in said
        await raise_walls(walled)
        assert await walls.missing(conn, strict) == ()
