/*
 * event_view.c
 *		create_event_view: a view with the events of one type, whose data its schema
 *		makes columns.
 *
 * The view is the caller's: made with the caller's rights, where the caller says, and
 * who reads it needs rights of his own on the events (security_invoker), so that it
 * shows nobody more than he sees anyway.  Made again, it keeps its columns in their
 * order and gets the new ones at its end, as CREATE OR REPLACE VIEW wants it.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "errors.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "log/catalog.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "rules/event_type.h"
#include "rules/json_schema_column.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/varlena.h"

/* The columns that every such view begins with; comments are those of events. */
static const char *const envelope[] = {
	"position", "stream", "category", "key", "subject", "version", "schema_version", "actor", "reason",
	"from_state", "to_state", "occurred_at", "recorded_at", "metadata", "data"
};

typedef struct ViewColumn
{
	char		name[NAMEDATALEN];
	EsSchemaColumn *from;
} ViewColumn;

typedef struct View
{
	char	   *type;
	char	   *category;		/* NULL: any */
	const EsTypeVersion *version;
	Oid			namespace_id;
	char	   *relname;
	char	   *name;			/* qualified and quoted */
	List	   *columns;		/* of ViewColumn */
} View;

static const EsTypeVersion *find_version(const View *view, FunctionCallInfo fcinfo);
static void name_columns(View *view, List *columns);
static bool is_taken(const View *view, const char *name);
static void keep_order(View *view, Oid relid);
static ViewColumn *take_column(List **columns, const char *name);
static void refuse_column(const View *view, const char *column, const char *why);
static void create_view(const View *view);
static void comment_columns(const View *view);

PG_FUNCTION_INFO_V1(eventsource_create_event_view);

/* create_event_view(type, view_name, category, version): the view */
Datum
eventsource_create_event_view(PG_FUNCTION_ARGS)
{
	View		view = {0};
	List	   *problems;
	EsSchema   *schema;
	RangeVar   *name;
	Oid			relid;
	int			nest_level;

	PreventCommandIfReadOnly("eventsource.create_event_view()");
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("type and view_name must not be null"),
				 errdetail("A view is made of the events of one type, under a name."),
				 errhint("For example: SELECT eventsource.create_event_view('note_added', 'notes_added').")));
	view.type = text_to_cstring(PG_GETARG_TEXT_PP(0));
	view.category = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	view.version = find_version(&view, fcinfo);

	name = makeRangeVarFromNameList(textToQualifiedNameList(PG_GETARG_TEXT_PP(1)));
	view.namespace_id = RangeVarGetCreationNamespace(name);
	view.relname = name->relname;
	view.name = quote_qualified_identifier(get_namespace_name(view.namespace_id), name->relname);

	schema = es_schema_compile(view.version->schema, view.version->asserts_formats, &problems);
	if (schema == NULL)
		es_schema_raise(problems);
	name_columns(&view, es_schema_columns(schema));
	relid = get_relname_relid(view.relname, view.namespace_id);
	if (OidIsValid(relid))
		keep_order(&view, relid);

	nest_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	SPI_connect();
	create_view(&view);
	comment_columns(&view);
	SPI_finish();
	AtEOXact_GUC(true, nest_level);
	es_schema_free(schema);
	PG_RETURN_OID(get_relname_relid(view.relname, view.namespace_id));
}

/* The version whose schema makes the columns; an error if there is none. */
static const EsTypeVersion *
find_version(const View *view, FunctionCallInfo fcinfo)
{
	EsEventType *type = es_event_type_read(view->category, view->type);
	const EsTypeVersion *version;

	if (type == NULL && view->category != NULL)
		type = es_event_type_read(NULL, view->type);
	version = type == NULL ? NULL : PG_ARGISNULL(3) ? es_event_type_latest(type)
		: es_event_type_version(type, PG_GETARG_INT32(3));
	if (version == NULL)
		ereport(ERROR,
				(errcode(ES_ERRCODE_UNKNOWN_EVENT_TYPE),
				 type == NULL ? errmsg("event type \"%s\" is not registered", view->type)
				 : errmsg("event type \"%s\" has no version %d", view->type, PG_GETARG_INT32(3)),
				 errdetail("The columns of a view of events come from the schema of their type."),
				 type == NULL && view->category == NULL ?
				 errhint("The view eventsource.event_type_versions lists what is registered. A type of one category alone needs that: category => ...") :
				 errhint("The view eventsource.event_type_versions lists what is registered.")));
	if (version->schema == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("version %d of event type \"%s\" has no schema", version->number, view->type),
				 errdetail("The columns of a view of events come from the schema of their type."),
				 errhint("Register a version with a schema: eventsource.register_event_type().")));
	return version;
}

