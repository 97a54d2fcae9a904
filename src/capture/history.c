/*
 * history.c
 *		The table whose past is asked about, and who may ask.
 *
 * Whoever may read a table now may read what it was: SELECT on it is asked of
 * the caller, and row security that applies to him is a refusal, since policies
 * say nothing about rows of the past.  Code that belongs to the table's types
 * runs with the rights of its owner (rules/expr_parts.h).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "capture/history.h"
#include "errors.h"
#include "log/reading.h"
#include "log/rights.h"
#include "log/user_table.h"
#include "miscadmin.h"
#include "rules/pii_use.h"
#include "rules/expr_parts.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"

static void expect_readable(Oid relid, AttrNumber column, const char *name, const char *function);
ES_NORETURN static void refuse_partition(const EsHistory *history);
static bool has_single_rows(const EsProjection *projection);
static void copy_columns(EsHistory *history);
static EsEventColumn key_column(const EsHistory *history);

EsHistory *
es_history_open(Oid relid, AttrNumber column, const char *function)
{
	EsHistory  *history;
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		es_user_table_report_gone(relid);
	expect_readable(relid, column, name, function);
	history = es_history_make(relid);
	if (history == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s has no past to tell", name),
				 errdetail("It is neither a tracked table nor a projection."),
				 errhint("From track_table or create_projection on, a table has a history.")));
	if (history->tracking != NULL && history->tracking->relid != relid)
		refuse_partition(history);
	es_rights_expect_read_each(history->categories, psprintf("the history of %s", name));
	return history;
}

EsHistory *
es_history_make(Oid relid)
{
	EsHistory  *history = palloc0(sizeof(EsHistory));

	LockRelationOid(relid, AccessShareLock);
	history->relid = relid;
	history->name = get_rel_name(relid);
	history->projection = es_projection_get(relid);
	if (history->projection == NULL)
		history->tracking = es_tracking_of_table(relid);
	if (history->projection == NULL && history->tracking == NULL)
		return NULL;
	history->categories = history->projection != NULL ? history->projection->categories :
		list_make1(text_to_cstring(history->tracking->category));
	history->is_single = history->tracking != NULL || has_single_rows(history->projection);
	copy_columns(history);
	return history;
}

/* True if each rule finds the row by the stream alone, all in the same way. */
static bool
has_single_rows(const EsProjection *projection)
{
	List	   *rules = list_copy(projection->rules);
	const EsRule *first;
	ListCell   *lc;

	if (projection->any != NULL)
		rules = lappend(rules, projection->any);
	first = linitial(rules);
	foreach(lc, rules)
	{
		const EsRule *rule = lfirst(lc);

		for (int i = 0; i < projection->target->nkeys; i++)
		{
			EsEventColumn column;
			EsEventColumn same;

			if (!es_expr_is_event(rule->key[i], &column) || !es_expr_is_event(first->key[i], &same) ||
				column != same ||
				(column != ES_EVENT_STREAM && column != ES_EVENT_KEY && column != ES_EVENT_CATEGORY))
				return false;
		}
	}
	return projection->sharing == ES_ROW_OF_STREAM;
}

static void
expect_readable(Oid relid, AttrNumber column, const char *name, const char *function)
{
	AclResult	acl = pg_class_aclcheck(relid, GetUserId(), ACL_SELECT);

	if (acl != ACLCHECK_OK)
		acl = column == 0 ? pg_attribute_aclcheck_all(relid, GetUserId(), ACL_SELECT, ACLMASK_ALL) :
			pg_attribute_aclcheck(relid, column, GetUserId(), ACL_SELECT);
	if (acl != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table %s", name),
				 errdetail("%s shows rows of it.", function),
				 errhint("GRANT SELECT on it.")));
	if (check_enable_rls(relid, InvalidOid, false) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("row security applies to table %s", name),
				 errdetail("%s would show rows of the past that its policies cannot judge.", function),
				 errhint("Let a role ask to which the policies do not apply.")));
}

