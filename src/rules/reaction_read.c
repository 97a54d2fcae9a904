/*
 * reaction_read.c
 *		From the definition of a reaction to its compiled form.
 *
 * What is proposed is read with a list for its problems, which takes subtransactions;
 * what is stored was good once, and raises the first error that it has come to have.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "log/attempt.h"
#include "log/json.h"
#include "nodes/bitmapset.h"
#include "rules/category.h"
#include "rules/category_list.h"
#include "rules/reaction_parts.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/rel.h"

/* After that much, what is not done however late it is, is late. */
#define DEFAULT_SKIP	"5 minutes"

/* Nothing is waited for longer than a thousand years. */
#define MAX_MONTHS		(1000 * 12)

typedef struct Reader
{
	EsExprScope scope;
	List	  **problems;		/* NULL: they are raised */
} Reader;

/* An expression, or a length of time, on its way. */
typedef struct Task
{
	const EsExprScope *scope;
	char	   *source;
	Oid			type;
	EsExpr	   *expr;
	Interval   *interval;
} Task;

/* What an action can say, by what it is. */
typedef struct ActionForm
{
	const char *name;
	const char *members[5];
} ActionForm;

static const ActionForm forms[] = {
	[ES_REACT_ENQUEUE] = {"enqueue", {"payload", "order_key", "priority", "max_attempts"}},
	[ES_REACT_APPEND] = {"append", {"stream", "data", "reason", "occurred_at"}},
	[ES_REACT_CANCEL] = {"cancel", {NULL}},
	[ES_REACT_CALL] = {"call", {NULL}},
};

static void open_scope(Reader *reader, EsReaction *reaction);
static void read_names(Reader *reader, JsonbContainer *definition, EsReaction *reaction);
static void read_steps(Reader *reader, const JsonbValue *action, EsReaction *reaction);
static void read_step(Reader *reader, const char *path, const JsonbValue *value, EsReactionStep *step);
static void read_action(Reader *reader, const char *path, const JsonbValue *value, bool is_step,
						EsReactionAction *action);
static bool find_act(Reader *reader, const char *path, const JsonbValue *value, EsReactionAct *act);
static void read_member(Reader *reader, const char *path, EsReactionAction *action, const char *name,
						const JsonbValue *value);
static void read_object(Reader *reader, const char *path, EsReactionAction *action,
						const JsonbValue *value);
static void read_cancelled(Reader *reader, const char *path, EsReactionAction *action,
						   const JsonbValue *value);
static void read_settings(Reader *reader, JsonbContainer *definition, EsReaction *reaction);
static void read_setting(Reader *reader, EsReaction *reaction, const char *name, const JsonbValue *value);
static char *read_name(Reader *reader, const char *path, const JsonbValue *value, int max);
static EsExpr *read_expr(Reader *reader, const char *path, const JsonbValue *value, Oid type);
static EsExpr *read_member_expr(Reader *reader, JsonbContainer *object, const char *name, Oid type);
static EsExpr *read_key(Reader *reader, JsonbContainer *definition);
static Interval *read_interval(Reader *reader, const char *path, const JsonbValue *value);
static Interval *to_interval(Reader *reader, const char *path, char *source);
static int32 read_number(Reader *reader, const char *path, const JsonbValue *value, int32 min, int32 max);
static bool read_bool(Reader *reader, const char *path, const JsonbValue *value);
static void complain(Reader *reader, char *problem);
static void compile_expr(void *arg);
static void parse_interval(void *arg);
static bool is_bad_input(int sqlstate);

