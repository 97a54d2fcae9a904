/*
 * track_personal.c
 *		What is personal in the rows of a tracked table, and whom they are about.
 *
 * A captured event has a column's values as data.changed.<column>.old and .new: of a
 * personal column both are personal fields, cut out like those of an event type
 * (append/personal.h), but a null stays where each was.  Events are as the definition
 * was when they were captured.
 *
 * The table itself is its owner's: nothing here masks it, and no erasure writes it.
 */
#include "postgres.h"

#include "append/personal_rules.h"
#include "capture/track_personal.h"
#include "catalog/pg_type.h"
#include "log/config.h"
#include "log/erasing.h"
#include "log/json.h"
#include "log/read.h"
#include "log/stream.h"
#include "miscadmin.h"
#include "rules/expr.h"
#include "rules/machine.h"
#include "rules/pii_use.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

static void mark_personal(const EsProposal *proposal, Relation rel, EsTrackingText *definition,
						  List **problems);
static char *column_problem(const EsColumnText *column, Relation rel);
static const EsColumnText *source_of(const EsColumnText *column, TupleDesc row, List *columns);
static void check_subject(EsTrackingText *definition, Relation rel, List **problems);
static EsExpr *compile_subject(const char *source, TupleDesc row, Oid owner);
static EsPii *paths_of(const EsTrackingText *definition, const char *before, const char *behind,
					   const char *other);
static const EsPii *pii_of_event(const EsEvent *event);
static List *declared_of(List *categories, const char *type);
static bool captures(const EsTracking *tracking, const char *type);
static int64 count_rows(const EsErasing *erasing, void *state);

/* What the subject's expression is compiled from. */
typedef struct Subject
{
	const char *source;
	TupleDesc	row;
	Oid			owner;
} Subject;

void
es_track_personal_init(void)
{
	static const EsEraser eraser = {"rows of tracked tables, left to their owner", NULL, count_rows};

	es_pii_register_captured(pii_of_event, declared_of);
	es_eraser_register(&eraser);
}

/* ---- the definition ---- */

void
es_track_personal_check(const EsProposal *proposal, Relation rel, EsTrackingText *definition,
						List **problems)
{
	ListCell   *lc;

	if (proposal->pii != NULL)
		mark_personal(proposal, rel, definition, problems);
	foreach(lc, definition->columns)
	{
		const EsColumnText *column = lfirst(lc);
		char	   *problem = column->pii == NULL ? NULL : column_problem(column, rel);
		const EsColumnText *source = column->is_ignored ? NULL :
			source_of(column, RelationGetDescr(rel), definition->columns);

		if (problem != NULL)
			*problems = lappend(*problems, psprintf("pii: column \"%s\" %s", column->name, problem));
		if (source != NULL)
			*problems = lappend(*problems, psprintf("pii: column \"%s\" is computed from personal column \"%s\": name it, too, or ignore it",
													column->name, source->name));
	}
	definition->subject = proposal->subject;
	if (*problems == NIL && definition->subject != NULL)
		check_subject(definition, rel, problems);
}

static void
mark_personal(const EsProposal *proposal, Relation rel, EsTrackingText *definition, List **problems)
{
	JsonbValue	root;
	EsJsonPair *pairs;
	int			count;
	ListCell   *lc;

	if (!JB_ROOT_IS_OBJECT(proposal->pii))
	{
		*problems = lappend(*problems, pstrdup("pii: must be an object of columns and strategies"));
		return;
	}
	foreach(lc, definition->columns)
		((EsColumnText *) lfirst(lc))->pii = NULL;
	es_json_value(proposal->pii, &root);
	count = es_json_pairs(&root, &pairs);
	for (int i = 0; i < count; i++)
	{
		EsColumnText *column = es_proposal_column(definition, es_json_string(&pairs[i].key));

		if (column == NULL)
			*problems = lappend(*problems, psprintf("pii: there is no column %s", es_json_quote(&pairs[i].key)));
		else if (!es_pii_is_strategy(&pairs[i].value))
			*problems = lappend(*problems, psprintf("pii: column \"%s\" needs a strategy: hash, mask_ip, redact, null or keep",
													column->name));
		else if (column->is_ignored)
			*problems = lappend(*problems, psprintf("pii: column \"%s\" is not captured", column->name));
		else
			column->pii = es_json_string(&pairs[i].value);
	}
}

