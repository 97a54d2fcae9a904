/*
 * track_check.c
 *		What track_table() was asked for, and whether it can be.
 *
 * All that is wrong is listed at once.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "capture/change.h"
#include "capture/track_check.h"
#include "capture/track_personal.h"
#include "catalog/pg_type.h"
#include "errors.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "log/config.h"
#include "log/guarded.h"
#include "log/json.h"
#include "rules/category.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"

static char *get_text(FunctionCallInfo fcinfo, int arg);
static char *get_name(FunctionCallInfo fcinfo, int arg);
static List *check_category(const char *category);
static List *check_other(const EsProposal *proposal, Relation rel);
static void bind_machine(const EsProposal *proposal, List **problems);
static void start_columns(const EsProposal *proposal, Relation rel, EsTrackingText *definition);
static void mark_key(EsTrackingText *definition, List *attnos);
static EsColumnText *mark(EsTrackingText *definition, const char *argument, const char *name,
						  List **problems);
static void take_lists(const EsProposal *proposal, EsTrackingText *definition, List **problems);
static List *names_of(ArrayType *array);
static void take_event_types(const EsProposal *proposal, EsTrackingText *definition, List **problems);
static void check_states(Jsonb *states, EsMachine *machine, List **problems);
static void check_edges(Jsonb *edges, EsMachine *machine, List **problems);
static void check_machine(const EsProposal *proposal, EsTrackingText *definition, List **problems);
static void raise_problems(Relation rel, List *problems);

void
es_proposal_read(FunctionCallInfo fcinfo, EsProposal *proposal)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "target" : "category"),
				 errdetail("A tracked table and the category of its streams belong together."),
				 errhint("For example: SELECT eventsource.track_table('leads', 'lead').")));
	memset(proposal, 0, sizeof(*proposal));
	proposal->target = PG_GETARG_OID(0);
	proposal->category = get_text(fcinfo, 1);
	proposal->key = get_text(fcinfo, 2);
	proposal->state_column = get_name(fcinfo, 3);
	proposal->state_machine = get_text(fcinfo, 4);
	proposal->states = PG_ARGISNULL(5) ? NULL : PG_GETARG_JSONB_P(5);
	proposal->event_types = PG_ARGISNULL(6) ? NULL : PG_GETARG_JSONB_P(6);
	proposal->reason_column = get_name(fcinfo, 7);
	proposal->actor_column = get_name(fcinfo, 8);
	proposal->columns = PG_ARGISNULL(9) ? NULL : PG_GETARG_ARRAYTYPE_P(9);
	proposal->ignore = PG_ARGISNULL(10) ? NULL : PG_GETARG_ARRAYTYPE_P(10);
	proposal->on_violation = PG_ARGISNULL(11) ? "refuse" : get_text(fcinfo, 11);
	proposal->pii = PG_ARGISNULL(12) ? NULL : PG_GETARG_JSONB_P(12);
	proposal->subject = get_text(fcinfo, 13);
}

text *
es_proposal_stream(const EsProposal *proposal)
{
	List	   *problems = check_category(proposal->category);

	if (problems != NIL)
		ereport(ERROR,
				(errcode(ES_ERRCODE_INVALID_DEFINITION),
				 errmsg("invalid category"),
				 errdetail("%s.", (char *) linitial(problems)),
				 errhint("A category is what stands before the first \"-\" in the names of its streams.")));
	return cstring_to_text(psprintf("%s-%s.%s", ES_CONFIG_CATEGORY, ES_TRACKING_KIND, proposal->category));
}

void
es_proposal_check(const EsProposal *proposal, Relation rel, EsTrackingText *definition)
{
	List	   *problems = list_concat(es_tracking_check_table(rel), check_other(proposal, rel));
	List	   *key;
	EsColumnText *column;

	if (problems != NIL)
		raise_problems(rel, problems);
	key = es_tracking_check_key(rel, proposal->key, &problems);
	start_columns(proposal, rel, definition);
	mark_key(definition, key);
	if (proposal->state_column != NULL &&
		(column = mark(definition, "state_column", proposal->state_column, &problems)) != NULL)
		column->is_state = true;
	if (proposal->reason_column != NULL &&
		(column = mark(definition, "reason_column", proposal->reason_column, &problems)) != NULL)
		column->is_reason = true;
	if (proposal->actor_column != NULL &&
		(column = mark(definition, "actor_column", proposal->actor_column, &problems)) != NULL)
		column->is_actor = true;
	take_lists(proposal, definition, &problems);
	take_event_types(proposal, definition, &problems);
	es_track_personal_check(proposal, rel, definition, &problems);
	if (strcmp(proposal->on_violation, "record") == 0)
		definition->records_violations = true;
	else if (strcmp(proposal->on_violation, "refuse") != 0)
		problems = lappend(problems, psprintf("on_violation: must be 'refuse' or 'record', not \"%s\"",
											  proposal->on_violation));
	bind_machine(proposal, &problems);
	if (problems == NIL)
		check_machine(proposal, definition, &problems);
	if (problems != NIL)
		raise_problems(rel, problems);
}

static char *
get_text(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

static char *
get_name(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : pstrdup(NameStr(*PG_GETARG_NAME(arg)));
}

static List *
check_category(const char *category)
{
	if (category[0] == '\0')
		return list_make1(pstrdup("category: must not be empty"));
	if (strlen(category) > ES_MAX_WORD - strlen("_created"))
		return list_make1(psprintf("category: has at most %d bytes", (int) (ES_MAX_WORD - strlen("_created"))));
	if (strchr(category, '-') != NULL)
		return list_make1(psprintf("category: \"%s\" has a hyphen", category));
	if (category[0] == '$')
		return list_make1(psprintf("category: \"%s\" is eventsource's own", category));
	return NIL;
}

/* One table for a category, one category for a table. */
static List *
check_other(const EsProposal *proposal, Relation rel)
{
	const EsTracking *tracking = es_tracking_of_category(proposal->category);
	List	   *problems = NIL;

	if (tracking != NULL && tracking->is_active && OidIsValid(tracking->relid) &&
		tracking->relid != RelationGetRelid(rel))
		problems = lappend(problems, psprintf("category: \"%s\" is that of table %s",
											  proposal->category, tracking->definition->table));
	tracking = es_tracking_of_table(RelationGetRelid(rel));
	if (tracking != NULL && tracking->is_active && strcmp(tracking->name, proposal->category) != 0)
		problems = lappend(problems, psprintf("the table is tracked as category \"%s\": untrack it first",
											  tracking->name));
	return problems;
}

