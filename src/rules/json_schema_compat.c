/*
 * json_schema_compat.c
 *		Compatibility of schemas: the entries, the modes, and what a problem says.
 *
 * One schema is assumed of a value, the other is shown of it, keyword by keyword
 * (json_schema_compat_prove.c).  The compiled programs are compared, so that
 * references are followed and both drafts are one.  One reading is deliberate:
 * where a schema says nothing of additional properties, a field that it does not
 * name is taken not to be there; else no field could ever be added.  Additional
 * properties that are restricted, or closed by the other schema, go by their word.
 *
 * All memory is of a context that ends with the comparison.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "log/format.h"
#include "miscadmin.h"
#include "rules/json_schema_compat_parts.h"
#include "utils/array.h"
#include "utils/builtins.h"

/* Steps after which a comparison is given up: far more than schemas of people need. */
#define MAX_STEPS		100000
#define MAX_PROBLEMS	100

static const char *const mode_names[] = {
	[ES_COMPAT_NONE] = "none",
	[ES_COMPAT_BACKWARD] = "backward",
	[ES_COMPAT_FORWARD] = "forward",
	[ES_COMPAT_FULL] = "full",
	[ES_COMPAT_BACKWARD_TRANSITIVE] = "backward_transitive",
	[ES_COMPAT_FORWARD_TRANSITIVE] = "forward_transitive",
	[ES_COMPAT_FULL_TRANSITIVE] = "full_transitive",
};

static List *compare(const EsSchema *known, const EsSchema *asked, bool is_forward, List *lines);
static bool is_same(const EsSchema *a, const EsSchema *b);
static EsSchema *compile(Jsonb *text, bool assert_formats);
static void add_line(List **lines, char *line);

PG_FUNCTION_INFO_V1(eventsource_schema_compatibility);

