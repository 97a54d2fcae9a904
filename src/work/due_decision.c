/*
 * due_decision.c
 *		Decisions of called functions.
 *
 * A decision is an object whose members are verbs; what reads each of them, and which can
 * stand beside which, is one table.  Whatever is not in it is refused: a typing error must
 * not send a message, nor keep one back.
 */
#include "work/due_decision.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "errors.h"
#include "log/json.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

/* Also what is infinite is longer: a run that waits for it would be taken for one that waits for a job. */
#define MAX_YEARS	1000

/* Verbs that exclude each other have a bit in common. */
#define GROUP_END	0x01		/* what ends the run, or this turn of it */
#define GROUP_NEXT	0x02		/* where it goes on */
#define GROUP_WAIT	0x04
#define GROUP_SEND	0x08

typedef void (*Reader) (const JsonbValue *value, EsDecision *decision);

typedef struct Verb
{
	const char *name;
	int			groups;
	bool		compensates;	/* also a compensation may say so */
	Reader		read;
} Verb;

static void read_skip(const JsonbValue *value, EsDecision *decision);
static void read_end(const JsonbValue *value, EsDecision *decision);
static void read_retry(const JsonbValue *value, EsDecision *decision);
static void read_send(const JsonbValue *value, EsDecision *decision);
static void read_next(const JsonbValue *value, EsDecision *decision);
static void read_wait(const JsonbValue *value, EsDecision *decision);

static const Verb verbs[] = {
	{"skip", GROUP_END | GROUP_NEXT | GROUP_WAIT | GROUP_SEND, true, read_skip},
	{"retry", GROUP_END | GROUP_NEXT | GROUP_WAIT | GROUP_SEND, true, read_retry},
	{"end", GROUP_END | GROUP_NEXT | GROUP_WAIT, true, read_end},
	{"next", GROUP_NEXT, false, read_next},
	{"wait", GROUP_WAIT, false, read_wait},
	{"send", GROUP_SEND, true, read_send}
};

#define VERBS	"skip, send, next, wait, end and retry"

static const Verb *find_verb(const char *name);
static void read_send_member(const char *name, const JsonbValue *value, EsJobDraft *draft);
static char *expect_string(const char *member, const JsonbValue *value);
static int32 expect_int(const char *member, const JsonbValue *value);
ES_NORETURN static void refuse(const char *detail);

void
es_decision_read(Jsonb *decision, int n_steps, EsDecision *result)
{
	JsonbValue	root;
	EsJsonPair *pairs;
	int			groups = 0;

	*result = (EsDecision)
	{
		.verdict = ES_DECIDED_GO_ON
	};
	if (decision == NULL)
		return;
	es_json_value(decision, &root);
	if (root.type == jbvNull)
		return;
	if (!es_json_is_object(&root))
		refuse(psprintf("It returned %s: a decision is an object, or null.", es_json_kind(&root)));
	for (int i = 0, n = es_json_pairs(&root, &pairs); i < n; i++)
	{
		char	   *name = es_json_string(&pairs[i].key);
		const Verb *verb = find_verb(name);

		if (verb == NULL)
			refuse(psprintf("There is no verb \"%s\"; there are " VERBS ".", name));
		if ((groups & verb->groups) != 0)
			refuse(psprintf("\"%s\" cannot stand beside the others.", name));
		if (n_steps == 0 && !verb->compensates)
			refuse(psprintf("A compensation cannot say \"%s\": nothing comes after it.", name));
		groups |= verb->groups;
		verb->read(&pairs[i].value, result);
	}
	if (result->next > n_steps)
		refuse(psprintf("There is no step " INT64_FORMAT "; there are %d.", result->next, n_steps));
}

