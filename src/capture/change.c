/*
 * change.c
 *		Changes of rows of tracked tables as events.
 *
 * An INSERT is one event, a DELETE one, an UPDATE one or several: first the
 * change of state, then one for each changed column that has an event of its
 * own; what else was changed rides on the first of them.  A change of the key
 * ends one stream and goes on in another.
 *
 * Everything is palloc'd in the current memory context, which the caller resets.
 */
#include "postgres.h"

#include "append/draft.h"
#include "append/violation.h"
#include "capture/change.h"
#include "capture/track_text.h"
#include "capture/value.h"
#include "errors.h"
#include "lib/stringinfo.h"
#include "log/json.h"
#include "log/word.h"
#include "utils/builtins.h"
#include "utils/datum.h"

/* While an event is added, its errors say how to give a reason. */
typedef struct ReasonHelp
{
	ErrorContextCallback callback;
	const EsChange *change;
	const EsEdgePick *pick;
} ReasonHelp;

static void push_column(JsonbParseState **state, const EsTrackedColumn *column, const EsRowImage *old,
						const EsRowImage *new, bool hides_old);
static void capture_insert(EsChange *change);
static void capture_delete(EsChange *change);
static void capture_update(EsChange *change);
static void change_key(EsChange *change);
static EsRowImage with_new_key(const EsChange *change);
static void add_changed(EsChange *change);
static void add_state_change(EsChange *change, Jsonb *data);
static void add_typed(EsChange *change, const text *type, Jsonb *data);
static void add_picked(EsChange *change, const EsEdgePick *pick, const text *to, Jsonb *data);
static void explain_reason(void *arg);
static bool find_changes(EsChange *change);
static bool has_changed(const EsChange *change, AttrNumber attno);
static bool same_value(const EsTrackedColumn *column, const EsRowImage *a, const EsRowImage *b);
static void take_words(EsChange *change);
static const text *word_of(const EsRowImage *row, const EsTrackedColumn *column);
static Jsonb *data_of_row(const EsTracking *tracking, const EsRowImage *old, const EsRowImage *new,
						  const char *extra, const text *value);
static Jsonb *data_of_changes(const EsChange *change, const text *type, bool with_rest);

static const EsRowImage no_row = {NULL, NULL};

static const text *
subject_of(const EsChange *change, const EsRowImage *row)
{
	return es_tracking_subject(change->tracking, row->values, row->nulls);
}

void
es_change_capture(const EsTracking *tracking, EsBatch *batch, const EsRowImage *old, const EsRowImage *new)
{
	EsChange	change = {.tracking = tracking,.batch = batch,.old = *old,.new = *new};

	change.category = es_category_get(tracking->name);
	if (old->values == NULL)
		capture_insert(&change);
	else if (new->values == NULL)
		capture_delete(&change);
	else
		capture_update(&change);
}

static void
enter_stream(EsChange *change, const EsRowImage *row)
{
	change->stream = es_tracking_stream(change->tracking, row->values, row->nulls);
	es_batch_enter(change->batch, change->stream, &change->head);
}

static void
capture_insert(EsChange *change)
{
	const EsTracking *tracking = change->tracking;
	const text *state = es_change_state(change, &change->new);
	const text *from;
	Jsonb	   *data = data_of_row(tracking, &no_row, &change->new, NULL, NULL);

	enter_stream(change, &change->new);
	es_change_reconcile(change);
	take_words(change);
	from = es_word_text(change->head.to_state);
	if (state == NULL || es_text_same(from, state))
		add_typed(change, tracking->created, data);
	else
		add_state_change(change, data);
}

static void
capture_delete(EsChange *change)
{
	EsDraft		draft;

	enter_stream(change, &change->old);
	es_change_reconcile(change);
	es_draft_init(&draft);
	draft.type = change->tracking->deleted;
	draft.data = data_of_row(change->tracking, &change->old, &no_row, NULL, NULL);
	draft.passage = ES_PASSAGE_ENTER;
	draft.reason = es_draft_default_reason();
	es_change_add(change, &draft);
}

static void
capture_update(EsChange *change)
{
	if (!find_changes(change))
		return;
	take_words(change);
	for (int i = 0; i < change->tracking->nkeys; i++)
	{
		if (has_changed(change, change->tracking->keys[i]))
		{
			change_key(change);
			return;
		}
	}
	enter_stream(change, &change->new);
	es_change_reconcile(change);
	add_changed(change);
}

/*
 * The old stream ends; the new one begins with the row as it was, but for its
 * key, so that what else was changed is judged like any change.
 */