/* ---- columns ---- */

/* All columns, those known from an earlier definition with their ids. */
static void
start_columns(const EsProposal *proposal, Relation rel, EsTrackingText *definition)
{
	const EsTracking *earlier = es_tracking_of_category(proposal->category);
	EsTrackingText none = {0};
	const EsTrackingText *base = &none;
	int			next_id = 1;
	bool		differs;
	ListCell   *lc;
	ListCell   *inner;

	if (earlier != NULL)
	{
		const EsTrackingVersion *last = llast(earlier->versions);

		base = &last->text;
		foreach(lc, earlier->versions)
		{
			foreach(inner, ((EsTrackingVersion *) lfirst(lc))->text.columns)
				next_id = Max(next_id, ((EsColumnText *) lfirst(inner))->id + 1);
		}
	}
	memset(definition, 0, sizeof(*definition));
	if (earlier != NULL && earlier->relid == RelationGetRelid(rel) && earlier->definition != NULL)
		definition->columns = es_tracking_renew(earlier->definition, RelationGetDescr(rel), false, next_id,
												&differs);
	else
		definition->columns = es_tracking_renew(base, RelationGetDescr(rel), true, next_id, &differs);
	definition->relid = RelationGetRelid(rel);
	definition->table = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
												   RelationGetRelationName(rel));
	definition->only_listed = proposal->columns != NULL;
	foreach(lc, definition->columns)
	{
		EsColumnText *column = lfirst(lc);

		column->key = 0;
		column->is_state = column->is_reason = column->is_actor = false;
		column->is_ignored = definition->only_listed;
		column->event = NULL;
	}
}

EsColumnText *
es_proposal_column(EsTrackingText *definition, const char *name)
{
	ListCell   *lc;

	foreach(lc, definition->columns)
		if (strcmp(((EsColumnText *) lfirst(lc))->name, name) == 0)
		return lfirst(lc);
	return NULL;
}

static void
mark_key(EsTrackingText *definition, List *attnos)
{
	int			place = 1;
	ListCell   *lc;
	ListCell   *inner;

	foreach(lc, attnos)
	{
		foreach(inner, definition->columns)
			if (((EsColumnText *) lfirst(inner))->attno == lfirst_int(lc))
			((EsColumnText *) lfirst(inner))->key = place++;
	}
}

