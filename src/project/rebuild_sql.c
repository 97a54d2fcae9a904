/*
 * rebuild_sql.c
 *		rebuild_projection: the whole table, or the row of one key.
 *
 * A single row needs no lock that appends to others would wait for: that of its
 * stream or, where streams share rows, of its key does; of its stream alone the
 * history is read.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "errors.h"
#include "fmgr.h"
#include "log/final.h"
#include "log/stream.h"
#include "log/user_table.h"
#include "miscadmin.h"
#include "project/apply.h"
#include "project/rebuild.h"
#include "project/rebuild_write.h"
#include "project/refold.h"
#include "project/replay.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(eventsource_rebuild_projection);

static int64 rebuild_table(EsProjection *projection);
static void lock_key(EsProjection *projection, const Datum *key, const text *stream);
static const text *key_stream(const EsProjection *projection, const Datum *key);
static const text *event_stream(int64 position);
static text *key_text(const EsProjection *projection, int column, Datum value);
static text *key_category(const EsProjection *projection, const EsRule *rule, const Datum *key);

/* rebuild_projection(target regclass, key jsonb) */
Datum
eventsource_rebuild_projection(PG_FUNCTION_ARGS)
{
	Oid			relid;
	EsProjection *projection;
	Datum		key[INDEX_MAX_KEYS];

	PreventCommandIfReadOnly("eventsource.rebuild_projection()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("rebuild_projection needs a table"),
				 errdetail("Argument \"target\" is null."),
				 errhint("Name the table: eventsource.rebuild_projection('my_table').")));
	relid = PG_GETARG_OID(0);
	es_user_table_expect_owner(relid, "rebuild a projection that writes it");
	LockRelationOid(relid, AccessShareLock);
	es_user_table_expect_owner(relid, "rebuild a projection that writes it");
	if (PG_ARGISNULL(1))
		es_rebuild_lock(relid);
	projection = es_projection_expect(relid);
	es_projection_expect_target(projection, false);
	if (PG_ARGISNULL(1))
		PG_RETURN_INT64(rebuild_table(projection));
	es_replay_read_key(projection->target, PG_GETARG_JSONB_P(1), key);
	PG_RETURN_INT64(es_rebuild_key(projection, key));
}

EsProjection *
es_rebuild_expect_same(const EsProjection *projection)
{
	EsProjection *now = es_projection_expect(projection->target->relid);

	if (now->version != projection->version)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("projection %s was defined anew while it was rebuilt", projection->target->name),
				 errdetail("Version " INT64_FORMAT " of its definition was replaced by version " INT64_FORMAT ".",
						   projection->version, now->version),
				 errhint("A definition fills its table; rebuild it again if that is still called for.")));
	es_projection_expect_target(now, false);
	return now;
}

int64
es_rebuild_key(EsProjection *projection, const Datum *key)
{
	const text *stream = projection->is_async ? NULL : key_stream(projection, key);
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "eventsource rebuild key", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(work);
	EsProjection *now;
	EsFinal    *final;
	EsStore    *store;
	EsFold	   *fold;
	int64		upto;
	int64		count;

	lock_key(projection, key, stream);
	now = es_rebuild_expect_same(projection);
	CommandCounterIncrement();
	final = es_final_begin();
	upto = es_apply_shown(now, es_final_snapshot(final));
	fold = es_fold_begin_replay(work, now);
	(void) es_fold_enter(fold, now->target, key);
	es_fold_restrict(fold);
	es_refold_scan(fold, stream != NULL ? es_scan_stream(stream, 1, false, es_final_snapshot(final)) :
				   es_scan_log(0, upto, now->categories, es_final_snapshot(final)),
				   es_corrections_load_upto(upto, es_final_snapshot(final)), upto);
	store = es_store_begin(work, now);
	es_store_put(store, es_fold_find(fold, now->target, key));
	count = es_rebuild_write(store, now->target, es_final_snapshot(final));
	es_final_end(final);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	return count;
}