static void
change_key(EsChange *change)
{
	const EsTracking *tracking = change->tracking;
	text	   *old_key = es_tracking_key(tracking, change->old.values, change->old.nulls);
	text	   *new_key = es_tracking_key(tracking, change->new.values, change->new.nulls);
	const text *state;
	bool		goes_on = false;
	EsDraft		drafts[2];
	EsRowImage	row;

	es_draft_init(&drafts[0]);
	es_draft_init(&drafts[1]);
	drafts[0].stream = es_tracking_stream(tracking, change->old.values, change->old.nulls);
	drafts[1].stream = es_tracking_stream(tracking, change->new.values, change->new.nulls);
	drafts[0].type = tracking->deleted;
	drafts[1].type = tracking->created;
	drafts[0].actor = drafts[1].actor = change->actor;
	es_batch_lock(drafts, 2);

	enter_stream(change, &change->old);
	es_change_reconcile(change);
	state = es_word_text(change->head.to_state);
	drafts[0].data = data_of_row(tracking, &change->old, &no_row, "key_changed_to", new_key);
	drafts[0].passage = ES_PASSAGE_ENTER;
	change->about = &change->old;
	es_change_add(change, &drafts[0]);

	enter_stream(change, &change->new);
	row = with_new_key(change);
	drafts[1].data = data_of_row(tracking, &no_row, &row, "key_changed_from", old_key);
	drafts[1].passage = ES_PASSAGE_ENTER;
	drafts[1].to_state = state;
	change->about = &row;
	es_change_add(change, &drafts[1]);
	change->about = NULL;

	for (int i = 0; i < tracking->ncolumns; i++)
	{
		for (int k = 0; k < tracking->nkeys; k++)
			if (tracking->columns[i].attno == tracking->keys[k])
				change->changed[i] = false;
		goes_on |= change->changed[i];
	}
	if (goes_on)
		add_changed(change);
}

/* The row as it was, but for its key. */
static EsRowImage
with_new_key(const EsChange *change)
{
	const EsTracking *tracking = change->tracking;
	int			count = tracking->columns[tracking->ncolumns - 1].attno;
	Datum	   *values = palloc(count * sizeof(Datum));
	bool	   *nulls = palloc(count * sizeof(bool));
	EsRowImage	row = {values, nulls};

	memcpy(values, change->old.values, count * sizeof(Datum));
	memcpy(nulls, change->old.nulls, count * sizeof(bool));
	for (int i = 0; i < tracking->nkeys; i++)
	{
		int			k = tracking->keys[i] - 1;

		values[k] = change->new.values[k];
		nulls[k] = change->new.nulls[k];
	}
	return row;
}

/* The events of an UPDATE of a row whose stream is entered. */
static void
add_changed(EsChange *change)
{
	const EsTracking *tracking = change->tracking;
	bool		first = true;

	change->is_passed_on = tracking->subject != NULL &&
		!es_text_same(subject_of(change, &change->old), subject_of(change, &change->new));
	if (has_changed(change, tracking->state_column) &&
		!es_text_same(es_change_state(change, &change->old), es_change_state(change, &change->new)))
	{
		add_state_change(change, data_of_changes(change, NULL, true));
		first = false;
	}
	for (int i = 0; i < tracking->ncolumns; i++)
	{
		const text *type = tracking->columns[i].event;
		bool		is_done = !change->changed[i] || type == NULL;

		for (int k = 0; !is_done && k < i; k++)
			is_done = change->changed[k] && tracking->columns[k].event != NULL &&
				es_text_same(tracking->columns[k].event, type);
		if (is_done)
			continue;
		add_typed(change, type, data_of_changes(change, type, first));
		first = false;
	}
	if (first)
		add_typed(change, tracking->updated, data_of_changes(change, NULL, true));
}

/* The event that the machine has for the change of state. */
static void
add_state_change(EsChange *change, Jsonb *data)
{
	const text *to = es_change_state(change, &change->new);
	EsEdgePick	pick;

	es_edge_pick(change, es_word_text(change->head.to_state), to, &pick);
	if (pick.type == NULL && !change->tracking->records_violations)
		ereport(ERROR,
				(errcode(pick.sqlstate),
				 errmsg_internal("%s", pick.message),
				 errdetail_internal("%s", pick.detail),
				 errhint("%s", pick.hint)));
	add_picked(change, &pick, to, data);
}

/* An event that leaves the state as it is; what the machine does not know, passes. */
static void
add_typed(EsChange *change, const text *type, Jsonb *data)
{
	EsEdgePick	pick;

	es_edge_of_type(change, type, &pick);
	add_picked(change, &pick, es_word_text(change->head.to_state), data);
}

