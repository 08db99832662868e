-- What a schema looks like, as rows, and as one digest: so that the schemas of a fleet can be
-- compared without their definitions leaving the server.
--
-- Functions, for their plans: planning takes longer than describing a small schema. A plan is kept
-- as long as the path it was made under comes back, so the path is the same whenever one of them
-- begins, and is set to the schema's own in the course of the query. With the schema in front of
-- pg_catalog all that is in it is visible, and so is printed without its name; what is elsewhere is
-- printed with its schema's. They read catalogs alone, and call nothing of the schema's.
--
-- Objects are found through pg_depend, as DROP SCHEMA finds them: no other catalog has an index
-- that begins with the schema.

-- One object. classid, oid and subid: whose comment; privileges: acldefault()'s name for its kind.
CREATE TYPE tenancy.object AS (
    kind text, name text, parent text, aspects text[], texts text[],
    classid oid, oid oid, subid integer, owner oid, acl aclitem[], privileges "char"
);

-- The same wherever it was printed: PostgreSQL prints IN over varchar in one way, and in another
-- when what it has printed is run. Short, so that it becomes a part of the query.
CREATE FUNCTION tenancy.settled(definition text) RETURNS text LANGUAGE sql IMMUTABLE
RETURN replace(replace(definition, '''::character varying::text', '''::character varying'),
               '''::character varying]::text[]', '''::character varying]');

-- Tables and what hangs on them, views, sequences.
CREATE FUNCTION tenancy.relations(schema oid, path text, tenant name) RETURNS SETOF tenancy.object
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH object AS MATERIALIZED (
        SELECT DISTINCT d.classid, d.objid AS oid
        FROM (SELECT set_config('search_path', path, true)) AS p (path), pg_depend AS d
        WHERE p.path IS NOT NULL
          AND d.refclassid = 'pg_namespace'::regclass AND d.refobjid = schema AND d.refobjsubid = 0
          AND NOT EXISTS (
              SELECT FROM pg_depend AS x
              WHERE x.classid = d.classid AND x.objid = d.objid AND x.deptype = 'e')
    ),
    -- An object of another schema may depend on this one, but only one that is in it is here.
    relation AS MATERIALIZED (
        SELECT c.* FROM object AS o JOIN pg_class AS c ON c.oid = o.oid
        WHERE o.classid = 'pg_class'::regclass AND c.relnamespace = schema
    ),
    described (kind, name, parent, aspects, texts, classid, oid, subid, owner, acl, privileges) AS (
        SELECT CASE c.relkind
                   WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
                   WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table'
                   ELSE 'relation ' || c.relkind::text END,
               c.relname, NULL,
               '{query,persistence,type,access method,tablespace,options,toast options,inherits,
                 partition bound,partition key,row security,replica identity,foreign}',
               ARRAY[
                   CASE WHEN c.relkind IN ('v', 'm')
                        THEN tenancy.settled(pg_get_viewdef(c.oid, true)) END,
                   nullif(c.relpersistence, 'p')::text,
                   CASE WHEN c.reloftype <> 0 THEN format_type(c.reloftype, NULL) END,
                   CASE WHEN c.relam <> 0 THEN (SELECT amname FROM pg_am AS a WHERE a.oid = c.relam)
                   END,
                   CASE WHEN c.reltablespace <> 0 THEN (
                       SELECT spcname FROM pg_tablespace AS s WHERE s.oid = c.reltablespace) END,
                   (SELECT string_agg(x, ', ' ORDER BY x COLLATE "C")
                    FROM unnest(c.reloptions) AS x),
                   CASE WHEN c.reltoastrelid <> 0 THEN (
                       SELECT t.reloptions::text FROM pg_class AS t WHERE t.oid = c.reltoastrelid)
                   END,
                   (SELECT string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno)
                    FROM pg_inherits AS i WHERE i.inhrelid = c.oid),
                   CASE WHEN c.relispartition THEN pg_get_expr(c.relpartbound, c.oid, true) END,
                   CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END,
                   CASE WHEN c.relforcerowsecurity AND c.relrowsecurity THEN 'forced'
                        WHEN c.relforcerowsecurity THEN 'forced, when enabled'
                        WHEN c.relrowsecurity THEN 'enabled' END,
                   nullif(c.relreplident, 'd')::text,
                   CASE WHEN c.relkind = 'f' THEN (
                       SELECT concat_ws(' ', s.srvname, f.ftoptions)
                       FROM pg_foreign_table AS f JOIN pg_foreign_server AS s ON s.oid = f.ftserver
                       WHERE f.ftrelid = c.oid) END],
               'pg_class'::regclass, 0, 0, c.relowner, c.relacl, 'r'::"char"
        FROM relation AS c WHERE c.relkind <> 'S'
        UNION ALL
        SELECT 'sequence', c.relname, o.relname,
               '{type,start,increment,minimum,maximum,cache,cycle,owned by,persistence}',
               ARRAY[format_type(s.seqtypid, NULL), s.seqstart::text, s.seqincrement::text,
                     s.seqmin::text, s.seqmax::text, s.seqcache::text,
                     CASE WHEN s.seqcycle THEN 'yes' END,
                     o.relname || '.' || a.attname,
                     nullif(c.relpersistence, 'p')::text],
               'pg_class'::regclass, 0, 0, c.relowner, c.relacl, 's'::"char"
        FROM relation AS c JOIN pg_sequence AS s ON s.seqrelid = c.oid
        LEFT JOIN pg_depend AS d
          ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
             AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
        LEFT JOIN pg_class AS o ON o.oid = d.refobjid
        LEFT JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE c.relkind = 'S'
        UNION ALL
        SELECT 'column', r.relname || '.' || a.attname, r.relname,
               '{position,type,collation,not null,default,identity,generated,storage,compression,
                 statistics target,options,foreign options,inherited}',
               ARRAY[
                   -- Not the number, which has gaps where columns were dropped.
                   row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum)::text,
                   format_type(a.atttypid, a.atttypmod),
                   CASE WHEN a.attcollation NOT IN (0, t.typcollation)
                        THEN a.attcollation::regcollation::text END,
                   CASE WHEN a.attnotnull THEN 'yes' END,
                   CASE WHEN a.atthasdef THEN (
                       SELECT tenancy.settled(pg_get_expr(d.adbin, d.adrelid, true))
                       FROM pg_attrdef AS d
                       WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum) END,
                   CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' END,
                   CASE a.attgenerated WHEN 's' THEN 'stored' WHEN 'v' THEN 'virtual' END,
                   CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage::text END,
                   nullif(a.attcompression, '')::text,
                   nullif(a.attstattarget, -1)::text,
                   a.attoptions::text, a.attfdwoptions::text,
                   CASE WHEN a.attinhcount > 0
                        THEN CASE WHEN a.attislocal THEN 'and local' ELSE 'yes' END END],
               'pg_class'::regclass, 0, 0, NULL, a.attacl,
               CASE WHEN a.attacl IS NOT NULL THEN 'c'::"char" END
        FROM relation AS r
        JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
        JOIN pg_type AS t ON t.oid = a.atttypid
        WHERE r.relkind <> 'S'
        UNION ALL
        SELECT 'index', x.relname, c.relname,
               '{definition,valid,primary,immediate,clustered,replica identity,tablespace,
                 inherits,statistics targets}',
               ARRAY[
                   -- A primary key's constraint says all of it.
                   CASE WHEN NOT i.indisprimary
                        THEN tenancy.settled(pg_get_indexdef(x.oid, 0, true)) END,
                   CASE WHEN NOT i.indisvalid THEN 'no' END,
                   CASE WHEN i.indisprimary THEN 'yes' END,
                   CASE WHEN NOT i.indimmediate THEN 'no' END,
                   CASE WHEN i.indisclustered THEN 'yes' END,
                   CASE WHEN i.indisreplident THEN 'yes' END,
                   CASE WHEN x.reltablespace <> 0 THEN (
                       SELECT spcname FROM pg_tablespace AS s WHERE s.oid = x.reltablespace) END,
                   CASE WHEN x.relispartition THEN (
                       SELECT h.inhparent::regclass::text FROM pg_inherits AS h
                       WHERE h.inhrelid = x.oid) END,
                   CASE WHEN i.indexprs IS NOT NULL THEN (
                       SELECT string_agg(a.attnum || ': ' || a.attstattarget, ', '
                                         ORDER BY a.attnum)
                       FROM pg_attribute AS a
                       WHERE a.attrelid = x.oid AND a.attnum > 0 AND a.attstattarget >= 0) END],
               'pg_class'::regclass, x.oid, 0, NULL, NULL, NULL
        FROM relation AS c
        JOIN pg_index AS i ON i.indrelid = c.oid JOIN pg_class AS x ON x.oid = i.indexrelid
        WHERE c.relhasindex
        UNION ALL
        SELECT 'constraint', c.relname || '.' || k.conname, c.relname,
               '{definition,validated,inherited,triggers}',
               ARRAY[
                   tenancy.settled(pg_get_constraintdef(k.oid, true)),
                   CASE WHEN NOT k.convalidated THEN 'no' END,
                   CASE WHEN k.coninhcount > 0
                        THEN CASE WHEN k.conislocal THEN 'and local' ELSE 'yes' END END,
                   CASE WHEN k.contype = 'f' THEN (
                       SELECT string_agg(DISTINCT t.tgenabled::text, '')
                       FROM pg_trigger AS t WHERE t.tgconstraint = k.oid AND t.tgenabled <> 'O')
                   END],
               'pg_constraint'::regclass, k.oid, 0, NULL, NULL, NULL
        FROM relation AS c JOIN pg_constraint AS k ON k.conrelid = c.oid
        WHERE c.relkind IN ('r', 'p', 'f') AND k.contype <> 't'
        UNION ALL
        SELECT 'trigger', c.relname || '.' || t.tgname, c.relname, '{definition,enabled}',
               ARRAY[tenancy.settled(pg_get_triggerdef(t.oid, true)),
                     nullif(t.tgenabled, 'O')::text],
               'pg_trigger'::regclass, t.oid, 0, NULL, NULL, NULL
        FROM relation AS c JOIN pg_trigger AS t ON t.tgrelid = c.oid
        WHERE c.relhastriggers AND NOT t.tgisinternal
        UNION ALL
        SELECT 'rule', c.relname || '.' || w.rulename, c.relname, '{definition,enabled}',
               ARRAY[tenancy.settled(pg_get_ruledef(w.oid, true)),
                     nullif(w.ev_enabled, 'O')::text],
               'pg_rewrite'::regclass, w.oid, 0, NULL, NULL, NULL
        FROM relation AS c JOIN pg_rewrite AS w ON w.ev_class = c.oid
        WHERE c.relhasrules AND w.rulename <> '_RETURN'
        UNION ALL
        SELECT 'policy', c.relname || '.' || p.polname, c.relname,
               '{command,permissive,roles,using,with check}',
               ARRAY[p.polcmd::text, CASE WHEN NOT p.polpermissive THEN 'no' END,
                     (SELECT string_agg(r, ', ' ORDER BY r COLLATE "C")
                      FROM unnest(p.polroles) AS o,
                           LATERAL (SELECT CASE
                               WHEN o = 0 THEN 'PUBLIC'
                               WHEN pg_get_userbyid(o) = tenant THEN '<tenant>'
                               ELSE pg_get_userbyid(o) END) AS names (r)),
                     tenancy.settled(pg_get_expr(p.polqual, p.polrelid, true)),
                     tenancy.settled(pg_get_expr(p.polwithcheck, p.polrelid, true))],
               'pg_policy'::regclass, p.oid, 0, NULL, NULL, NULL
        FROM relation AS c JOIN pg_policy AS p ON p.polrelid = c.oid
        UNION ALL
        SELECT 'comment', concat_ws('.', c.relname, a.attname), c.relname, '{text}',
               ARRAY[d.description],
               'pg_class'::regclass, 0::oid, 0, NULL, NULL, NULL
        FROM relation AS c
        JOIN pg_description AS d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass
        LEFT JOIN pg_attribute AS a
          ON a.attrelid = d.objoid AND a.attnum = d.objsubid AND d.objsubid <> 0
    )
    SELECT kind::text, name::text, parent::text, aspects::text[], texts::text[], classid::oid, oid,
           subid, owner::oid, acl::aclitem[], privileges::"char"
    FROM described;