/* Where nothing differs, no lock is needed; unless the table is to go on. */
static int64
rebuild_table(EsProjection *projection)
{
	Oid			relid = projection->target->relid;
	EsRebuild  *rebuild = es_rebuild_begin(projection, ES_REBUILD_REPAIR);

	if (es_rebuild_differences(rebuild) == 0 && !projection->is_async)
	{
		es_rebuild_end(rebuild);
		return 0;
	}
	es_rebuild_catch_up(rebuild);
	es_apply_lock_table(relid);
	LockRelationOid(relid, ShareRowExclusiveLock);
	return es_rebuild_finish(rebuild, es_rebuild_expect_same(projection));
}

/* ---- one row ---- */

/* What appends that fold into the row hold, in the order in which they take it. */
static void
lock_key(EsProjection *projection, const Datum *key, const text *stream)
{
	Oid			relid = projection->target->relid;

	if (stream != NULL)
		es_stream_lock(stream);
	if (stream != NULL || (!projection->is_async && projection->sharing == ES_ROW_SHARED))
		LockRelationOid(relid, RowExclusiveLock);
	if (stream == NULL && !projection->is_async && projection->sharing == ES_ROW_SHARED)
	{
		EsFold	   *fold = es_fold_begin_replay(CurrentMemoryContext, projection);

		(void) es_fold_enter(fold, projection->target, key);
		es_fold_lock_rows(list_make1(fold));
	}
	else if (stream == NULL)
	{
		es_apply_lock_table(relid);
		LockRelationOid(relid, ShareRowExclusiveLock);
	}
}

/* The stream whose events alone fold into the row; NULL where that is not known. */
static const text *
key_stream(const EsProjection *projection, const Datum *key)
{
	const EsRule *rule = projection->rules != NIL ? linitial(projection->rules) : projection->any;
	const EsRowIdentity *identity = &rule->identity;
	text	   *value;
	text	   *category;

	if (projection->sharing == ES_ROW_SHARED)
		return NULL;
	if (projection->sharing == ES_ROW_OF_EVENT)
		return event_stream(DatumGetInt64(key[identity->key]));
	value = key_text(projection, identity->key, key[identity->key]);
	if (identity->column == ES_EVENT_STREAM)
		return value;
	category = key_category(projection, rule, key);
	return cstring_to_text(psprintf("%s-%s", text_to_cstring(category), text_to_cstring(value)));
}

static const text *
event_stream(int64 position)
{
	EsFinal    *final = es_final_begin();
	Snapshot	snapshot = es_final_snapshot(final);
	EsScan	   *scan = position > 0 ? es_scan_whole_log(position - 1, position, snapshot) : NULL;
	const text *stream = NULL;
	EsEvent		event;

	if (scan != NULL)
	{
		es_scan_expect(scan, 1);
		es_scan_as_stored(scan);
		if (es_scan_next(scan, &event))
			stream = (text *) DatumGetPointer(datumCopy(event.value[ES_EVENT_STREAM], false, -1));
		es_scan_end(scan);
	}
	es_final_end(final);
	return stream;
}

static text *
key_text(const EsProjection *projection, int column, Datum value)
{
	Oid			output;
	bool		is_varlena;

	getTypeOutputInfo(projection->target->keys[column].type, &output, &is_varlena);
	return cstring_to_text(OidOutputFunctionCall(output, value));
}

/* Of a row that goes by the key of its stream: the one there is, or that in the row's key. */
static text *
key_category(const EsProjection *projection, const EsRule *rule, const Datum *key)
{
	for (int i = 0; i < projection->target->nkeys; i++)
	{
		EsEventColumn column;

		if (es_expr_is_event(rule->key[i], &column) && column == ES_EVENT_CATEGORY)
			return key_text(projection, i, key[i]);
	}
	return cstring_to_text(linitial(projection->categories));
}