EsReaction *
es_reaction_compile(const char *name, Jsonb *definition, Oid definer, List **problems)
{
	Reader		reader = {.scope = {.has_state = true,.owner = definer},.problems = problems};
	EsReaction *reaction = palloc0(sizeof(EsReaction));
	JsonbContainer *root = &definition->root;
	JsonbValue	buffer;
	JsonbValue *action = es_json_find(root, "action", &buffer);

	reaction->name = pstrdup(name);
	reaction->definer = definer;
	read_names(&reader, root, reaction);
	if (problems != NULL && *problems != NIL)
		return NULL;
	open_scope(&reader, reaction);
	reaction->condition = read_member_expr(&reader, root, "condition", BOOLOID);
	reaction->key = read_key(&reader, root);
	reaction->run_at = read_member_expr(&reader, root, "run_at", TIMESTAMPTZOID);
	read_settings(&reader, root, reaction);
	if (action == NULL || !es_json_is_object(action))
		complain(&reader, pstrdup("action: must be an object"));
	else
		read_steps(&reader, action, reaction);
	if (problems != NULL && *problems != NIL)
		return NULL;
	for (int i = 0; i < reaction->n_steps; i++)
	{
		es_reaction_find_category(reaction, &reaction->step[i].action);
		if (reaction->step[i].compensate != NULL)
			es_reaction_find_category(reaction, reaction->step[i].compensate);
	}
	return reaction;
}

static void
read_names(Reader *reader, JsonbContainer *definition, EsReaction *reaction)
{
	char	   *problem;

	reaction->category = es_json_find_string(definition, "category");
	reaction->type = es_json_find_string(definition, "type");
	if (reaction->category == NULL)
		complain(reader, pstrdup("category: must be given"));
	else if ((problem = es_category_name_problem(reaction->category, strlen(reaction->category))) != NULL)
		complain(reader, psprintf("category: %s", problem));
	if (reaction->type == NULL || reaction->type[0] == '\0' || strlen(reaction->type) > ES_MAX_WORD)
		complain(reader, psprintf("type: must have 1 to %d bytes; * is every type", ES_MAX_WORD));
}

/* Of the category's context as it is now. */
static void
open_scope(Reader *reader, EsReaction *reaction)
{
	Oid			context = es_category_get(reaction->category)->context;
	Relation	rel;

	if (!OidIsValid(context))
		return;
	rel = table_open(context, AccessShareLock);
	reader->scope.row = CreateTupleDescCopy(RelationGetDescr(rel));
	table_close(rel, AccessShareLock);
	reaction->context = context;
}

/* ---- what is done ---- */

static void
read_steps(Reader *reader, const JsonbValue *action, EsReaction *reaction)
{
	JsonbValue	buffer;
	JsonbValue *steps = es_json_find(action->val.binary.data, "steps", &buffer);
	JsonbValue *elements;

	if (steps == NULL)
	{
		reaction->n_steps = 1;
		reaction->step = palloc0(sizeof(EsReactionStep));
		read_action(reader, "action", action, false, &reaction->step->action);
		reaction->is_immediate = reaction->run_at == NULL && reaction->step->action.act != ES_REACT_CALL;
	}
	else if (JsonContainerSize(action->val.binary.data) > 1)
		complain(reader, pstrdup("action: beside steps nothing else can be said"));
	else if (!es_json_is_array(steps) || (reaction->n_steps = es_json_elements(steps, &elements)) == 0 ||
			 reaction->n_steps > ES_REACTION_MAX_STEPS)
		complain(reader, psprintf("action.steps: must be an array of 1 to %d actions", ES_REACTION_MAX_STEPS));
	else
	{
		reaction->step = palloc0(reaction->n_steps * sizeof(EsReactionStep));
		for (int i = 0; i < reaction->n_steps; i++)
			read_step(reader, psprintf("action.steps[%d]", i + 1), &elements[i], &reaction->step[i]);
	}
	for (int i = 0; i < reaction->n_steps && reaction->step != NULL; i++)
		if (reaction->step[i].action.act == ES_REACT_CANCEL && reaction->key == NULL)
			complain(reader, pstrdup("key: must be given, since what is cancelled is what has the same key"));
}

static void
read_step(Reader *reader, const char *path, const JsonbValue *value, EsReactionStep *step)
{
	JsonbValue	buffer;
	JsonbValue *member;

	read_action(reader, path, value, true, &step->action);
	if (!es_json_is_object(value))
		return;
	member = es_json_find(value->val.binary.data, "wait", &buffer);
	if (member != NULL)
		step->wait = read_interval(reader, psprintf("%s.wait", path), member);
	member = es_json_find(value->val.binary.data, "compensate", &buffer);
	if (member == NULL)
		return;
	step->compensate = palloc0(sizeof(EsReactionAction));
	path = psprintf("%s.compensate", path);
	read_action(reader, path, member, false, step->compensate);
	if (step->compensate->act == ES_REACT_CANCEL)
		complain(reader, psprintf("%s: can be enqueue, append or call", path));
}

