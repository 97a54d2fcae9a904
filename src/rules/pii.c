/*
 * pii.c
 *		Which fields of an event type are personal, and what becomes of each when it is
 *		anonymized.
 *
 * A definition is an object: {"email": "hash", "address.street": "redact",
 * "phones.*.number": "null"}.
 */
#include "rules/pii.h"

#include <sys/socket.h>

#include "log/json.h"
#include "log/json_walk.h"
#include "log/reading.h"
#include "rules/event_type.h"
#include "utils/builtins.h"
#include "utils/inet.h"

#define MAX_PATHS	200

/* What is shown of a string to who may not see it. */
#define MASK		"***"

static const char *const names[] = {
	[ES_PII_HASH] = "hash",
	[ES_PII_MASK_IP] = "mask_ip",
	[ES_PII_REDACT] = "redact",
	[ES_PII_NULL] = "null",
	[ES_PII_KEEP] = "keep"
};

static const EsPii *(*captured_hook) (const EsEvent *event);
static List *(*declared_hook) (List *categories, const char *type);

static char *notation_problem(const char *path);
static bool find_strategy(const JsonbValue *value, EsPiiStrategy *strategy);
static char *overlap_problem(const EsPii *pii);
static void mask(const EsEvent *event, EsPersonalField *field);

void
es_pii_register_captured(const EsPii *(*of_event) (const EsEvent *event),
						 List *(*declared) (List *categories, const char *type))
{
	captured_hook = of_event;
	declared_hook = declared;
}

List *
es_pii_declared_captured(List *categories, const char *type)
{
	return declared_hook == NULL ? NIL : declared_hook(categories, type);
}

const EsPii *
es_pii_of_event(const EsEvent *event)
{
	const EsPii *type = es_event_type_pii_of(event);
	const EsPii *captured = (event->flags & ES_EVENT_CAPTURED) == 0 || captured_hook == NULL ? NULL :
		captured_hook(event);
	EsPii	   *both;

	if (type == NULL || captured == NULL)
		return type == NULL ? captured : type;
	both = palloc(sizeof(EsPii));
	both->n = type->n + captured->n;
	both->path = palloc(both->n * sizeof(EsPersonalPath));
	both->strategy = palloc(both->n * sizeof(EsPiiStrategy));
	memcpy(both->path, captured->path, captured->n * sizeof(EsPersonalPath));
	memcpy(both->path + captured->n, type->path, type->n * sizeof(EsPersonalPath));
	memcpy(both->strategy, captured->strategy, captured->n * sizeof(EsPiiStrategy));
	memcpy(both->strategy + captured->n, type->strategy, type->n * sizeof(EsPiiStrategy));
	return both;
}

void
es_pii_init(void)
{
	es_reading_register_mask(mask);
}

EsPii *
es_pii_parse(Jsonb *definition, List **problems)
{
	EsPii	   *pii = palloc0(sizeof(EsPii));
	int			before = list_length(*problems);
	EsJsonWalk	walk;
	JsonbValue	key;
	JsonbValue	value;
	char	   *problem;

	if (definition == NULL)
		return NULL;
	if (!JB_ROOT_IS_OBJECT(definition) || JB_ROOT_COUNT(definition) > MAX_PATHS)
	{
		*problems = lappend(*problems, psprintf("must be an object of paths and strategies, at most %d",
												MAX_PATHS));
		return NULL;
	}
	pii->path = palloc(Max(1, JB_ROOT_COUNT(definition)) * sizeof(EsPersonalPath));
	pii->strategy = palloc(Max(1, JB_ROOT_COUNT(definition)) * sizeof(EsPiiStrategy));
	es_json_walk_begin(&walk, &definition->root);
	while (es_json_walk_member(&walk, &key, &value))
	{
		problem = notation_problem(es_json_string(&key));
		if (problem == NULL)
			problem = es_personal_parse(es_json_string(&key), &pii->path[pii->n]);
		if (problem == NULL && !find_strategy(&value, &pii->strategy[pii->n]))
			problem = pstrdup("the strategy must be hash, mask_ip, redact, null or keep");
		if (problem != NULL)
			*problems = lappend(*problems, psprintf("%s: %s", es_json_quote(&key), problem));
		pii->n++;
	}
	if (list_length(*problems) == before && (problem = overlap_problem(pii)) != NULL)
		*problems = lappend(*problems, problem);
	return list_length(*problems) == before && pii->n > 0 ? pii : NULL;
}