/* What stands for a value must be one of the column, as rows of the past are read. */
static char *
column_problem(const EsColumnText *column, Relation rel)
{
	Oid			type = getBaseType(TupleDescAttr(RelationGetDescr(rel), column->attno - 1)->atttypid);
	char		category;
	bool		is_preferred;

	get_type_category_preferred(type, &category, &is_preferred);
	if (column->key > 0)
		return pstrdup("is part of the key, which names the stream");
	if (column->is_state || column->is_reason || column->is_actor)
		return pstrdup("holds the state, the reason or the actor, which stand beside the data");
	if (strchr(column->name, '.') != NULL || strcmp(column->name, "*") == 0)
		return pstrdup("has a name that cannot be told from a path: give it another one");
	if (category == TYPCATEGORY_STRING || strcmp(column->pii, "null") == 0 ||
		(category == TYPCATEGORY_NETWORK && strcmp(column->pii, "mask_ip") == 0))
		return NULL;
	return category == TYPCATEGORY_NETWORK ? pstrdup("is an address: its strategy can be mask_ip or null") :
		psprintf("is of type %s, which has no word for what is hidden: its strategy can only be null",
				 format_type_be(type));
}

/* The personal column that a generated one, which is not personal itself, is computed from; or NULL. */
static const EsColumnText *
source_of(const EsColumnText *column, TupleDesc row, List *columns)
{
	Bitmapset  *read = column->pii != NULL ? NULL : es_pii_generated_from(row, column->attno);
	ListCell   *lc;

	foreach(lc, columns)
	{
		const EsColumnText *other = lfirst(lc);

		if (other->pii != NULL && bms_is_member(other->attno, read))
			return other;
	}
	return NULL;
}

bool
es_track_personal_tells(const EsColumnText *column, TupleDesc row, List *columns)
{
	return source_of(column, row, columns) != NULL;
}

static void
compile_it(void *arg)
{
	const Subject *subject = arg;

	(void) compile_subject(subject->source, subject->row, subject->owner);
}

static void
check_subject(EsTrackingText *definition, Relation rel, List **problems)
{
	Subject		subject = {definition->subject, RelationGetDescr(rel), rel->rd_rel->relowner};
	char	   *problem = es_expr_problem(compile_it, &subject);
	Bitmapset  *columns;
	bool		uses_item;
	ListCell   *lc;

	if (problem != NULL)
	{
		*problems = lappend(*problems, psprintf("subject: %s", problem));
		return;
	}
	columns = es_pii_row_columns(compile_subject(subject.source, subject.row, subject.owner), &uses_item);
	foreach(lc, definition->columns)
	{
		const EsColumnText *column = lfirst(lc);

		if ((column->pii != NULL || source_of(column, RelationGetDescr(rel), definition->columns) != NULL) &&
			bms_is_member(column->attno, columns))
			*problems = lappend(*problems, psprintf("subject: cannot see personal column \"%s\"; use an identifier that stays",
													column->name));
	}
}

/* A column of the table, or an expression over "row". */
static EsExpr *
compile_subject(const char *source, TupleDesc row, Oid owner)
{
	EsExprScope scope = {.row = row,.owner = owner};

	for (int i = 0; i < row->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(row, i);

		if (att->attisdropped || strcmp(NameStr(att->attname), source) != 0)
			continue;
		source = psprintf("row.%s", quote_identifier(source));
		break;
	}
	return es_expr_compile(&scope, source, TEXTOID, -1);
}

void
es_track_personal_refuse(Relation rel)
{
	List	   *problems = es_personal_problems();

	if (problems != NIL)
		es_machine_refuse(psprintf("tracking of table \"%s\"", RelationGetRelationName(rel)), problems);
}

/* ---- today ---- */

EsPii *
es_track_personal_paths(const EsTrackingText *definition)
{
	return paths_of(definition, "changed.", ".new", ".old");
}

EsPii *
es_track_personal_members(const EsTrackingText *definition)
{
	return paths_of(definition, "", "", NULL);
}

/* What stands before and behind a column's name; the other may be NULL. */
static EsPii *
paths_of(const EsTrackingText *definition, const char *before, const char *behind, const char *other)
{
	JsonbParseState *state = NULL;
	List	   *problems = NIL;
	bool		any = false;
	Jsonb	   *paths;
	ListCell   *lc;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	foreach(lc, definition->columns)
	{
		const EsColumnText *column = lfirst(lc);

		if (column->pii == NULL)
			continue;
		any = true;
		es_json_push_string(&state, psprintf("%s%s%s", before, column->name, behind), column->pii);
		if (other != NULL)
			es_json_push_string(&state, psprintf("%s%s%s", before, column->name, other), column->pii);
	}
	paths = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	return any ? es_pii_parse(paths, &problems) : NULL;
}

void
es_track_personal_compile(EsTracking *tracking, const EsTrackingText *definition, Relation rel, Oid owner)
{
	if (definition->subject == NULL || !OidIsValid(owner))
		return;
	tracking->row = CreateTupleDescCopy(RelationGetDescr(rel));
	tracking->subject = compile_subject(definition->subject, tracking->row, owner);
}