static void
read_action(Reader *reader, const char *path, const JsonbValue *value, bool is_step, EsReactionAction *action)
{
	EsJsonPair *pairs;
	int			count;

	if (!es_json_is_object(value))
	{
		complain(reader, psprintf("%s: must be an object", path));
		return;
	}
	if (!find_act(reader, path, value, &action->act))
		return;
	count = es_json_pairs(value, &pairs);
	for (int i = 0; i < count; i++)
	{
		char	   *name = es_json_string(&pairs[i].key);
		const char *where = psprintf("%s.%s", path, name);

		if (is_step && (strcmp(name, "wait") == 0 || strcmp(name, "compensate") == 0))
			continue;
		if (strcmp(name, forms[action->act].name) == 0)
			read_object(reader, where, action, &pairs[i].value);
		else
			read_member(reader, where, action, name, &pairs[i].value);
	}
	if (action->act == ES_REACT_APPEND && es_json_find(value->val.binary.data, "stream", NULL) == NULL)
		complain(reader, psprintf("%s.stream: must be given: an expression for the stream to append to", path));
}

/* Which of them the action names: one. */
static bool
find_act(Reader *reader, const char *path, const JsonbValue *value, EsReactionAct *act)
{
	int			found = 0;

	for (int i = 0; i < (int) lengthof(forms); i++)
	{
		if (es_json_find(value->val.binary.data, forms[i].name, NULL) == NULL)
			continue;
		*act = (EsReactionAct) i;
		found++;
	}
	if (found != 1)
		complain(reader, psprintf("%s: must have one of enqueue, append, cancel, call%s", path,
								  strcmp(path, "action") == 0 ? " and steps" : ""));
	return found == 1;
}

/* What is said beside. */
static void
read_member(Reader *reader, const char *path, EsReactionAction *action, const char *name,
			const JsonbValue *value)
{
	const ActionForm *form = &forms[action->act];
	bool		is_known = false;

	for (int i = 0; i < (int) lengthof(form->members) && form->members[i] != NULL; i++)
		is_known = is_known || strcmp(name, form->members[i]) == 0;
	if (!is_known)
		complain(reader, psprintf("%s: there is no such member of %s", path, form->name));
	else if (strcmp(name, "payload") == 0)
		action->payload = read_expr(reader, path, value, JSONBOID);
	else if (strcmp(name, "order_key") == 0)
		action->order_key = read_expr(reader, path, value, TEXTOID);
	else if (strcmp(name, "priority") == 0)
		action->priority = read_number(reader, path, value, PG_INT32_MIN, PG_INT32_MAX);
	else if (strcmp(name, "max_attempts") == 0)
		action->max_attempts = read_number(reader, path, value, 1, ES_MAX_ATTEMPTS);
	else if (strcmp(name, "stream") == 0)
		action->stream = read_expr(reader, path, value, TEXTOID);
	else if (strcmp(name, "data") == 0)
		action->data = read_expr(reader, path, value, JSONBOID);
	else if (strcmp(name, "occurred_at") == 0)
		action->occurred_at = read_expr(reader, path, value, TIMESTAMPTZOID);
	else
		action->reason = read_expr(reader, path, value, TEXTOID);
}

/* The queue, the type, the reactions or the function. */
static void
read_object(Reader *reader, const char *path, EsReactionAction *action, const JsonbValue *value)
{
	char	   *name;

	switch (action->act)
	{
		case ES_REACT_ENQUEUE:
			action->queue = read_name(reader, path, value, ES_MAX_WORD);
			if (action->queue != NULL && action->queue[0] == '$')
				complain(reader, psprintf("%s: queues whose names begin with $ are the log's own", path));
			break;
		case ES_REACT_APPEND:
			name = read_name(reader, path, value, ES_MAX_WORD);
			action->type = name == NULL ? NULL : cstring_to_text(name);
			break;
		case ES_REACT_CANCEL:
			read_cancelled(reader, path, action, value);
			break;
		case ES_REACT_CALL:
			name = read_name(reader, path, value, ES_MAX_KEY);
			action->function = name == NULL || strchr(name, '(') != NULL ? name :
				psprintf("%s(eventsource.events,jsonb)", name);
			break;
	}
}