END
$function$;

-- Functions, procedures, aggregates. word: a regular expression for the schema's name.
CREATE FUNCTION tenancy.routines(schema oid, path text, word text) RETURNS SETOF tenancy.object
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH object AS MATERIALIZED (
        SELECT DISTINCT d.classid, d.objid AS oid
        FROM (SELECT set_config('search_path', path, true)) AS p (path), pg_depend AS d
        WHERE p.path IS NOT NULL
          AND d.refclassid = 'pg_namespace'::regclass AND d.refobjid = schema AND d.refobjsubid = 0
          AND NOT EXISTS (
              SELECT FROM pg_depend AS x
              WHERE x.classid = d.classid AND x.objid = d.objid AND x.deptype = 'e')
    ),
    described (kind, name, parent, aspects, texts, classid, oid, subid, owner, acl, privileges) AS (
        SELECT CASE p.prokind WHEN 'a' THEN 'aggregate' WHEN 'p' THEN 'procedure'
                              ELSE 'function' END,
               p.oid::regprocedure::text, NULL,
               '{arguments,returns,language,body,settings,security,volatility,parallel,strict,
                 leakproof,window,cost,rows,support,library,transforms,aggregate}',
               ARRAY[
                   pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
                   (SELECT lanname FROM pg_language AS l WHERE l.oid = p.prolang),
                   coalesce(pg_get_function_sqlbody(p.oid), p.prosrc),
                   (SELECT string_agg(CASE WHEN starts_with(s, 'search_path=')
                                           THEN regexp_replace(s, word, '<tenant>', 'g')
                                           ELSE s END, E'\n' ORDER BY s COLLATE "C")
                    FROM unnest(p.proconfig) AS s),
                   CASE WHEN p.prosecdef THEN 'definer' END, p.provolatile::text,
                   p.proparallel::text, CASE WHEN p.proisstrict THEN 'yes' END,
                   CASE WHEN p.proleakproof THEN 'yes' END,
                   CASE WHEN p.prokind = 'w' THEN 'yes' END,
                   p.procost::text, p.prorows::text, nullif(p.prosupport, 0)::regproc::text,
                   p.probin,
                   (SELECT string_agg(format_type(x, NULL), ', ') FROM unnest(p.protrftypes) AS x),
                   CASE WHEN p.prokind = 'a' THEN (
                       SELECT concat_ws(' ', a.aggkind, a.aggnumdirectargs, a.aggtransfn,
                                        a.aggfinalfn, a.aggcombinefn, a.aggserialfn,
                                        a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn,
                                        a.aggmfinalfn, a.aggfinalextra, a.aggmfinalextra,
                                        a.aggfinalmodify, a.aggmfinalmodify,
                                        a.aggsortop::regoperator, format_type(a.aggtranstype, NULL),
                                        a.aggtransspace, format_type(a.aggmtranstype, NULL),
                                        a.aggmtransspace, quote_nullable(a.agginitval),
                                        quote_nullable(a.aggminitval))
                       FROM pg_aggregate AS a WHERE a.aggfnoid = p.oid) END],
               'pg_proc'::regclass, p.oid, 0, p.proowner, p.proacl, 'f'::"char"
        FROM object AS o
        JOIN pg_proc AS p ON p.oid = o.oid AND p.pronamespace = schema
        WHERE o.classid = 'pg_proc'::regclass
    )
    SELECT kind::text, name::text, parent::text, aspects::text[], texts::text[], classid::oid, oid,
           subid, owner::oid, acl::aclitem[], privileges::"char"
    FROM described;