static void
add_picked(EsChange *change, const EsEdgePick *pick, const text *to, Jsonb *data)
{
	ReasonHelp	help = {.change = change,.pick = pick};
	EsDraft		draft;

	es_draft_init(&draft);
	draft.data = data;
	draft.to_state = to;
	draft.actor = change->actor;
	draft.type = pick->type;
	draft.passage = pick->passage;
	draft.records_violation = change->tracking->records_violations;
	if (pick->gives_reason)
		draft.reason = change->reason;
	if (pick->type == NULL)
	{
		draft.type = change->old.values == NULL ? change->tracking->created : change->tracking->updated;
		draft.passage = ES_PASSAGE_ENTER;
		draft.flags = ES_EVENT_VIOLATION;
		draft.reason = change->reason;
		draft.metadata = es_violation_note(NULL, pick->sqlstate, pick->message);
	}
	help.callback.previous = error_context_stack;
	help.callback.callback = explain_reason;
	help.callback.arg = &help;
	error_context_stack = &help.callback;
	es_change_add(change, &draft);
	error_context_stack = help.callback.previous;
}

/*
 * The application writes its table and may not know of reasons: the hint is
 * something that one can paste.
 */
static void
explain_reason(void *arg)
{
	ReasonHelp *help = arg;
	const EsTracking *tracking = help->change->tracking;
	const EsTrackedColumn *column = es_tracking_column(tracking, tracking->reason_column);
	StringInfoData codes;
	const char *code = "...";
	ListCell   *lc;

	errcontext("captured change of table %s, stream \"%s\"",
			   tracking->definition->table, text_to_cstring(help->change->stream));
	if (geterrcode() != ES_ERRCODE_REASON_REQUIRED && geterrcode() != ES_ERRCODE_UNKNOWN_REASON)
		return;
	initStringInfo(&codes);
	foreach(lc, help->pick->reasons)
		appendStringInfo(&codes, "%s%s", codes.len == 0 ? "Reason codes: " : ", ",
						 text_to_cstring(lfirst(lc)));
	if (codes.len > 0)
	{
		appendStringInfoString(&codes, ". ");
		code = quote_literal_cstr(text_to_cstring(linitial(help->pick->reasons)));
	}
	if (column != NULL)
		appendStringInfo(&codes, "Set column \"%s\" in the same statement, or: ", NameStr(column->name));
	errhint("%sBEGIN; SET LOCAL eventsource.reason = %s; ... COMMIT; or, in the same transaction: "
			"SELECT set_config('eventsource.reason', %s, true).", codes.data, code, code);
}

void
es_change_add(EsChange *change, EsDraft *draft)
{
	EsAppended	result;

	draft->stream = change->stream;
	draft->flags |= ES_EVENT_CAPTURED;
	draft->pii = change->tracking->pii;
	if (draft->subject == NULL)
		draft->subject = subject_of(change, change->about != NULL ? change->about :
									change->new.values != NULL ? &change->new : &change->old);
	if (change->category->machine == NULL && draft->reason == NULL)
		draft->reason = change->reason;
	es_batch_add(change->batch, draft, &result);
	change->head.version = result.version;
	change->head.position = result.position;
	change->head.to_state = result.state == NULL ? 0 : es_word_id(result.state);
}

void
es_change_genesis(const EsTracking *tracking, const Datum *values, const bool *nulls, EsDraft *draft)
{
	EsRowImage	row = {values, nulls};

	es_draft_init(draft);
	draft->stream = es_tracking_stream(tracking, values, nulls);
	draft->type = tracking->created;
	draft->data = data_of_row(tracking, &no_row, &row, NULL, NULL);
	draft->flags = ES_EVENT_SYNTHETIC | ES_EVENT_CAPTURED;
	draft->pii = tracking->pii;
	draft->subject = es_tracking_subject(tracking, values, nulls);
	draft->passage = ES_PASSAGE_ENTER;
	if (es_category_get(tracking->name)->machine != NULL)
		draft->to_state = es_tracking_state(tracking, values, nulls);
}

const text *
es_change_state(const EsChange *change, const EsRowImage *row)
{
	return change->category->machine == NULL || row->values == NULL ? NULL :
		es_tracking_state(change->tracking, row->values, row->nulls);
}

/* ---- what was changed ---- */

/* False: nothing that is captured. */
static bool
find_changes(EsChange *change)
{
	const EsTracking *tracking = change->tracking;
	bool		any = false;

	change->changed = palloc(Max(1, tracking->ncolumns) * sizeof(bool));
	for (int i = 0; i < tracking->ncolumns; i++)
	{
		const EsTrackedColumn *column = &tracking->columns[i];

		change->changed[i] = column->captured && !same_value(column, &change->old, &change->new);
		any |= change->changed[i];
	}
	return any;
}

static bool
has_changed(const EsChange *change, AttrNumber attno)
{
	for (int i = 0; i < change->tracking->ncolumns; i++)
		if (change->tracking->columns[i].attno == attno)
			return change->changed[i];
	return false;
}