const text *
es_tracking_subject(const EsTracking *tracking, const Datum *values, const bool *nulls)
{
	EsBinding	binding = {0};
	TupleTableSlot *row;
	Datum		subject;
	bool		isnull;

	if (tracking->subject == NULL || values == NULL)
		return NULL;
	row = MakeSingleTupleTableSlot(tracking->row, &TTSOpsVirtual);
	memset(row->tts_isnull, true, tracking->row->natts * sizeof(bool));
	for (int i = 0; i < tracking->ncolumns; i++)
	{
		int			k = tracking->columns[i].attno - 1;

		row->tts_values[k] = values[k];
		row->tts_isnull[k] = nulls[k];
	}
	ExecStoreVirtualTuple(row);
	binding.row = row;
	subject = es_expr_eval(tracking->subject, &binding, &isnull);
	ExecDropSingleTupleTableSlot(row);
	return isnull || VARSIZE_ANY_EXHDR(DatumGetPointer(subject)) == 0 ? NULL :
		(const text *) DatumGetPointer(subject);
}

/* ---- for who reads ---- */

static const EsPii *
pii_of_event(const EsEvent *event)
{
	const text *category = es_event_text(event, ES_EVENT_CATEGORY);
	const EsTracking *tracking = category == NULL ? NULL : es_tracking_of_category(text_to_cstring(category));

	return tracking == NULL ? NULL :
		es_tracking_version_at(tracking, DatumGetInt64(event->value[ES_EVENT_POSITION]))->pii;
}

/* Of all times.  List of EsPii. */
static List *
declared_of(List *categories, const char *type)
{
	List	   *result = NIL;
	ListCell   *lc;
	ListCell   *inner;

	foreach(lc, es_config_list(ES_TRACKING_KIND))
	{
		const char *name = ((EsDefinition *) lfirst(lc))->name;
		const EsTracking *tracking;
		bool		is_asked = categories == NIL;

		foreach(inner, categories)
			is_asked |= strcmp(lfirst(inner), name) == 0;
		tracking = is_asked ? es_tracking_of_category(name) : NULL;
		if (tracking != NULL && type != NULL && !captures(tracking, type))
			continue;
		foreach(inner, tracking == NULL ? NIL : tracking->versions)
			if (((EsTrackingVersion *) lfirst(inner))->pii != NULL)
			result = lappend(result, ((EsTrackingVersion *) lfirst(inner))->pii);
	}
	return result;
}

/* Changes of a state have the types that the machine gives them, whichever it is by then. */
static bool
captures(const EsTracking *tracking, const char *type)
{
	const text *words[] = {tracking->created, tracking->updated, tracking->deleted};
	ListCell   *lc;
	ListCell   *inner;

	for (int i = 0; i < (int) lengthof(words); i++)
		if (strcmp(text_to_cstring(words[i]), type) == 0)
			return true;
	foreach(lc, tracking->versions)
	{
		foreach(inner, ((EsTrackingVersion *) lfirst(lc))->text.columns)
		{
			const EsColumnText *column = lfirst(inner);

			if (column->is_state || (column->event != NULL && strcmp(column->event, type) == 0))
				return true;
		}
	}
	return false;
}

/* ---- for who erases ---- */

/*
 * Nothing is changed: this is the number of streams about the subject whose row was
 * there when it was captured last.
 */
static int64
count_rows(const EsErasing *erasing, void *state)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	int64		count = 0;

	for (int i = 0; i < erasing->n_streams; i++)
	{
		const text *stream = es_stream_name(erasing->streams[i]);

		CHECK_FOR_INTERRUPTS();
		if (es_track_personal_row(stream, NULL, snapshot) != NULL)
			count++;
	}
	UnregisterSnapshot(snapshot);
	return count;
}

const EsTracking *
es_track_personal_row(const text *stream, const text *subject, Snapshot snapshot)
{
	const EsTracking *tracking =
		es_tracking_of_category(pnstrdup(VARDATA_ANY(stream), es_stream_category_length(stream)));
	bool		is_there = false;
	EsScan	   *scan;
	EsEvent		event;

	if (tracking == NULL || !tracking->is_active || !OidIsValid(tracking->relid))
		return NULL;
	scan = es_scan_stream(stream, PG_INT64_MAX, true, snapshot);
	es_scan_as_stored(scan);
	while (es_scan_next(scan, &event))
	{
		if ((event.flags & ES_EVENT_CAPTURED) == 0)
			continue;
		is_there = !es_text_same(es_event_text(&event, ES_EVENT_TYPE), tracking->deleted) &&
			(subject == NULL || es_text_same(es_event_text(&event, ES_EVENT_SUBJECT), subject));
		break;
	}
	es_scan_end(scan);
	return is_there ? tracking : NULL;
}