END
$function$;

-- Types of its own, and casts from and to them.
CREATE FUNCTION tenancy.types(schema oid, path text) RETURNS SETOF tenancy.object
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH object AS MATERIALIZED (
        SELECT DISTINCT d.classid, d.objid AS oid
        FROM (SELECT set_config('search_path', path, true)) AS p (path), pg_depend AS d
        WHERE p.path IS NOT NULL
          AND d.refclassid = 'pg_namespace'::regclass AND d.refobjid = schema AND d.refobjsubid = 0
          AND NOT EXISTS (
              SELECT FROM pg_depend AS x
              WHERE x.classid = d.classid AND x.objid = d.objid AND x.deptype = 'e')
    ),
    type AS MATERIALIZED (
        SELECT t.* FROM object AS o JOIN pg_type AS t ON t.oid = o.oid
        WHERE o.classid = 'pg_type'::regclass AND t.typnamespace = schema AND t.typtype <> 'm'
    ),
    described (kind, name, parent, aspects, texts, classid, oid, subid, owner, acl, privileges) AS (
        SELECT CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'r' THEN 'range type'
                              WHEN 'c' THEN 'composite type' ELSE 'base type' END,
               t.typname, NULL,
               '{labels,type,collation,not null,default,range,functions}',
               ARRAY[
                   CASE WHEN t.typtype = 'e' THEN (
                       SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
                       FROM pg_enum AS e WHERE e.enumtypid = t.oid) END,
                   CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END,
                   CASE WHEN t.typtype = 'd' AND t.typcollation <> 0
                        THEN t.typcollation::regcollation::text END,
                   CASE WHEN t.typnotnull THEN 'yes' END,
                   coalesce(pg_get_expr(t.typdefaultbin, 0, true), t.typdefault),
                   CASE WHEN t.typtype = 'r' THEN (
                       SELECT concat_ws(' ', format_type(r.rngsubtype, NULL),
                                        format_type(r.rngmultitypid, NULL),
                                        nullif(r.rngcollation, 0)::regcollation, c.opcname,
                                        r.rngcanonical, r.rngsubdiff)
                       FROM pg_range AS r JOIN pg_opclass AS c ON c.oid = r.rngsubopc
                       WHERE r.rngtypid = t.oid) END,
                   CASE WHEN t.typtype IN ('b', 'p') THEN
                       concat_ws(' ', t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin,
                                 t.typmodout, t.typanalyze, t.typsubscript, t.typlen, t.typbyval,
                                 t.typalign, t.typstorage, t.typcategory, t.typispreferred,
                                 t.typdelim, format_type(nullif(t.typelem, 0), NULL)) END],
               'pg_type'::regclass, t.oid, 0, t.typowner, t.typacl, 'T'::"char"
        FROM type AS t
        UNION ALL
        SELECT 'column', r.typname || '.' || a.attname, r.typname,
               '{position,type,collation}',
               ARRAY[
                   row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum)::text,
                   format_type(a.atttypid, a.atttypmod),
                   CASE WHEN a.attcollation NOT IN (0, t.typcollation)
                        THEN a.attcollation::regcollation::text END],
               'pg_class'::regclass, a.attrelid, a.attnum::integer, NULL, NULL, NULL
        FROM type AS r
        JOIN pg_attribute AS a ON a.attrelid = r.typrelid AND a.attnum > 0 AND NOT a.attisdropped
        JOIN pg_type AS t ON t.oid = a.atttypid
        WHERE r.typtype = 'c'
        UNION ALL
        SELECT 'constraint', t.typname || '.' || k.conname, t.typname, '{definition,validated}',
               ARRAY[tenancy.settled(pg_get_constraintdef(k.oid, true)),
                     CASE WHEN NOT k.convalidated THEN 'no' END],
               'pg_constraint'::regclass, k.oid, 0, NULL, NULL, NULL
        FROM type AS t JOIN pg_constraint AS k ON k.contypid = t.oid
        WHERE t.typtype = 'd'
        UNION ALL
        SELECT 'cast', format('%s to %s', format_type(c.castsource, NULL),
                              format_type(c.casttarget, NULL)), NULL,
               '{function,context,method}',
               ARRAY[nullif(c.castfunc, 0)::regprocedure::text, c.castcontext::text,
                     c.castmethod::text],
               'pg_cast'::regclass, c.oid, 0, NULL, NULL, NULL
        FROM (SELECT DISTINCT d.objid FROM type AS t
              JOIN pg_depend AS d ON d.refclassid = 'pg_type'::regclass AND d.refobjid = t.oid
              WHERE d.classid = 'pg_cast'::regclass) AS d
        JOIN pg_cast AS c ON c.oid = d.objid
    )
    SELECT kind::text, name::text, parent::text, aspects::text[], texts::text[], classid::oid, oid,
           subid, owner::oid, acl::aclitem[], privileges::"char"
    FROM described;