/* The same bytes; values that are equal but print differently are changed. */
static bool
same_value(const EsTrackedColumn *column, const EsRowImage *a, const EsRowImage *b)
{
	int			i = column->attno - 1;

	if (a->nulls[i] || b->nulls[i])
		return a->nulls[i] && b->nulls[i];
	if (column->by_value)
		return a->values[i] == b->values[i];
	if (column->length == -1)
	{
		struct varlena *x = (struct varlena *) DatumGetPointer(a->values[i]);
		struct varlena *y = (struct varlena *) DatumGetPointer(b->values[i]);

		/* One place in the TOAST table, which an UPDATE hands on. */
		if (VARATT_IS_EXTERNAL_ONDISK(x) && VARATT_IS_EXTERNAL_ONDISK(y) &&
			memcmp(VARDATA_EXTERNAL(x), VARDATA_EXTERNAL(y), sizeof(varatt_external)) == 0)
			return true;
	}
	return datum_image_eq(a->values[i], b->values[i], column->by_value, column->length);
}

/*
 * Actor and reason.  What stands in the reason column counts for the statement
 * that wrote it alone; so does the actor where the session says who acts.
 */
static void
take_words(EsChange *change)
{
	const EsTracking *tracking = change->tracking;
	const EsTrackedColumn *actor = es_tracking_column(tracking, tracking->actor_column);
	const EsTrackedColumn *reason = es_tracking_column(tracking, tracking->reason_column);
	bool		is_new = change->old.values == NULL;

	if (reason != NULL && (is_new || !same_value(reason, &change->old, &change->new)))
		change->reason = word_of(&change->new, reason);
	if (actor != NULL && (is_new || es_guc_actor == NULL || es_guc_actor[0] == '\0' ||
						  !same_value(actor, &change->old, &change->new)))
		change->actor = word_of(&change->new, actor);
}

static const text *
word_of(const EsRowImage *row, const EsTrackedColumn *column)
{
	text	   *word;

	if (row->nulls[column->attno - 1])
		return NULL;
	word = es_value_text(row->values[column->attno - 1], column->type);
	return VARSIZE_ANY_EXHDR(word) == 0 ? NULL : word;
}

/* ---- data ---- */

/* {"changed": {"col": {"new": v}, ...}}, with one more member if extra says so. */
static Jsonb *
data_of_row(const EsTracking *tracking, const EsRowImage *old, const EsRowImage *new, const char *extra,
			const text *value)
{
	const EsRowImage *row = old->values != NULL ? old : new;
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_key(&state, "changed");
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < tracking->ncolumns; i++)
	{
		const EsTrackedColumn *column = &tracking->columns[i];

		if (column->captured && !row->nulls[column->attno - 1])
			push_column(&state, column, old, new, false);
	}
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	if (extra != NULL)
		es_json_push_text(&state, extra, value);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* The changed columns with an event of this type, and those without one. */
static Jsonb *
data_of_changes(const EsChange *change, const text *type, bool with_rest)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_key(&state, "changed");
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < change->tracking->ncolumns; i++)
	{
		const EsTrackedColumn *column = &change->tracking->columns[i];

		if (change->changed[i] &&
			(column->event == NULL ? with_rest : type != NULL && es_text_same(column->event, type)))
			push_column(&state, column, &change->old, &change->new,
						change->is_passed_on && column->is_personal);
	}
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * {"old": v, "new": v} of one column, with "json_null" where it is needed.  What was
 * personal of somebody is not told in an event about somebody else, where erasing him
 * would not reach it.
 */
static void
push_column(JsonbParseState **state, const EsTrackedColumn *column, const EsRowImage *old,
			const EsRowImage *new, bool hides_old)
{
	static const char *const members[] = {"old", "new"};
	const EsRowImage *rows[] = {old, new};
	bool		is_json_null[2] = {false, false};
	int			i = column->attno - 1;

	es_json_push_key(state, NameStr(column->name));
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	for (int k = 0; k < 2; k++)
	{
		bool		is_hidden = k == 0 && hides_old;

		if (rows[k]->values == NULL)
			continue;
		is_json_null[k] = !is_hidden &&
			es_value_is_json_null(rows[k]->values[i], rows[k]->nulls[i], column->type);
		es_json_push_key(state, members[k]);
		es_value_push(state, WJB_VALUE, is_hidden ? (Datum) 0 : rows[k]->values[i],
					  is_hidden || rows[k]->nulls[i], column->type);
	}
	if (is_json_null[0] || is_json_null[1])
	{
		es_json_push_key(state, "json_null");
		pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
		for (int k = 0; k < 2; k++)
			if (is_json_null[k])
				es_json_push_element(state, members[k]);
		pushJsonbValue(state, WJB_END_ARRAY, NULL);
	}
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}