static EsColumnText *
mark(EsTrackingText *definition, const char *argument, const char *name, List **problems)
{
	EsColumnText *column = es_proposal_column(definition, name);

	if (column == NULL)
		*problems = lappend(*problems, psprintf("%s: there is no column \"%s\"", argument, name));
	else if (strcmp(argument, "state_column") == 0 && column->key > 0)
		*problems = lappend(*problems, psprintf("state_column: \"%s\" is part of the key", name));
	return column;
}

/* The key and the state are captured in any case. */
static void
take_lists(const EsProposal *proposal, EsTrackingText *definition, List **problems)
{
	ListCell   *lc;

	foreach(lc, names_of(proposal->columns))
	{
		EsColumnText *column = mark(definition, "columns", lfirst(lc), problems);

		if (column != NULL)
			column->is_ignored = false;
	}
	foreach(lc, definition->columns)
	{
		EsColumnText *column = lfirst(lc);

		if (column->key > 0 || column->is_state)
			column->is_ignored = false;
	}
	foreach(lc, names_of(proposal->ignore))
	{
		EsColumnText *column = mark(definition, "ignore", lfirst(lc), problems);

		if (column == NULL)
			continue;
		if (column->key > 0 || column->is_state)
			*problems = lappend(*problems, psprintf("ignore: column \"%s\" is the %s", column->name,
													column->key > 0 ? "key" : "state"));
		column->is_ignored = true;
	}
}

static List *
names_of(ArrayType *array)
{
	List	   *names = NIL;
	Datum	   *values;
	bool	   *nulls;
	int			count;

	if (array == NULL)
		return NIL;
	deconstruct_array(array, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &values, &nulls, &count);
	for (int i = 0; i < count; i++)
		names = lappend(names, nulls[i] ? "" : NameStr(*DatumGetName(values[i])));
	return names;
}

/* ---- event types and states ---- */

static int
pairs_of(Jsonb *object, const char *argument, EsJsonPair **pairs, List **problems)
{
	JsonbValue	root;

	if (object == NULL)
		return 0;
	if (!JB_ROOT_IS_OBJECT(object))
	{
		*problems = lappend(*problems, psprintf("%s: must be an object", argument));
		return 0;
	}
	es_json_value(object, &root);
	return es_json_pairs(&root, pairs);
}

/* Edges stand apart from columns: they have an arrow. */
static void
take_event_types(const EsProposal *proposal, EsTrackingText *definition, List **problems)
{
	EsJsonPair *pairs = NULL;
	int			count = pairs_of(proposal->event_types, "event_types", &pairs, problems);
	JsonbParseState *state = NULL;
	int			edges = 0;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < count; i++)
	{
		char	   *key = es_json_string(&pairs[i].key);
		EsColumnText *column = es_proposal_column(definition, key);
		char	   *problem;

		if (pairs[i].value.type != jbvString)
			problem = pstrdup("must be the name of an event type");
		else
			problem = es_machine_name_problem(pairs[i].value.val.string.val, pairs[i].value.val.string.len);
		if (problem != NULL)
			*problems = lappend(*problems, psprintf("event_types: \"%s\": %s", key, problem));
		else if (strstr(key, "->") != NULL && column == NULL)
		{
			pushJsonbValue(&state, WJB_KEY, &pairs[i].key);
			pushJsonbValue(&state, WJB_VALUE, &pairs[i].value);
			edges++;
		}
		else if (column == NULL)
			*problems = lappend(*problems, psprintf("event_types: \"%s\" is neither a column nor an edge (OLD->NEW)", key));
		else if (column->is_state || column->key > 0 || column->is_ignored)
			*problems = lappend(*problems, psprintf("event_types: column \"%s\" is %s", key,
													column->is_ignored ? "not captured" :
													column->is_state ? "the state column: name its edges (OLD->NEW)" :
													"part of the key"));
		else
			column->event = es_json_string(&pairs[i].value);
	}
	if (edges > 0)
		definition->edges = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * Declares the category with the machine, unless it has it; what else was said
 * about the category stays.
 */