Datum
eventsource_schema_compatibility(PG_FUNCTION_ARGS)
{
	EsCompatMode mode = es_compat_mode(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	EsSchema   *older = compile(PG_GETARG_JSONB_P(0), es_guc_assert_formats);
	EsSchema   *newer = compile(PG_GETARG_JSONB_P(1), es_guc_assert_formats);
	List	   *lines = es_schema_compat_problems(older, newer, mode);
	Datum	   *result = palloc(sizeof(Datum) * Max(list_length(lines), 1));
	int			count = 0;
	ListCell   *lc;

	foreach(lc, lines)
		result[count++] = CStringGetTextDatum(lfirst(lc));
	es_schema_free(older);
	es_schema_free(newer);
	PG_RETURN_ARRAYTYPE_P(construct_array(result, count, TEXTOID, -1, false, TYPALIGN_INT));
}

EsCompatMode
es_compat_mode(const char *name)
{
	for (int i = 0; i < (int) lengthof(mode_names); i++)
	{
		if (strcmp(mode_names[i], name) == 0)
			return (EsCompatMode) i;
	}
	ereport(ERROR,
			errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("unknown compatibility \"%s\"", name),
			errdetail("It says what a new version of a schema has to get along with."),
			errhint("Use none, backward, forward, full, backward_transitive, forward_transitive or full_transitive."));
}

const char *
es_compat_mode_name(EsCompatMode mode)
{
	return mode_names[mode];
}

bool
es_compat_mode_is_transitive(EsCompatMode mode)
{
	return mode >= ES_COMPAT_BACKWARD_TRANSITIVE;
}

List *
es_schema_compat_problems(const EsSchema *older, const EsSchema *newer, EsCompatMode mode)
{
	bool		is_full = mode == ES_COMPAT_FULL || mode == ES_COMPAT_FULL_TRANSITIVE;
	List	   *lines = NIL;

	if (older != NULL && newer != NULL && is_same(older, newer))
		return NIL;
	if (is_full || mode == ES_COMPAT_BACKWARD || mode == ES_COMPAT_BACKWARD_TRANSITIVE)
		lines = compare(older, newer, false, lines);
	if (is_full || mode == ES_COMPAT_FORWARD || mode == ES_COMPAT_FORWARD_TRANSITIVE)
		lines = compare(newer, older, true, lines);
	return lines;
}

/* Has nothing changed, however hard it would be to show that? */
static bool
is_same(const EsSchema *a, const EsSchema *b)
{
	JsonbValue	values[2] = {{.type = jbvBinary}, {.type = jbvBinary}};

	if (a->root->source == NULL || b->root->source == NULL || a->asserts_formats != b->asserts_formats)
		return false;
	values[0].val.binary.data = a->root->source;
	values[1].val.binary.data = b->root->source;
	return es_json_compare(&values[0], &values[1]) == 0;
}

/* The lines, and below them why "asked" does not take all that "known" takes. */
static List *
compare(const EsSchema *known, const EsSchema *asked, bool is_forward, List *lines)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;
	EsCompat	c = {.is_forward = is_forward};
	List	   *roots;
	EsFacts    *facts;
	ListCell   *lc;

	if (asked == NULL)
		return lines;
	context = AllocSetContextCreate(caller, "eventsource schema comparison", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	roots = known == NULL ? NIL : list_make1(known->root);
	facts = es_facts_of(roots, roots);
	c.same_formats = known == NULL || known->asserts_formats == asked->asserts_formats;
	if ((known != NULL && known->is_dynamic) || asked->is_dynamic)
		es_compat_problem(&c, asked->root, "$dynamicRef",
						  "cannot be compared, since it leads elsewhere from each place that leads to it");
	else if (!es_compat_prove_below(&c, facts, asked->root) && c.problems == NIL)
		es_compat_problem(&c, asked->root, "schema", "cannot be shown to be compatible");
	MemoryContextSwitchTo(caller);
	foreach(lc, c.problems)
		add_line(&lines, pstrdup(lfirst(lc)));
	MemoryContextDelete(context);
	return lines;
}

/*
 * Notes why a node does not take what is known, unless that is only a try: the
 * place of the node, the keyword and the reason.
 */
void
es_compat_problem(EsCompat *c, const EsNode *node, const char *keyword, const char *format,...)
{
	StringInfoData line;
	va_list		args;

	if (c->silent > 0 || list_length(c->problems) >= MAX_PROBLEMS)
		return;
	initStringInfo(&line);
	es_schema_append_place(&line, node);
	if (line.len == 0)
		appendStringInfoString(&line, "(schema)");
	appendStringInfo(&line, ": %s ", keyword);
	va_start(args, format);
	es_append_va(&line, format, args);
	va_end(args);
	add_line(&c->problems, line.data);
}

/* The same where a keyword asks for more than is known; known is NULL: of nothing. */
void
es_compat_changed(EsCompat *c, const EsNode *node, const char *keyword, const char *known, const char *asked)
{
	if (known == NULL)
		es_compat_problem(c, node, keyword, "%s is %s", asked, c->is_forward ? "gone" : "new");
	else if (c->is_forward)
		es_compat_problem(c, node, keyword, "widens from %s to %s", asked, known);
	else
		es_compat_problem(c, node, keyword, "narrows from %s to %s", known, asked);
}

/* Counts a step; false after too many. */
bool
es_compat_step(EsCompat *c, const EsNode *goal)
{
	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (c->steps < MAX_STEPS)
	{
		c->steps++;
		return true;
	}
	es_compat_problem(c, goal, "schema", "cannot be compared: there are too many cases");
	return false;
}

static EsSchema *
compile(Jsonb *text, bool assert_formats)
{
	List	   *problems;
	EsSchema   *schema = es_schema_compile(text, assert_formats, &problems);

	if (schema == NULL)
		es_schema_raise(problems);
	return schema;
}

static void
add_line(List **lines, char *line)
{
	ListCell   *lc;

	foreach(lc, *lines)
	{
		if (strcmp(lfirst(lc), line) == 0)
			return;
	}
	*lines = lappend(*lines, line);
}
