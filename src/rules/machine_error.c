/*
 * machine_error.c
 *		Says why a step was refused, and what would have been allowed: one
 *		writer of messages per verdict.
 *
 * Everything is palloc'd in the current memory context.
 */
#include "postgres.h"

#include "errors.h"
#include "log/attempt.h"
#include "lib/stringinfo.h"
#include "rules/machine_table.h"
#include "utils/builtins.h"

/* A refused step, and what its messages are made of. */
typedef struct Case
{
	EsMachine  *machine;
	const EsStep *step;
	const EsEvent *event;
	const EsEdge *edge;
	const text *from;			/* state that it stepped from, or NULL */
	const char *type;
	const char *where;			/* "in state "X"", or the beginning */
} Case;

static void say_unknown_type(const Case *c, EsRefusal *refusal);
static void say_illegal(const Case *c, EsRefusal *refusal);
static void say_guard(const Case *c, EsRefusal *refusal);
static void say_reason_required(const Case *c, EsRefusal *refusal);
static void say_reason_unknown(const Case *c, EsRefusal *refusal);
static void say_reason_forbidden(const Case *c, EsRefusal *refusal);
static void say_fill_given(const Case *c, EsRefusal *refusal);
static char *allowed_types(const EsMachine *machine, int state);
static char *allowed_reasons(const Case *c);

/* By EsVerdict. */
static const struct
{
	int			sqlstate;
	void		(*say) (const Case *c, EsRefusal *refusal);
}			refusals[] = {
	[ES_UNKNOWN_TYPE] = {ES_ERRCODE_UNKNOWN_EVENT_TYPE, say_unknown_type},
	[ES_ILLEGAL_TRANSITION] = {ES_ERRCODE_ILLEGAL_TRANSITION, say_illegal},
	[ES_GUARD_REJECTED] = {ES_ERRCODE_GUARD_REJECTED, say_guard},
	[ES_REASON_REQUIRED] = {ES_ERRCODE_REASON_REQUIRED, say_reason_required},
	[ES_REASON_UNKNOWN] = {ES_ERRCODE_UNKNOWN_REASON, say_reason_unknown},
	[ES_REASON_FORBIDDEN] = {ES_ERRCODE_UNKNOWN_REASON, say_reason_forbidden},
	[ES_FILL_GIVEN] = {ES_ERRCODE_INVALID_PAYLOAD, say_fill_given},
};

/* What the user is told about a step that is not ES_LEGAL. */
void
es_machine_refusal(EsMachine *machine, const EsStep *step, const EsEvent *event,
				   EsRefusal *refusal)
{
	const text *stream = es_event_text(event, ES_EVENT_STREAM);
	Case		c = {.machine = machine,.step = step,.event = event,.edge = step->edge};

	Assert(step->verdict != ES_LEGAL);
	c.type = text_to_cstring(es_event_text(event, ES_EVENT_TYPE));
	c.from = es_machine_stands(machine, step->from_state);
	c.where = c.from == NULL ? "at the start of a stream"
		: psprintf("in state \"%s\"", text_to_cstring(c.from));

	memset(refusal, 0, sizeof(EsRefusal));
	refusal->sqlstate = refusals[step->verdict].sqlstate;
	refusal->detail = psprintf("Stream \"%s\" follows state machine \"%s\".",
							   text_to_cstring(stream), text_to_cstring(machine->label));
	refusals[step->verdict].say(&c, refusal);
}

void
es_machine_raise(EsMachine *machine, const EsStep *step, const EsEvent *event)
{
	EsRefusal	refusal;

	es_machine_refusal(machine, step, event, &refusal);
	ereport(ERROR,
			(errcode(refusal.sqlstate),
			 errmsg_internal("%s", refusal.message),
			 errdetail_internal("%s", refusal.detail),
			 errhint("%s", refusal.hint),
			 refusal.constraint == NULL ? 0
			 : err_generic_string(PG_DIAG_CONSTRAINT_NAME, refusal.constraint)));
}

bool
es_machine_attempt(void (*work) (void *arg), void *arg, EsRefusal *refusal)
{
	ErrorData  *error = es_attempt(work, arg, es_error_is_answer);

	if (error == NULL)
		return true;
	refusal->sqlstate = error->sqlerrcode;
	refusal->message = error->message;
	refusal->detail = error->detail;
	refusal->hint = error->hint;
	return false;
}

void
es_machine_refuse(const char *what, List *problems)
{
	StringInfoData lines;
	ListCell   *lc;

	initStringInfo(&lines);
	foreach(lc, problems)
		appendStringInfo(&lines, "%s%s", lines.len > 0 ? "\n" : "", (char *) lfirst(lc));
	ereport(ERROR,
			(errcode(ES_ERRCODE_INVALID_DEFINITION),
			 errmsg("%s is not valid", what),
			 errdetail_internal("%s", lines.data),
			 errhint("Nothing was changed. Correct what is listed and define it again.")));
}