Interval *
es_decision_interval(const char *member, const char *value)
{
	Interval   *interval = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(value),
																 ObjectIdGetDatum(InvalidOid),
																 Int32GetDatum(-1)));

	if (interval->month < 0 || interval->day < 0 || interval->time < 0)
		refuse(psprintf("\"%s\" is less than nothing: %s.", member, value));
	if (interval->month > MAX_YEARS * MONTHS_PER_YEAR || interval->day > MAX_YEARS * 366 ||
		interval->time > MAX_YEARS * 366 * USECS_PER_DAY)
		refuse(psprintf("\"%s\" is longer than %d years: %s.", member, MAX_YEARS, value));
	return interval;
}

static const Verb *
find_verb(const char *name)
{
	for (int i = 0; i < (int) lengthof(verbs); i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

/* ---- the verbs ---- */

static void
read_skip(const JsonbValue *value, EsDecision *decision)
{
	decision->verdict = ES_DECIDED_SKIP;
	decision->reason = expect_string("skip", value);
}

static void
read_end(const JsonbValue *value, EsDecision *decision)
{
	if (value->type != jbvBool || !value->val.boolean)
		refuse("\"end\" is not true.");
	decision->verdict = ES_DECIDED_END;
}

static void
read_retry(const JsonbValue *value, EsDecision *decision)
{
	decision->verdict = ES_DECIDED_RETRY;
	decision->retry = es_decision_interval("retry", expect_string("retry", value));
}

static void
read_next(const JsonbValue *value, EsDecision *decision)
{
	decision->next = expect_int("next", value);
	if (decision->next < 1)
		refuse("\"next\" is no step: they are numbered from 1.");
}

static void
read_wait(const JsonbValue *value, EsDecision *decision)
{
	decision->wait = expect_string("wait", value);
	(void) es_decision_interval("wait", decision->wait);
}

static void
read_send(const JsonbValue *value, EsDecision *decision)
{
	EsJsonPair *pairs;

	if (!es_json_is_object(value))
		refuse("\"send\" is no object.");
	for (int i = 0, n = es_json_pairs(value, &pairs); i < n; i++)
		read_send_member(es_json_string(&pairs[i].key), &pairs[i].value, &decision->send);
	if (decision->send.queue == NULL)
		refuse("\"send\" names no queue.");
	decision->sends = true;
}

static void
read_send_member(const char *name, const JsonbValue *value, EsJobDraft *draft)
{
	if (strcmp(name, "queue") == 0)
		draft->queue = cstring_to_text(expect_string(name, value));
	else if (strcmp(name, "payload") == 0)
		draft->payload = JsonbValueToJsonb(unconstify(JsonbValue *, value));
	else if (strcmp(name, "order_key") == 0)
		draft->order_key = cstring_to_text(expect_string(name, value));
	else if (strcmp(name, "priority") == 0)
		draft->priority = expect_int(name, value);
	else if (strcmp(name, "max_attempts") == 0)
	{
		draft->max_attempts = expect_int(name, value);
		if (draft->max_attempts < 1 || draft->max_attempts > ES_MAX_ATTEMPTS)
			refuse(psprintf("\"max_attempts\" is not 1 to %d.", ES_MAX_ATTEMPTS));
	}
	else
		refuse(psprintf("\"send\" has no member \"%s\"; it has queue, payload, order_key, priority and max_attempts.",
						name));
}

static char *
expect_string(const char *member, const JsonbValue *value)
{
	if (value->type != jbvString)
		refuse(psprintf("\"%s\" is %s, and no string.", member, es_json_kind(value)));
	return es_json_string(value);
}

static int32
expect_int(const char *member, const JsonbValue *value)
{
	int64		number;

	if (value->type != jbvNumeric)
		refuse(psprintf("\"%s\" is %s, and no number.", member, es_json_kind(value)));
	number = es_json_number(value);
	if (number < PG_INT32_MIN || number > PG_INT32_MAX)
		refuse(psprintf("\"%s\" is out of range.", member));
	return (int32) number;
}

static void
refuse(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("what the called function returned is no decision"),
			 errdetail_internal("%s", detail),
			 errhint("NULL goes on; {\"skip\": \"no consent\"} ends the run; {\"send\": {\"queue\": \"mail\"}} sends and goes on.")));
}
