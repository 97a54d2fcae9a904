/*
 * violation.c
 *		Events that the rules forbid, and that are recorded all the same.
 *
 * Only a draft that says so passes: a change of a tracked table has happened,
 * whatever the machine thinks of it, where the table's violations are recorded.
 */
#include "append/violation.h"

#include "errors.h"
#include "log/json.h"
#include "utils/builtins.h"

static bool leads_to(const EsStep *step, const text *state);
static void refuse_target(EsMachine *machine, const EsStep *step, const EsDraft *draft, EsRefusal *refusal);

bool
es_violation_judge(EsMachine *machine, const EsStep *step, const EsDraft *draft, EsEvent *event)
{
	EsRefusal	refusal;

	if (step->verdict == ES_LEGAL && leads_to(step, draft->to_state))
		return true;
	if (step->verdict != ES_LEGAL && !draft->records_violation)
		es_machine_raise(machine, step, event);
	if (step->verdict != ES_LEGAL)
		es_machine_refusal(machine, step, event, &refusal);
	else
		refuse_target(machine, step, draft, &refusal);
	if (!draft->records_violation)
		ereport(ERROR,
				(errcode(refusal.sqlstate),
				 errmsg_internal("%s", refusal.message),
				 errdetail_internal("%s", refusal.detail),
				 errhint("%s", refusal.hint)));
	event->flags |= ES_EVENT_VIOLATION;
	es_event_set(event, ES_EVENT_METADATA,
				 PointerGetDatum(es_violation_note(draft->metadata, refusal.sqlstate, refusal.message)));
	return false;
}

/* A draft without to_state goes wherever the machine leads. */
static bool
leads_to(const EsStep *step, const text *state)
{
	return state == NULL || es_text_same(state, step->to_state);
}

static void
refuse_target(EsMachine *machine, const EsStep *step, const EsDraft *draft, EsRefusal *refusal)
{
	memset(refusal, 0, sizeof(*refusal));
	refusal->sqlstate = ES_ERRCODE_ILLEGAL_TRANSITION;
	refusal->message = psprintf("event type \"%s\" leads to state \"%s\" here, and not to \"%s\"",
								text_to_cstring(draft->type), text_to_cstring(step->to_state),
								text_to_cstring(draft->to_state));
	refusal->detail = psprintf("Stream \"%s\" follows state machine \"%s\", which decides where the event leads.",
							   text_to_cstring(draft->stream), text_to_cstring(es_machine_label(machine)));
	refusal->hint = pstrdup("Write the state that the machine comes to, or change its guards.");
}

Jsonb *
es_violation_note(Jsonb *metadata, int sqlstate, const char *message)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_members(&state, metadata);
	es_json_push_key(&state, "violation");
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_string(&state, "sqlstate", pstrdup(unpack_sql_state(sqlstate)));
	es_json_push_string(&state, "message", message);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}