/* A path that is written as elsewhere would name no field, and what is personal would stay. */
static char *
notation_problem(const char *path)
{
	if (strcmp(path, "$") == 0 || strncmp(path, "$.", 2) == 0 || strncmp(path, "$[", 2) == 0 ||
		path[0] == '/' || strstr(path, "[*]") != NULL || strstr(path, "[]") != NULL)
		return pstrdup("is neither JSONPath nor a JSON pointer: names of members with dots between them, "
					   "* for all elements of an array, like phones.*.number");
	return NULL;
}

static bool
find_strategy(const JsonbValue *value, EsPiiStrategy *strategy)
{
	for (int i = 0; value->type == jbvString && i < (int) lengthof(names); i++)
		if (value->val.string.len == (int) strlen(names[i]) &&
			memcmp(value->val.string.val, names[i], value->val.string.len) == 0)
		{
			*strategy = (EsPiiStrategy) i;
			return true;
		}
	return false;
}

bool
es_pii_is_strategy(const JsonbValue *value)
{
	EsPiiStrategy strategy;

	return find_strategy(value, &strategy);
}

static char *
overlap_problem(const EsPii *pii)
{
	for (int i = 0; i < pii->n; i++)
		for (int k = i + 1; k < pii->n; k++)
			if (es_personal_overlap(&pii->path[i], &pii->path[k]))
				return psprintf("\"%s\" and \"%s\" can be the same field, or one a part of the other",
								pii->path[i].source, pii->path[k].source);
	return NULL;
}

EsPiiStrategy
es_pii_strategy(const EsPii *pii, const char *field, int length)
{
	for (int i = 0; pii != NULL && i < pii->n; i++)
		if (es_personal_matches(&pii->path[i], field, length))
			return pii->strategy[i];
	return ES_PII_REDACT;
}

char *
es_pii_mask_ip(const char *address, int length)
{
	char		buffer[64];
	unsigned char bytes[16];
	int			family;
	int			size;
	int			kept;
	const char *bits = memchr(address, '/', length);

	if (bits != NULL)
		length = bits - address;
	if (length >= (int) sizeof(buffer))
		return NULL;
	memcpy(buffer, address, length);
	buffer[length] = '\0';
	family = strchr(buffer, ':') != NULL ? PGSQL_AF_INET6 : PGSQL_AF_INET;
	size = family == PGSQL_AF_INET6 ? 16 : 4;
	kept = family == PGSQL_AF_INET6 ? 6 : 2;
	if (pg_inet_net_pton(family, buffer, bytes, -1) < 0)
		return NULL;
	memset(bytes + kept, 0, size - kept);
	if (pg_inet_net_ntop(family, bytes, size * BITS_PER_BYTE, buffer, sizeof(buffer)) == NULL)
		return NULL;
	return pstrdup(buffer);
}

/* Of a string a sign that it is there, of an address its network; else nothing. */
static void
mask(const EsEvent *event, EsPersonalField *field)
{
	JsonbValue *value = &field->value;
	const char *shown = MASK;

	if (value->type == jbvString)
	{
		EsPiiStrategy strategy = es_pii_strategy(es_pii_of_event(event), field->path, field->length);

		if (strategy == ES_PII_MASK_IP)
			shown = es_pii_mask_ip(value->val.string.val, value->val.string.len);
		else if (strategy == ES_PII_NULL)
			shown = NULL;
		if (strategy == ES_PII_MASK_IP && shown == NULL)
			shown = MASK;
	}
	else
		shown = NULL;
	value->type = jbvNull;
	if (shown != NULL)
	{
		value->type = jbvString;
		value->val.string.val = unconstify(char *, shown);
		value->val.string.len = strlen(shown);
	}
}