static void
read_cancelled(Reader *reader, const char *path, EsReactionAction *action, const JsonbValue *value)
{
	JsonbValue *elements;
	int			count;
	char	   *name;

	if (!es_json_is_array(value))
	{
		name = read_name(reader, path, value, ES_REACTION_MAX_NAME);
		action->reactions = name == NULL ? NIL : list_make1(name);
		return;
	}
	count = es_json_elements(value, &elements);
	if (count == 0)
		complain(reader, psprintf("%s: must name a reaction", path));
	for (int i = 0; i < count; i++)
	{
		name = read_name(reader, path, &elements[i], ES_REACTION_MAX_NAME);
		if (name != NULL)
			action->reactions = lappend(action->reactions, name);
	}
}

/* ---- settings ---- */

static void
read_settings(Reader *reader, JsonbContainer *definition, EsReaction *reaction)
{
	JsonbValue	buffer;
	JsonbValue *settings = es_json_find(definition, "settings", &buffer);
	EsJsonPair *pairs;
	int			count;

	if (settings == NULL || settings->type == jbvNull)
		return;
	if (!es_json_is_object(settings))
	{
		complain(reader, pstrdup("settings: must be an object"));
		return;
	}
	count = es_json_pairs(settings, &pairs);
	for (int i = 0; i < count; i++)
		read_setting(reader, reaction, es_json_string(&pairs[i].key), &pairs[i].value);
	if (reaction->past == ES_PAST_RUN && reaction->max_past != NULL)
		complain(reader, pstrdup("settings.max_past: is for past \"cap\" or \"skip\""));
	if (reaction->past == ES_PAST_CAP && reaction->max_past == NULL)
		complain(reader, pstrdup("settings.max_past: must be given for past \"cap\": how late is too late"));
	if (reaction->past == ES_PAST_SKIP && reaction->max_past == NULL)
		reaction->max_past = to_interval(reader, "settings.max_past", DEFAULT_SKIP);
}

static void
read_setting(Reader *reader, EsReaction *reaction, const char *name, const JsonbValue *value)
{
	const char *path = psprintf("settings.%s", name);
	char	   *word = value->type == jbvString ? es_json_string(value) : "";

	if (strcmp(name, "past") == 0)
	{
		if (strcmp(word, "skip") == 0)
			reaction->past = ES_PAST_SKIP;
		else if (strcmp(word, "cap") == 0)
			reaction->past = ES_PAST_CAP;
		else if (strcmp(word, "run") != 0)
			complain(reader, psprintf("%s: must be \"run\", \"skip\" or \"cap\"", path));
	}
	else if (strcmp(name, "on_conflict") == 0)
	{
		reaction->keeps = strcmp(word, "keep") == 0;
		if (!reaction->keeps && strcmp(word, "replace") != 0)
			complain(reader, psprintf("%s: must be \"replace\" or \"keep\"", path));
	}
	else if (strcmp(name, "max_past") == 0)
		reaction->max_past = read_interval(reader, path, value);
	else if (strcmp(name, "imports") == 0)
		reaction->imports = read_bool(reader, path, value);
	else if (strcmp(name, "allow_cycle") == 0)
		reaction->is_allowed_cycle = read_bool(reader, path, value);
	else
		complain(reader, psprintf("%s: there is no such setting; there are past, max_past, imports, "
								  "on_conflict and allow_cycle", path));
}

/* ---- values ---- */

static char *
read_name(Reader *reader, const char *path, const JsonbValue *value, int max)
{
	if (value->type == jbvString && value->val.string.len > 0 && value->val.string.len <= max)
		return es_json_string(value);
	complain(reader, psprintf("%s: must be a name of 1 to %d bytes", path, max));
	return NULL;
}