/* Names are those of the properties, made fit and different from one another. */
static void
name_columns(View *view, List *columns)
{
	ListCell   *lc;

	foreach(lc, columns)
	{
		ViewColumn *column = palloc0(sizeof(ViewColumn));
		char	   *wanted;
		int			length;

		column->from = lfirst(lc);
		wanted = column->from->property;
		if (wanted[0] == '\0' || is_taken(view, wanted))
			wanted = psprintf("data_%s", wanted);
		length = pg_mbcliplen(wanted, strlen(wanted), NAMEDATALEN - 1);
		memcpy(column->name, wanted, length);
		for (int n = 2; is_taken(view, column->name); n++)
		{
			char	   *suffix = psprintf("_%d", n);

			CHECK_FOR_INTERRUPTS();
			length = pg_mbcliplen(wanted, strlen(wanted), NAMEDATALEN - 1 - strlen(suffix));
			snprintf(column->name, NAMEDATALEN, "%.*s%s", length, wanted, suffix);
		}
		view->columns = lappend(view->columns, column);
	}
}

static bool
is_taken(const View *view, const char *name)
{
	ListCell   *lc;

	for (int i = 0; i < (int) lengthof(envelope); i++)
	{
		if (strcmp(envelope[i], name) == 0)
			return true;
	}
	foreach(lc, view->columns)
	{
		if (strcmp(((ViewColumn *) lfirst(lc))->name, name) == 0)
			return true;
	}
	return false;
}

/* The columns of the view that is there come first, as they are; an error if they cannot. */
static void
keep_order(View *view, Oid relid)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	TupleDesc	columns = RelationGetDescr(rel);
	List	   *ordered = NIL;

	for (int i = 0; i < Max(columns->natts, (int) lengthof(envelope)); i++)
	{
		Form_pg_attribute attribute = i < columns->natts ? TupleDescAttr(columns, i) : NULL;
		ViewColumn *column;

		if (i < (int) lengthof(envelope))
		{
			if (rel->rd_rel->relkind != RELKIND_VIEW || attribute == NULL ||
				strcmp(NameStr(attribute->attname), envelope[i]) != 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_TABLE),
						 errmsg("%s exists, and is no view of events", view->name),
						 errdetail("Only a view that create_event_view made is made anew."),
						 errhint("Choose another name.")));
			continue;
		}
		column = take_column(&view->columns, NameStr(attribute->attname));
		if (column == NULL)
			refuse_column(view, NameStr(attribute->attname), "is not in the schema");
		else if (column->from->type != attribute->atttypid)
			refuse_column(view, column->name, psprintf("would become %s", format_type_be(column->from->type)));
		ordered = lappend(ordered, column);
	}
	relation_close(rel, NoLock);
	view->columns = list_concat(ordered, view->columns);
}

static ViewColumn *
take_column(List **columns, const char *name)
{
	ListCell   *lc;

	foreach(lc, *columns)
	{
		ViewColumn *column = lfirst(lc);

		if (strcmp(column->name, name) == 0)
		{
			*columns = foreach_delete_current(*columns, lc);
			return column;
		}
	}
	return NULL;
}

static void
refuse_column(const View *view, const char *column, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
			 errmsg("view %s cannot be made anew", view->name),
			 errdetail("Its column \"%s\" %s.", column, why),
			 errhint("Make a view of another name, or drop this one first: DROP VIEW %s.", view->name)));
}

static void
create_view(const View *view)
{
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE OR REPLACE VIEW %s WITH (security_invoker = true) AS SELECT", view->name);
	for (int i = 0; i < (int) lengthof(envelope); i++)
		appendStringInfo(&sql, "%s e.%s", i > 0 ? "," : "", quote_identifier(envelope[i]));
	foreach(lc, view->columns)
	{
		const ViewColumn *column = lfirst(lc);

		appendStringInfo(&sql, ", eventsource.event_field(e.data, %s, NULL::%s) AS %s",
						 quote_literal_cstr(column->from->property),
						 format_type_be_qualified(column->from->type), quote_identifier(column->name));
	}
	appendStringInfo(&sql, " FROM eventsource.events e WHERE e.type = %s", quote_literal_cstr(view->type));
	if (view->category != NULL)
		appendStringInfo(&sql, " AND e.category = %s", quote_literal_cstr(view->category));
	es_catalog_run("%s", sql.data);
	es_catalog_run("COMMENT ON VIEW %s IS %s", view->name,
				   quote_literal_cstr(view->version->description != NULL ? view->version->description
									  : psprintf("Events of type %s.", view->type)));
}

/* Those of data, whose descriptions are in the schema; the others are as in events. */
static void
comment_columns(const View *view)
{
	ListCell   *lc;

	es_catalog_run("COMMENT ON COLUMN %s.data IS %s", view->name,
				   quote_literal_cstr("All of the payload; what does not fit into a column is only here."));
	foreach(lc, view->columns)
	{
		const ViewColumn *column = lfirst(lc);

		es_catalog_run("COMMENT ON COLUMN %s.%s IS %s", view->name, quote_identifier(column->name),
					   column->from->description == NULL ? "NULL" : quote_literal_cstr(column->from->description));
	}
}