static void
say_unknown_type(const Case *c, EsRefusal *refusal)
{
	refusal->message = psprintf("event type \"%s\" is unknown to state machine \"%s\"",
								c->type, text_to_cstring(c->machine->label));
	refusal->hint = psprintf("It knows: %s.", es_words_list(&c->machine->types, NULL));
}

static void
say_illegal(const Case *c, EsRefusal *refusal)
{
	const text *from = c->from;
	int			state = from == NULL ? ES_STATE_NONE : es_words_find(&c->machine->states, from);
	char	   *allowed;

	if (from != NULL && state < 0)
	{
		refusal->message = psprintf("state \"%s\" is unknown to state machine \"%s\"",
									text_to_cstring(from), text_to_cstring(c->machine->label));
		refusal->hint = pstrdup("Define the machine again with this state, and edges that lead out of it.");
		return;
	}
	allowed = allowed_types(c->machine, state);
	if (from == NULL)
	{
		refusal->message = psprintf("event type \"%s\" cannot start a stream", c->type);
		refusal->hint = psprintf("A stream starts with: %s.", allowed);
		return;
	}
	refusal->message = psprintf("event type \"%s\" is not allowed %s", c->type, c->where);
	if (allowed[0] == '\0')
		refusal->hint = psprintf("State \"%s\" is final: no event is allowed in it.", text_to_cstring(from));
	else
		refusal->hint = psprintf("Allowed in state \"%s\": %s.", text_to_cstring(from), allowed);
}

static void
say_guard(const Case *c, EsRefusal *refusal)
{
	const char *source = "";

	for (int i = 0; i < c->edge->nguards; i++)
	{
		if (c->edge->guards[i].name == c->step->guard)
			source = c->edge->guards[i].source;
	}
	refusal->message = psprintf("event type \"%s\" is rejected by guard \"%s\" %s",
								c->type, c->step->guard, c->where);
	refusal->detail = psprintf("%s The guard is: %s", refusal->detail, source);
	refusal->hint = pstrdup("Append the event when the guard holds; "
							"eventsource.allowed_transitions() shows what is possible now.");
	refusal->constraint = c->step->guard;
}

static void
say_reason_required(const Case *c, EsRefusal *refusal)
{
	refusal->message = psprintf("event type \"%s\" requires a reason %s", c->type, c->where);
	refusal->hint = allowed_reasons(c);
}

static void
say_reason_unknown(const Case *c, EsRefusal *refusal)
{
	refusal->message = psprintf("reason \"%s\" is not allowed for event type \"%s\" %s",
								text_to_cstring(c->step->reason), c->type, c->where);
	refusal->hint = allowed_reasons(c);
}

static void
say_reason_forbidden(const Case *c, EsRefusal *refusal)
{
	refusal->message = psprintf("event type \"%s\" takes no reason %s", c->type, c->where);
	refusal->hint = pstrdup("Leave the reason out; free text belongs into the data.");
}

static void
say_fill_given(const Case *c, EsRefusal *refusal)
{
	Jsonb	   *data = (Jsonb *) DatumGetPointer(c->event->value[ES_EVENT_DATA]);

	if (!JB_ROOT_IS_OBJECT(data))
	{
		refusal->message = psprintf("data of event type \"%s\" must be a JSON object", c->type);
		refusal->hint = pstrdup("The database adds fields to it.");
		return;
	}
	refusal->message = psprintf("field \"%s\" of event type \"%s\" is filled in by the database",
								es_machine_given_field(c->edge, data), c->type);
	refusal->hint = pstrdup("Leave the field out.");
}

/*
 * Types with an edge from a state, for a hint, beginning with those that only
 * some states allow; empty if there are none.
 */
static char *
allowed_types(const EsMachine *machine, int state)
{
	EsEdge	  **root = es_machine_root_edges(machine);
	Bitmapset  *own = NULL;
	Bitmapset  *common = NULL;

	for (int type = 0; type < machine->types.count; type++)
	{
		EsEdge	   *edge = es_machine_candidates(machine, state, type);

		if (edge != NULL && edge == root[type])
			common = bms_add_member(common, type);
		else if (edge != NULL)
			own = bms_add_member(own, type);
	}
	if (own == NULL || common == NULL)
		return own == NULL && common == NULL ? ""
			: es_words_list(&machine->types, own == NULL ? common : own);
	return psprintf("%s, %s", es_words_list(&machine->types, own),
					es_words_list(&machine->types, common));
}

static char *
allowed_reasons(const Case *c)
{
	Bitmapset  *codes = c->edge->reasons;

	if (codes == NULL && c->machine->ndeclared > 0)
		codes = bms_add_range(NULL, 0, c->machine->ndeclared - 1);
	if (codes == NULL)
		return pstrdup("Any code that says why will do.");
	return psprintf("Reason codes: %s.", es_words_list(&c->machine->reasons, codes));
}