static EsExpr *
read_member_expr(Reader *reader, JsonbContainer *object, const char *name, Oid type)
{
	JsonbValue	buffer;
	JsonbValue *value = es_json_find(object, name, &buffer);

	return value == NULL || value->type == jbvNull ? NULL : read_expr(reader, name, value, type);
}

static EsExpr *
read_expr(Reader *reader, const char *path, const JsonbValue *value, Oid type)
{
	Task		task = {.scope = &reader->scope,.type = type};
	char	   *problem;

	if (value->type != jbvString)
	{
		complain(reader, psprintf("%s: must be a string with an SQL expression", path));
		return NULL;
	}
	task.source = es_json_string(value);
	if (reader->problems != NULL && (problem = es_expr_problem(compile_expr, &task)) != NULL)
	{
		complain(reader, psprintf("%s: %s", path, problem));
		return NULL;
	}
	compile_expr(&task);
	return task.expr;
}

/*
 * What is proposed must be of a type of texts: jsonb would be taken for one with its quotes, which
 * the same key taken out with ->> has not.
 */
static EsExpr *
read_key(Reader *reader, JsonbContainer *definition)
{
	EsExpr	   *key = read_member_expr(reader, definition, "key", TEXTOID);
	EsExpr	   *uncast;
	char		category;
	bool		is_preferred;

	if (key == NULL || reader->problems == NULL)
		return key;
	uncast = read_member_expr(reader, definition, "key", InvalidOid);
	if (uncast == NULL)
		return key;
	get_type_category_preferred(es_expr_type(uncast), &category, &is_preferred);
	if (category != TYPCATEGORY_STRING)
		complain(reader, psprintf("key: must be text, not %s; take it out of event.data with ->>, or cast it: (...)::text",
								  format_type_be(es_expr_type(uncast))));
	return key;
}

static void
compile_expr(void *arg)
{
	Task	   *task = arg;

	task->expr = es_expr_compile(task->scope, task->source, task->type, -1);
}

static Interval *
read_interval(Reader *reader, const char *path, const JsonbValue *value)
{
	if (value->type == jbvString)
		return to_interval(reader, path, es_json_string(value));
	complain(reader, psprintf("%s: must be a length of time like \"3 days\"", path));
	return NULL;
}

static Interval *
to_interval(Reader *reader, const char *path, char *source)
{
	Task		task = {.source = source};

	if (reader->problems == NULL)
		parse_interval(&task);
	else if (es_attempt(parse_interval, &task, is_bad_input) != NULL)
		task.interval = NULL;
	else
		parse_interval(&task);
	if (task.interval != NULL && task.interval->month >= 0 && task.interval->month <= MAX_MONTHS &&
		task.interval->day >= 0 && task.interval->day <= MAX_MONTHS * 31 &&
		task.interval->time >= 0 && task.interval->time <= MAX_MONTHS * 31 * USECS_PER_DAY)
		return task.interval;
	complain(reader, psprintf("%s: must be a length of time like \"3 days\"", path));
	return NULL;
}

static void
parse_interval(void *arg)
{
	Task	   *task = arg;

	task->interval = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(task->source),
														   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

static bool
is_bad_input(int sqlstate)
{
	return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION);
}

static int32
read_number(Reader *reader, const char *path, const JsonbValue *value, int32 min, int32 max)
{
	char	   *end = "";
	long		number = 0;

	errno = 0;
	if (value->type == jbvNumeric)
		number = strtol(numeric_normalize(value->val.numeric), &end, 10);
	if (value->type == jbvNumeric && *end == '\0' && errno == 0 && number >= min && number <= max)
		return (int32) number;
	complain(reader, psprintf("%s: must be a whole number from %d to %d", path, min, max));
	return 0;
}

static bool
read_bool(Reader *reader, const char *path, const JsonbValue *value)
{
	if (value->type == jbvBool)
		return value->val.boolean;
	complain(reader, psprintf("%s: must be true or false", path));
	return false;
}

static void
complain(Reader *reader, char *problem)
{
	if (reader->problems == NULL)
		elog(ERROR, "stored definition of a reaction is not valid: %s", problem);
	*reader->problems = lappend(*reader->problems, problem);
}