END
$function$;

-- What few schemas have.
CREATE FUNCTION tenancy.others(schema oid, path text) RETURNS SETOF tenancy.object
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH object AS MATERIALIZED (
        SELECT DISTINCT d.classid, d.objid AS oid
        FROM (SELECT set_config('search_path', path, true)) AS p (path), pg_depend AS d
        WHERE p.path IS NOT NULL
          AND d.refclassid = 'pg_namespace'::regclass AND d.refobjid = schema AND d.refobjsubid = 0
          AND NOT EXISTS (
              SELECT FROM pg_depend AS x
              WHERE x.classid = d.classid AND x.objid = d.objid AND x.deptype = 'e')
    ),
    described (kind, name, parent, aspects, texts, classid, oid, subid, owner, acl, privileges) AS (
        SELECT 'operator', p.oid::regoperator::text, NULL,
               '{function,returns,commutator,negator,restrict,join,merges,hashes}',
               ARRAY[p.oprcode::regprocedure::text, format_type(p.oprresult, NULL),
                     nullif(p.oprcom, 0)::regoperator::text,
                     nullif(p.oprnegate, 0)::regoperator::text, p.oprrest::text, p.oprjoin::text,
                     p.oprcanmerge::text, p.oprcanhash::text],
               'pg_operator'::regclass, p.oid, 0, p.oprowner, NULL, NULL
        FROM object AS o JOIN pg_operator AS p ON p.oid = o.oid AND p.oprnamespace = schema
        WHERE o.classid = 'pg_operator'::regclass
        UNION ALL
        SELECT 'operator family', format('%s using %s', f.opfname, m.amname), NULL,
               '{operators,functions}',
               ARRAY[(SELECT string_agg(concat_ws(' ', a.amopstrategy, a.amopopr::regoperator,
                                                  a.amoppurpose), ', '
                                        ORDER BY a.amopstrategy, a.amopopr::regoperator::text
                                                 COLLATE "C")
                      FROM pg_amop AS a WHERE a.amopfamily = f.oid),
                     (SELECT string_agg(concat_ws(' ', a.amprocnum, a.amproc::regprocedure), ', '
                                        ORDER BY a.amprocnum, a.amproc::regprocedure::text
                                                 COLLATE "C")
                      FROM pg_amproc AS a WHERE a.amprocfamily = f.oid)],
               'pg_opfamily'::regclass, f.oid, 0, f.opfowner, NULL, NULL
        FROM object AS o JOIN pg_opfamily AS f ON f.oid = o.oid AND f.opfnamespace = schema
        JOIN pg_am AS m ON m.oid = f.opfmethod
        WHERE o.classid = 'pg_opfamily'::regclass
        UNION ALL
        SELECT 'operator class', format('%s using %s', c.opcname, m.amname), NULL,
               '{family,type,default,key}',
               ARRAY[f.opfname, format_type(c.opcintype, NULL),
                     CASE WHEN c.opcdefault THEN 'yes' END,
                     format_type(nullif(c.opckeytype, 0), NULL)],
               'pg_opclass'::regclass, c.oid, 0, c.opcowner, NULL, NULL
        FROM object AS o JOIN pg_opclass AS c ON c.oid = o.oid AND c.opcnamespace = schema
        JOIN pg_am AS m ON m.oid = c.opcmethod JOIN pg_opfamily AS f ON f.oid = c.opcfamily
        WHERE o.classid = 'pg_opclass'::regclass
        UNION ALL
        SELECT 'collation', c.collname, NULL, '{definition}',
               -- Its columns are called differently in each major version.
               ARRAY[(to_jsonb(c) - '{oid,collname,collnamespace,collowner,collversion}'::text[])
                     ::text],
               'pg_collation'::regclass, c.oid, 0, c.collowner, NULL, NULL
        FROM object AS o JOIN pg_collation AS c ON c.oid = o.oid AND c.collnamespace = schema
        WHERE o.classid = 'pg_collation'::regclass
        UNION ALL
        SELECT 'conversion', c.conname, NULL, '{definition}',
               ARRAY[concat_ws(' ', pg_encoding_to_char(c.conforencoding),
                               pg_encoding_to_char(c.contoencoding), c.conproc, c.condefault)],
               'pg_conversion'::regclass, c.oid, 0, c.conowner, NULL, NULL
        FROM object AS o JOIN pg_conversion AS c ON c.oid = o.oid AND c.connamespace = schema
        WHERE o.classid = 'pg_conversion'::regclass
        UNION ALL
        SELECT 'statistics', s.stxname, r.relname, '{columns,kinds,target}',
               ARRAY[pg_get_statisticsobjdef_columns(s.oid),
                     s.stxkind::text, nullif(s.stxstattarget, -1)::text],
               'pg_statistic_ext'::regclass, s.oid, 0, s.stxowner, NULL, NULL
        FROM object AS o JOIN pg_statistic_ext AS s ON s.oid = o.oid AND s.stxnamespace = schema
        JOIN pg_class AS r ON r.oid = s.stxrelid
        WHERE o.classid = 'pg_statistic_ext'::regclass
        UNION ALL
        SELECT 'text search dictionary', d.dictname, NULL, '{template,options}',
               ARRAY[CASE WHEN pg_ts_template_is_visible(t.oid) THEN t.tmplname
                          ELSE t.tmplnamespace::regnamespace || '.' || t.tmplname END,
                     d.dictinitoption],
               'pg_ts_dict'::regclass, d.oid, 0, d.dictowner, NULL, NULL
        FROM object AS o JOIN pg_ts_dict AS d ON d.oid = o.oid AND d.dictnamespace = schema
        JOIN pg_ts_template AS t ON t.oid = d.dicttemplate
        WHERE o.classid = 'pg_ts_dict'::regclass
        UNION ALL
        SELECT 'text search configuration', c.cfgname, NULL, '{parser,dictionaries}',
               ARRAY[p.prsname,
                     (SELECT string_agg(m.maptokentype || ': ' || m.mapdict::regdictionary, ', '
                                        ORDER BY m.maptokentype, m.mapseqno)
                      FROM pg_ts_config_map AS m WHERE m.mapcfg = c.oid)],
               'pg_ts_config'::regclass, c.oid, 0, c.cfgowner, NULL, NULL
        FROM object AS o JOIN pg_ts_config AS c ON c.oid = o.oid AND c.cfgnamespace = schema
        JOIN pg_ts_parser AS p ON p.oid = c.cfgparser
        WHERE o.classid = 'pg_ts_config'::regclass
        UNION ALL
        SELECT 'text search parser', p.prsname, NULL, '{functions}',
               ARRAY[concat_ws(' ', p.prsstart, p.prstoken, p.prsend, p.prsheadline, p.prslextype)],
               'pg_ts_parser'::regclass, p.oid, 0, NULL, NULL, NULL
        FROM object AS o JOIN pg_ts_parser AS p ON p.oid = o.oid AND p.prsnamespace = schema
        WHERE o.classid = 'pg_ts_parser'::regclass
        UNION ALL
        SELECT 'text search template', t.tmplname, NULL, '{functions}',
               ARRAY[concat_ws(' ', t.tmplinit, t.tmpllexize)],
               'pg_ts_template'::regclass, t.oid, 0, NULL, NULL, NULL
        FROM object AS o JOIN pg_ts_template AS t ON t.oid = o.oid AND t.tmplnamespace = schema
        WHERE o.classid = 'pg_ts_template'::regclass
    )
    SELECT kind::text, name::text, parent::text, aspects::text[], texts::text[], classid::oid, oid,
           subid, owner::oid, acl::aclitem[], privileges::"char"
    FROM described;
