/*
 * machine_json.c
 *		Helpers for reading a state machine's definition: objects by tables of
 *		keys, expectations that note a problem instead of raising an error.
 *
 * Everything is palloc'd in the current memory context.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "log/format.h"
#include "miscadmin.h"
#include "rules/machine_json.h"
#include "utils/builtins.h"

/* XState's, which a reader of its manual may try. */
static const char *const later_keys[] = {
	"always", "entry", "exit", "invoke", "actions", "context", "states", "history", NULL
};

static void refuse_key(EsReader *reader, const char *path, const JsonbValue *key);

/* Adds a line. */
void
es_machine_problem(EsProblems *problems, const char *format,...)
{
	StringInfoData line;
	va_list		args;

	problems->count++;
	if (problems->count > ES_PROBLEMS_LISTED)
		return;
	initStringInfo(&line);
	va_start(args, format);
	es_append_va(&line, format, args);
	va_end(args);
	problems->lines = lappend(problems->lines, line.data);
}

/* What is wrong with the name of a state, type, reason or guard; NULL: nothing. */
char *
es_machine_name_problem(const char *bytes, int length)
{
	if (length == 0)
		return pstrdup("a name must not be empty");
	if (length > ES_MAX_WORD)
		return psprintf("the name %s is longer than %d bytes", es_json_quote_bytes(bytes, length), ES_MAX_WORD);
	for (int i = 0; i < length; i++)
	{
		if ((unsigned char) bytes[i] < ' ' || bytes[i] == 127)
			return psprintf("the name %s contains a control character", es_json_quote_bytes(bytes, length));
	}
	return NULL;
}

void
es_machine_read_object(EsReader *reader, const char *path, JsonbValue *value,
					   const EsKeyRule *rules, void *target)
{
	const char *dot = path[0] == '\0' ? "" : ".";
	EsJsonPair *pairs;
	int			npairs;
	int			nread = 0;

	if (!es_machine_expect_object(reader, path, value))
		return;
	npairs = es_json_pairs(value, &pairs);
	for (const EsKeyRule *rule = rules; rule->key != NULL; rule++)
	{
		for (int i = 0; i < npairs; i++)
		{
			if (strcmp(es_json_string(&pairs[i].key), rule->key) != 0)
				continue;
			rule->read(reader, psprintf("%s%s%s", path, dot, rule->key), &pairs[i].value, target);
			pairs[i].key.type = jbvNull;
			nread++;
		}
	}
	for (int i = 0; nread < npairs && i < npairs; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (pairs[i].key.type == jbvString)
			refuse_key(reader, path, &pairs[i].key);
	}
}

bool
es_machine_expect_object(EsReader *reader, const char *path, JsonbValue *value)
{
	if (es_json_is_object(value))
		return true;
	es_machine_problem(reader->problems, "%s: must be an object, not %s",
					   path[0] == '\0' ? "definition" : path, es_json_kind(value));
	return false;
}

bool
es_machine_expect_string(EsReader *reader, const char *path, JsonbValue *value)
{
	if (value->type == jbvString)
		return true;
	es_machine_problem(reader->problems, "%s: must be a string, not %s", path, es_json_kind(value));
	return false;
}

bool
es_machine_expect_name(EsReader *reader, const char *path, JsonbValue *value)
{
	char	   *problem;

	if (!es_machine_expect_string(reader, path, value))
		return false;
	problem = es_machine_name_problem(value->val.string.val, value->val.string.len);
	if (problem == NULL)
		return true;
	es_machine_problem(reader->problems, "%s: %s", path, problem);
	return false;
}

int
es_machine_read_state(EsReader *reader, const char *path, JsonbValue *value)
{
	int			state;

	if (!es_machine_expect_string(reader, path, value))
		return ES_STATE_UNKNOWN;
	state = es_words_find(&reader->machine->states,
						  cstring_to_text_with_len(value->val.string.val, value->val.string.len));
	if (state >= 0)
		return state;
	es_machine_problem(reader->problems, "%s: there is no state %s", path, es_json_quote(value));
	return ES_STATE_UNKNOWN;
}

void
es_machine_keep_string(EsReader *reader, const char *path, JsonbValue *value, void *target)
{
	if (es_machine_expect_string(reader, path, value))
		*(char **) target = es_json_string(value);
}

void
es_machine_check_string(EsReader *reader, const char *path, JsonbValue *value, void *target)
{
	(void) es_machine_expect_string(reader, path, value);
}

static void
refuse_key(EsReader *reader, const char *path, const JsonbValue *key)
{
	const char *where = path[0] == '\0' ? "definition" : path;
	const char *const *later = later_keys;

	while (*later != NULL && strcmp(*later, es_json_string(key)) != 0)
		later++;
	if (*later != NULL)
		es_machine_problem(reader->problems, "%s: %s is not supported in this version",
						   where, es_json_quote(key));
	else
		es_machine_problem(reader->problems, "%s: unknown key %s", where, es_json_quote(key));
}
