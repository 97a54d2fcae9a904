/*
 * react_value.c
 *		What the steps of reactions say of an event: jobs, drafts, metadata.
 *
 * Expressions have the definer's rights by themselves (rules/expr.h); what they make, too, is
 * written with his: who appends the event needs no right on what follows from it, and is told
 * nothing of it that he may not read.
 */
#include "postgres.h"

#include "append/draft.h"
#include "append/queue.h"
#include "append/react_parts.h"
#include "catalog/pg_type.h"
#include "log/attempt.h"
#include "log/json.h"
#include "log/rights.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

static void describe_use(void *arg);
static void set_occurred_at(EsReactValues *values, EsExpr *expr, EsDraft *draft);
static text *to_word(const char *format, const char *name);
static int64 cancel(const EsReaction *reaction, const text *job_key);
static int	compare_cells(const ListCell *a, const ListCell *b);
static void refuse_depth(const JsonbValue *names, int count, const char *last);
static void push_path(JsonbParseState **state, const JsonbValue *names, int count, const char *last);

/* ---- rights ---- */

void
es_react_expect_sender(Oid definer, const char *queue)
{
	Oid			user;
	int			security;

	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(definer, security | SECURITY_LOCAL_USERID_CHANGE);
	es_queue_expect_sender(cstring_to_text(queue));
	SetUserIdAndSecContext(user, security);
}

void
es_react_expect_writer(Oid definer, const text *stream)
{
	Oid			user;
	int			security;

	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(definer, security | SECURITY_LOCAL_USERID_CHANGE);
	es_rights_expect_write_stream(stream);
	SetUserIdAndSecContext(user, security);
}

void
es_react_expect_owner(const char *reaction, Oid owner, Oid role)
{
	if (!OidIsValid(owner) || has_privs_of_role(role, owner))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("must be owner of reaction \"%s\"", reaction),
			 errdetail("It belongs to role \"%s\".", GetUserNameFromId(owner, false)),
			 errhint("Let that role, or a member of it, do it.")));
}

/* ---- errors ---- */

void
es_react_begin_use(EsReactUse *use, const EsReaction *reaction, const EsEvent *event)
{
	use->reaction = reaction->name;
	use->what = NULL;
	use->is_far = false;
	use->position = DatumGetInt64(event->value[ES_EVENT_POSITION]);
	use->hides = !es_rights_reads(reaction->category);
	use->callback.previous = error_context_stack;
	use->callback.callback = describe_use;
	use->callback.arg = use;
	error_context_stack = &use->callback;
}

void
es_react_end_use(const EsReactUse *use)
{
	error_context_stack = use->callback.previous;
}

void
es_react_hide(EsReactUse *use, const text *stream)
{
	use->hides = use->hides || !es_rights_reads_all();
	if (use->hides && stream != NULL)
		use->hides = !es_rights_reads_stream(stream);
}

void
es_react_rethrow(const EsReactUse *use, MemoryContext caller)
{
	ErrorData  *error;

	if (!use->hides)
		PG_RE_THROW();
	MemoryContextSwitchTo(caller);
	error = CopyErrorData();
	if (!es_error_is_answer(error->sqlerrcode))
		PG_RE_THROW();
	FlushErrorState();
	error_context_stack = use->callback.previous;
	ereport(ERROR,
			(errcode(error->sqlerrcode),
			 use->is_far ? errmsg("what follows from a reaction failed on what you may not see") :
			 errmsg("reaction \"%s\" failed on what you may not see", use->reaction),
			 errdetail("What the error says is told to who may read the categories that the reaction is about."),
			 errdetail_log("The error was: %s", error->message),
			 errhint("Ask whoever defined it; the view eventsource.reactions says who that was.")));
}

static void
describe_use(void *arg)
{
	const EsReactUse *use = arg;
	const char *what = use->what != NULL ? psprintf("%s of ", use->what) : "";

	if (use->position != 0)
		errcontext("%sreaction \"%s\", on the event at position " INT64_FORMAT, what, use->reaction, use->position);
	else
		errcontext("%sreaction \"%s\", on the event that is appended", what, use->reaction);
}

/* ---- values ---- */