END
$function$;

-- All that is in a schema, object by object. Grants are told as what is more or less than the
-- standard of the kind together with the schema's default privileges. So the rights that
-- provisioning gives (usage of the schema, default privileges on its tables and sequences) say
-- nothing: they are no file's, and a schema that is made from the files alone has none.
CREATE FUNCTION tenancy.description(schema oid)
RETURNS TABLE (kind text, name text, parent text, aspects text[], texts text[], owner text,
               grants text, comment text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
-- However many tenants there are, each schema is small.
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET enable_bitmapscan = off
SET enable_material = off
SET jit = off
AS $function$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH given AS MATERIALIZED (
        SELECT n.oid, n.nspname, n.nspowner, n.nspacl, pg_get_userbyid(n.nspowner) AS owner,
               quote_ident(n.nspname) || ', pg_catalog, pg_temp' AS path,
               '\y' || regexp_replace(n.nspname, '(\W)', '\\\1', 'g') || '\y' AS word,
               ARRAY(SELECT DISTINCT d.classid FROM pg_depend AS d
                     WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid
                       AND d.refobjsubid = 0) AS classes
        FROM pg_namespace AS n WHERE n.oid = schema
    ),
    -- What objects of the schema's owner have from the start.
    standard AS MATERIALIZED (
        SELECT k.privileges, a.defaclacl IS NULL AS plain,
               acldefault(k.privileges, g.nspowner) || coalesce(a.defaclacl, '{}') AS acl
        FROM given AS g CROSS JOIN (
            VALUES ('r'::"char", 'r'::"char"), ('s', 'S'), ('f', 'f'), ('T', 'T'), ('n', NULL),
                   ('c', NULL)) AS k (privileges, objtype)
        LEFT JOIN pg_default_acl AS a ON a.defaclrole = g.nspowner AND a.defaclnamespace = g.oid
                                     AND a.defaclobjtype = k.objtype
    ),
    object AS (
        SELECT o.* FROM given AS g, LATERAL (
            SELECT 'schema'::text, ''::text, NULL::text, '{of}'::text[], ARRAY[g.owner::text],
                   'pg_namespace'::regclass::oid, 0::oid, 0, g.nspowner,
                   (SELECT array_agg(a) FROM unnest(g.nspacl) AS a
                    WHERE a::text !~ '^[^=]+=U/'), 'n'::"char"
            UNION ALL
            SELECT * FROM tenancy.relations(g.oid, g.path, g.nspname)
            WHERE 'pg_class'::regclass = ANY (g.classes)
            UNION ALL
            SELECT * FROM tenancy.routines(g.oid, g.path, g.word)
            WHERE 'pg_proc'::regclass = ANY (g.classes)
            UNION ALL
            SELECT * FROM tenancy.types(g.oid, g.path)
            WHERE 'pg_type'::regclass = ANY (g.classes)
            UNION ALL
            SELECT * FROM tenancy.others(g.oid, g.path)
            WHERE NOT g.classes <@ '{pg_class,pg_proc,pg_type,pg_default_acl}'::regclass[]::oid[]
            UNION ALL
            SELECT 'default privileges',
                   format('on %s by %s',
                          CASE a.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences'
                               WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types'
                               ELSE a.defaclobjtype::text END,
                          CASE a.defaclrole WHEN g.nspowner THEN '<owner>'
                               ELSE pg_get_userbyid(a.defaclrole) END),
                   NULL, '{to}',
                   ARRAY[(SELECT string_agg(x::text, ', ' ORDER BY x::text COLLATE "C")
                          FROM unnest(i.items) AS x)],
                   'pg_default_acl'::regclass, 0, 0, NULL, NULL, NULL
            FROM pg_depend AS d JOIN pg_default_acl AS a ON a.oid = d.objid,
                 LATERAL (SELECT array_agg(split_part(x::text, '/', 1))
                          FROM unnest(a.defaclacl) AS x
                          WHERE x::text !~ CASE a.defaclobjtype WHEN 'r' THEN '^[^=]+=arwd/'
                                                WHEN 'S' THEN '^[^=]+=rU/' ELSE '^$' END)
                     AS i (items)
            WHERE d.classid = 'pg_default_acl'::regclass AND a.defaclnamespace = g.oid
              AND d.refclassid = 'pg_namespace'::regclass AND d.refobjid = g.oid
              AND d.refobjsubid = 0 AND i.items IS NOT NULL
        ) AS o (kind, name, parent, aspects, texts, classid, oid, subid, owner, acl, privileges)
    )
    SELECT d.kind, d.name, d.parent, d.aspects, d.texts,
           CASE WHEN d.owner <> g.nspowner THEN pg_get_userbyid(d.owner)::text END,
           CASE WHEN d.acl = s.acl OR d.acl IS NULL AND s.plain THEN NULL
                WHEN d.privileges IS NOT NULL THEN (
               SELECT string_agg(
                          sign || CASE WHEN starts_with(item, '=') THEN 'PUBLIC' || item
                                       WHEN starts_with(item, g.owner || '=')
                                       THEN '<owner>' || substr(item, length(g.owner) + 1)
                                       WHEN starts_with(item, g.nspname || '=')
                                       THEN '<tenant>' || substr(item, length(g.nspname) + 1)
                                       ELSE item END,
                          ', ' ORDER BY item COLLATE "C", sign)
               FROM LATERAL (SELECT coalesce(d.acl, acldefault(d.privileges, d.owner)),
                                    CASE WHEN d.owner <> g.nspowner
                                         THEN acldefault(d.privileges, d.owner) ELSE s.acl END)
                        AS a (has, should),
                    LATERAL (SELECT '+', e, a.should FROM unnest(a.has) AS e
                             UNION ALL SELECT '-', e, a.has FROM unnest(a.should) AS e)
                        AS x (sign, entry, others),
                    LATERAL (SELECT replace(split_part(x.entry::text, '/', 1), '"', ''))
                        AS i (item)
               WHERE NOT (x.entry = ANY (x.others))) END,
           CASE WHEN d.oid <> 0 THEN (
               SELECT c.description FROM pg_description AS c
               WHERE c.objoid = d.oid AND c.classoid = d.classid AND c.objsubid = d.subid) END
    FROM given AS g, object AS d LEFT JOIN standard AS s ON s.privileges = d.privileges;
END
$function$;

-- sha256 over the description, behind the server's major version, for what is printed may change
-- from one to the next; null where there is no such schema. A text may hold the schema's own name,
-- which the file that made it has asked for: that is alike in all schemas, where the name is one
-- that means nothing else.
CREATE FUNCTION tenancy.fingerprint(schema oid) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    own text := (SELECT nspname FROM pg_namespace WHERE oid = schema);
    shape text := (
        SELECT string_agg(ROW(d.kind, d.name, d.parent, d.texts, d.owner, d.grants,
                              d.comment)::text, E'\n'
                          ORDER BY d.kind COLLATE "C", d.name COLLATE "C", d.parent COLLATE "C")
        FROM tenancy.description(schema) AS d);
BEGIN
    IF strpos(shape, own) > 0 AND own ~ '^(t|tenancy_scratch)_[a-z0-9_]+$' THEN
        shape := regexp_replace(shape, '\y' || own || '\y', '<tenant>', 'g');
    END IF;
    RETURN current_setting('server_version_num')::integer / 10000 || ':'
           || encode(sha256(convert_to(shape, 'UTF8')), 'hex');
END
$function$;

REVOKE ALL ON FUNCTION tenancy.settled, tenancy.relations, tenancy.routines, tenancy.types,
    tenancy.others, tenancy.description, tenancy.fingerprint FROM PUBLIC;
REVOKE ALL ON TYPE tenancy.object FROM PUBLIC;