static void
refuse_partition(const EsHistory *history)
{
	char	   *root = get_rel_name(history->tracking->relid);

	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("%s is tracked as a part of another table", history->name),
			 errdetail("Its history is that of %s.", root == NULL ? "a table that was dropped" : root),
			 errhint("Ask for the past of the partitioned table.")));
}

static void
copy_columns(EsHistory *history)
{
	Relation	rel = relation_open(history->relid, NoLock);

	history->owner = rel->rd_rel->relowner;
	history->desc = CreateTupleDescCopyConstr(RelationGetDescr(rel));
	relation_close(rel, NoLock);
}

/* Rows of one event are also of its stream, but their key does not name it. */
bool
es_history_is_by_stream(const EsHistory *history, bool has_key)
{
	if (history->tracking != NULL)
		return true;
	return history->projection->sharing == ES_ROW_OF_STREAM ||
		(history->projection->sharing == ES_ROW_OF_EVENT && !has_key);
}

Oid
es_history_reader(const EsHistory *history)
{
	return history->tracking == NULL || es_pii_declared(history->categories, NULL) == NIL ||
		es_reading_is_trusted(GetUserId()) ? ES_READER_ITSELF : GetUserId();
}

void
es_history_expect_single(const EsHistory *history, const char *function)
{
	if (history->is_single)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("%s needs a table that has one row per stream", function),
			 errdetail("The key of projection %s does not follow from the stream alone.", history->name),
			 errhint("Read eventsource.as_of(NULL::%s, at) at the moments in question.", history->name)));
}

/* What of the event tells the streams of a projection apart. */
static EsEventColumn
key_column(const EsHistory *history)
{
	const EsProjection *projection = history->projection;
	const EsRule *rule;

	if (history->tracking != NULL)
		return ES_EVENT_KEY;
	rule = projection->rules != NIL ? linitial(projection->rules) : projection->any;
	return rule->identity.column;
}

List *
es_history_streams(const EsHistory *history, const char *key)
{
	List	   *streams = NIL;
	ListCell   *lc;

	if (key_column(history) == ES_EVENT_STREAM)
	{
		foreach(lc, history->categories)
		{
			int			length = strlen(lfirst(lc));

			if (strncmp(key, lfirst(lc), length) == 0 && key[length] == '-')
				return list_make1(cstring_to_text(key));
		}
		return NIL;
	}
	foreach(lc, history->categories)
		streams = lappend(streams, cstring_to_text(psprintf("%s-%s", (char *) lfirst(lc), key)));
	return streams;
}

text *
es_history_key(const EsHistory *history, const EsEvent *event)
{
	return es_event_text(event, key_column(history) == ES_EVENT_STREAM ? ES_EVENT_STREAM : ES_EVENT_KEY);
}

EsBasis
es_history_get_basis(FunctionCallInfo fcinfo, int arg)
{
	char	   *basis = PG_ARGISNULL(arg) ? "recorded" : text_to_cstring(PG_GETARG_TEXT_PP(arg));

	if (strcmp(basis, "recorded") == 0)
		return ES_BASIS_RECORDED;
	if (strcmp(basis, "occurred") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown basis \"%s\"", basis),
				 errdetail("The basis says which time of an event counts."),
				 errhint("Use 'recorded' (what was known at that time) "
						 "or 'occurred' (what had happened by then).")));
	return ES_BASIS_OCCURRED;
}

TimestampTz
es_history_get_at(FunctionCallInfo fcinfo, int arg, const char *function)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s needs a moment", function),
				 errdetail("Argument \"at\" is null."),
				 errhint("For the rows as they are now, read the table; now() is a moment, too.")));
	return PG_GETARG_TIMESTAMPTZ(arg);
}

/* Types of the table may have casts to json of their own. */
Jsonb *
es_history_row_to_jsonb(const EsHistory *history, HeapTuple row)
{
	EsExprTraits traits = {.foreign = true};
	EsRoom		room;
	text	   *json;

	es_expr_enter_room(&room, history->owner, false, &traits);
	json = DatumGetTextPP(DirectFunctionCall1(row_to_json, heap_copy_tuple_as_datum(row, history->desc)));
	es_expr_leave_room(&room);
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text_to_cstring(json))));
}