static void
bind_machine(const EsProposal *proposal, List **problems)
{
	EsDefinition *stored = es_config_read("category", proposal->category, 0);
	EsCategoryText category = {0};
	Datum		values[5];
	char		nulls[6] = "     ";
	static Oid	types[] = {TEXTOID, TEXTOID, REGCLASSOID, BOOLOID, TEXTOID};
	Oid			context;

	if (stored != NULL)
		es_category_read(stored->data, &category);
	if (proposal->state_machine == NULL || *problems != NIL ||
		(category.state_machine != NULL && strcmp(category.state_machine, proposal->state_machine) == 0))
		return;
	context = category.context == NULL ? InvalidOid : es_guarded_relid(category.context);
	values[0] = CStringGetTextDatum(proposal->category);
	values[1] = CStringGetTextDatum(proposal->state_machine);
	values[2] = ObjectIdGetDatum(context);
	values[3] = BoolGetDatum(category.strict);
	values[4] = category.subject == NULL ? (Datum) 0 : CStringGetTextDatum(category.subject);
	nulls[2] = OidIsValid(context) ? ' ' : 'n';
	nulls[4] = category.subject == NULL ? 'n' : ' ';
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("SELECT eventsource.create_category($1, $2, $3, $4, $5)", 5, types, values, nulls,
							  false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not declare the category");
	SPI_finish();
}

static void
check_machine(const EsProposal *proposal, EsTrackingText *definition, List **problems)
{
	EsMachine  *machine = es_category_get(proposal->category)->machine;
	ListCell   *lc;
	List	   *edges = NIL;

	definition->states = proposal->states;
	if (machine == NULL)
	{
		if (proposal->state_column != NULL)
			*problems = lappend(*problems, psprintf("state_column: category \"%s\" follows no state machine: name one with state_machine",
													proposal->category));
		if (proposal->states != NULL || definition->edges != NULL)
			*problems = lappend(*problems, pstrdup("states and edges in event_types need a state machine"));
		return;
	}
	if (proposal->state_column == NULL)
		*problems = lappend(*problems,
							psprintf("state_column: category \"%s\" follows state machine \"%s\": say which column holds the state",
									 proposal->category, text_to_cstring(es_machine_label(machine))));
	check_states(definition->states, machine, problems);
	check_edges(definition->edges, machine, problems);
	if (*problems != NIL)
		return;
	if (definition->edges != NULL)
		edges = es_tracking_edges(definition->edges);
	foreach(lc, es_edge_ambiguities(machine, edges))
		* problems = lappend(*problems, lfirst(lc));
}

static void
check_states(Jsonb *states, EsMachine *machine, List **problems)
{
	EsJsonPair *pairs = NULL;
	int			count = pairs_of(states, "states", &pairs, problems);

	for (int i = 0; i < count; i++)
	{
		char	   *word = es_json_string(&pairs[i].key);

		if (pairs[i].value.type != jbvString)
			*problems = lappend(*problems, psprintf("states: \"%s\" must be the name of a state", word));
		else if (!es_machine_knows_state(machine, cstring_to_text(es_json_string(&pairs[i].value))))
			*problems = lappend(*problems, psprintf("states: \"%s\": \"%s\" is no state of state machine \"%s\"", word,
													es_json_string(&pairs[i].value),
													text_to_cstring(es_machine_label(machine))));
	}
}

/* "OLD->NEW": both are states, OLD may be empty; the type leads from one to the other. */
static void
check_edges(Jsonb *edges, EsMachine *machine, List **problems)
{
	EsJsonPair *pairs = NULL;
	int			count = pairs_of(edges, "event_types", &pairs, problems);

	for (int i = 0; i < count; i++)
	{
		char	   *name = es_json_string(&pairs[i].key);
		char	   *arrow = strstr(name, "->");
		text	   *from = arrow == name ? NULL : cstring_to_text_with_len(name, arrow - name);
		text	   *to = cstring_to_text(arrow + 2);
		text	   *type = cstring_to_text(es_json_string(&pairs[i].value));
		bool		leads = false;
		ListCell   *lc;

		foreach(lc, es_machine_choices(machine, from))
		{
			const EsChoice *choice = lfirst(lc);

			leads |= choice->target != NULL &&
				strcmp(text_to_cstring(choice->target), text_to_cstring(to)) == 0 &&
				strcmp(text_to_cstring(choice->type), text_to_cstring(type)) == 0;
		}
		if (!leads)
			*problems = lappend(*problems, psprintf("event_types: \"%s\": no edge of state machine \"%s\" leads there by \"%s\"",
													name, text_to_cstring(es_machine_label(machine)),
													text_to_cstring(type)));
	}
}

static void
raise_problems(Relation rel, List *problems)
{
	StringInfoData lines;
	ListCell   *lc;

	initStringInfo(&lines);
	foreach(lc, problems)
		appendStringInfo(&lines, "%s%s", lines.len == 0 ? "" : "\n", (char *) lfirst(lc));
	ereport(ERROR,
			(errcode(ES_ERRCODE_INVALID_DEFINITION),
			 errmsg("table \"%s\" cannot be tracked like this", RelationGetRelationName(rel)),
			 errdetail_internal("%s", lines.data),
			 errhint("Nothing was changed. Mend all of it and try again.")));
}