text *
es_react_text(EsReactValues *values, EsExpr *expr, const char *what, int max)
{
	bool		isnull;
	text	   *value;

	if (expr == NULL)
		return NULL;
	values->use->what = what;
	value = (text *) DatumGetPointer(es_expr_eval(expr, &values->binding, &isnull));
	if (isnull)
		return NULL;
	value = (text *) PG_DETOAST_DATUM_PACKED(PointerGetDatum(value));
	if (max > 0 && (int) VARSIZE_ANY_EXHDR(value) > max)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("%s of reaction \"%s\" is too long", what, values->reaction->name),
				 errdetail("It has %d bytes; at most %d are allowed.", (int) VARSIZE_ANY_EXHDR(value), max),
				 errhint("Use an identifier, or a digest such as md5().")));
	return value;
}

Jsonb *
es_react_jsonb(EsReactValues *values, EsExpr *expr, const char *what)
{
	bool		isnull;
	Datum		value;

	values->use->what = what;
	value = es_expr_eval(expr, &values->binding, &isnull);
	return isnull ? NULL : DatumGetJsonbP(value);
}

/* What lasts as long as the event may go earlier than what is made of it. */
static text *
copy_text(const EsEvent *event, EsEventColumn column)
{
	const text *value = es_event_text(event, column);

	return value == NULL ? NULL : cstring_to_text_with_len(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

/* What makes up for a step is neither replaced nor cancelled by key. */
void
es_react_job(EsReactValues *values, const EsReactionAction *action, int step, const text *key,
			 EsJobDraft *job)
{
	const EsReaction *reaction = values->reaction;
	const EsEvent *event = values->binding.event;

	*job = (EsJobDraft)
	{
		.queue = cstring_to_text(action->queue),
			.payload = action->payload == NULL ? NULL : es_react_jsonb(values, action->payload, "payload"),
			.priority = action->priority,
			.order_key = es_react_text(values, action->order_key, "order_key", ES_MAX_KEY),
			.max_attempts = action->max_attempts,
			.job_key = key == NULL || step < 0 ? NULL : es_job_reaction_key(reaction->name, key),
			.on_conflict = reaction->keeps ? ES_JOB_KEEP : ES_JOB_REPLACE,
			.reaction = cstring_to_text(reaction->name),
			.reaction_version = reaction->version,
			.step = step,
			.event_position = DatumGetInt64(event->value[ES_EVENT_POSITION]),
			.stream = copy_text(event, ES_EVENT_STREAM),
			.subject = copy_text(event, ES_EVENT_SUBJECT)
	};
	if (action->payload == NULL)
		job->payload = DatumGetJsonbPCopy(event->value[ES_EVENT_DATA]);
	values->use->what = NULL;
}

void
es_react_draft(EsReactValues *values, const EsReactionAction *action, int step, EsDraft *draft)
{
	const EsReaction *reaction = values->reaction;
	const EsEvent *event = values->binding.event;

	es_draft_init(draft);
	draft->type = action->type;
	draft->stream = es_react_text(values, action->stream, "stream", 0);
	draft->data = action->data == NULL ? NULL : es_react_jsonb(values, action->data, "data");
	draft->reason = es_react_text(values, action->reason, "reason", 0);
	set_occurred_at(values, action->occurred_at, draft);
	draft->actor = to_word("reaction:%s", reaction->name);
	draft->metadata = es_react_metadata(reaction, event);
	draft->idempotency_key = cstring_to_text(psprintf(ES_KEY_REACTION "%s:" INT64_FORMAT ".%d", reaction->name,
													  DatumGetInt64(event->value[ES_EVENT_POSITION]), step));
	draft->is_caused = true;
	values->use->what = NULL;
}

/* An expression that gives null says nothing. */
static void
set_occurred_at(EsReactValues *values, EsExpr *expr, EsDraft *draft)
{
	bool		isnull;
	Datum		value;

	if (expr == NULL)
		return;
	values->use->what = "occurred_at";
	value = es_expr_eval(expr, &values->binding, &isnull);
	if (isnull)
		return;
	draft->occurred_at = DatumGetTimestampTz(value);
	draft->has_occurred_at = true;
}

static text *
to_word(const char *format, const char *name)
{
	StringInfoData word;

	initStringInfo(&word);
	appendStringInfo(&word, format, name);
	return cstring_to_text_with_len(word.data, word.len);
}

/* ---- metadata ---- */

Jsonb *
es_react_metadata(const EsReaction *reaction, const EsEvent *event)
{
	Jsonb	   *metadata = event->isnull[ES_EVENT_METADATA] ? es_draft_empty_object() :
		DatumGetJsonbP(event->value[ES_EVENT_METADATA]);
	JsonbValue *correlation = es_json_find(&metadata->root, "correlation_id", NULL);
	JsonbValue *path = es_json_find(&metadata->root, ES_REACT_PATH, NULL);
	JsonbValue *names = NULL;
	int			count = path != NULL && es_json_is_array(path) ? es_json_elements(path, &names) : 0;
	JsonbParseState *state = NULL;

	if (count >= ES_REACTION_MAX_DEPTH)
		refuse_depth(names, count, reaction->name);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_string(&state, "causation_id",
						psprintf(INT64_FORMAT, DatumGetInt64(event->value[ES_EVENT_POSITION])));
	if (correlation != NULL)
		es_json_push_value(&state, "correlation_id", correlation);
	es_json_push_key(&state, ES_REACT_PATH);
	push_path(&state, names, count, reaction->name);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* What is no string was put there by somebody else, and counts only. */
static void
push_path(JsonbParseState **state, const JsonbValue *names, int count, const char *last)
{
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < count; i++)
	{
		bool		is_name = names[i].type == jbvString && names[i].val.string.len <= ES_REACTION_MAX_NAME;

		es_json_push_element(state, is_name ? es_json_string(&names[i]) : "?");
	}
	es_json_push_element(state, last);
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

static void
refuse_depth(const JsonbValue *names, int count, const char *last)
{
	StringInfoData path;

	initStringInfo(&path);
	for (int i = 0; i < Min(count, ES_REACTION_MAX_DEPTH); i++)
		appendStringInfo(&path, "%s -> ", names[i].type == jbvString ? es_json_quote(&names[i]) : "?");
	ereport(ERROR,
			(errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
			 errmsg("reactions caused each other more than %d times", ES_REACTION_MAX_DEPTH),
			 errdetail("The way was: %s\"%s\".", path.data, last),
			 errhint("Give one of them a condition that ends the chain.")));
}

/* ---- what is done ---- */

int
es_react_compare_keys(const text *a, const text *b)
{
	int			length = VARSIZE_ANY_EXHDR(a);
	int			other = VARSIZE_ANY_EXHDR(b);
	int			order = memcmp(VARDATA_ANY(a), VARDATA_ANY(b), Min(length, other));

	return order != 0 ? order : length - other;
}

static int
compare_cells(const ListCell *a, const ListCell *b)
{
	return es_react_compare_keys(lfirst(a), lfirst(b));
}

int64
es_react_cancel(const EsReaction *reaction, const EsReactionAction *action, const text *key)
{
	int64		cancelled = 0;
	List	   *keys = NIL;
	ListCell   *lc;

	if (key == NULL)
		return 0;
	foreach(lc, action->reactions)
	{
		es_react_expect_owner(lfirst(lc), es_reaction_owner(lfirst(lc)), reaction->definer);
		keys = lappend(keys, unconstify(text *, es_job_reaction_key(lfirst(lc), key)));
	}
	list_sort(keys, compare_cells);
	foreach(lc, keys)
		cancelled += cancel(reaction, lfirst(lc));
	return cancelled;
}

int64
es_react_cancel_one(const EsReaction *reaction, const char *name, const text *job_key)
{
	es_react_expect_owner(name, es_reaction_owner(name), reaction->definer);
	return cancel(reaction, job_key);
}

static int64
cancel(const EsReaction *reaction, const text *job_key)
{
	return es_job_cancel_key(NULL, job_key, psprintf("cancelled by reaction \"%s\"", reaction->name));
}

void
es_react_add(EsBatch *batch, const EsReaction *reaction, const EsDraft *draft, EsAppended *result)
{
	Oid			recorded_as;

	if (draft->stream != NULL)
		es_react_expect_writer(reaction->definer, draft->stream);
	recorded_as = es_draft_record_as(reaction->definer);
	PG_TRY();
	{
		es_batch_add(batch, draft, result);
	}
	PG_FINALLY();
	{
		(void) es_draft_record_as(recorded_as);
	}
	PG_END_TRY();
}
