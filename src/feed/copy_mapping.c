/*
 * copy_mapping.c
 *		What becomes of the events of a category that is copied.
 *
 * A mapping is an object: event type -> null (dropped), an object (what it
 * becomes), or an array of those (it is split, in that order).  A type that is
 * not there goes by "*", and without that stays as it is.
 *
 * Expressions are over "event", as corrected and upcast, and have the rights of
 * who defined the copy.  They are compiled for each stretch anew, and evaluated
 * while its batch is at work: what they call must not append.
 */
#include "feed/copy_mapping.h"

#include "append/draft.h"
#include "catalog/pg_type.h"
#include "log/json.h"
#include "log/reading.h"
#include "log/stream.h"
#include "miscadmin.h"
#include "rules/expr.h"
#include "utils/builtins.h"
#include "utils/datum.h"

/* What is said of an event by an expression. */
typedef enum Part
{
	PART_DATA,
	PART_STREAM,
	PART_KEY,
	PART_WHEN,
	PARTS
} Part;

static const struct
{
	const char *name;
	Oid			type;
}			parts[PARTS] = {
	[PART_DATA] = {"data", JSONBOID},
	[PART_STREAM] = {"stream", TEXTOID},
	[PART_KEY] = {"key", TEXTOID},
	[PART_WHEN] = {"when", BOOLOID},
};

struct EsMappingTarget
{
	const text *type;			/* NULL: that of the event */
	EsExpr	   *part[PARTS];	/* NULL: as it is; WHEN: always */
	int32		schema_version; /* 0: the latest */
};

typedef struct Rule
{
	const char *type;
	int			length;
	List	   *targets;		/* of EsMappingTarget */
} Rule;

struct EsMapping
{
	const text *to;
	Oid			owner;			/* whose rights expressions have */
	int			n_rules;
	Rule	   *rules;			/* in jsonb's order of keys */
	List	   *others;			/* targets of types that have no rule */
};

/* Reading a mapping. */
typedef struct Reader
{
	EsExprScope scope;
	List	  **problems;		/* NULL: there are none */
	const char *place;			/* for a message: which target of which type */
} Reader;

/* An expression on its way. */
typedef struct Compilation
{
	const EsExprScope *scope;
	char	   *source;
	Oid			type;
	EsExpr	   *result;
} Compilation;

static List *read_targets(Reader *reader, const JsonbValue *value, const char *type);
static EsMappingTarget *read_target(Reader *reader, const JsonbValue *value);
static void read_member(Reader *reader, EsMappingTarget *target, const char *name, const JsonbValue *value);
static const text *read_type(Reader *reader, const JsonbValue *value);
static int32 read_version(Reader *reader, const JsonbValue *value);
static EsExpr *read_part(Reader *reader, Part part, const JsonbValue *value);
static void compile_part(void *arg);
static void complain(Reader *reader, char *problem);
static int	compare_rules(const void *a, const void *b);
static bool fill_draft(const EsMapping *mapping, const EsMappingTarget *target, const EsEvent *event,
					   EsDraft *draft);
static Datum eval_part(const EsMappingTarget *target, Part part, const EsEvent *event);
static const text *new_stream(const EsMapping *mapping, const EsMappingTarget *target, const EsEvent *event);
static void refuse_stream(const EsMapping *mapping, const text *stream);

List *
es_mapping_check(Jsonb *mapping)
{
	List	   *problems = NIL;
	Reader		reader = {.scope = {.owner = GetUserId()},.problems = &problems};
	JsonbValue	all;
	EsJsonPair *pairs;
	int			count;

	if (!JB_ROOT_IS_OBJECT(mapping))
		return list_make1(pstrdup("mapping: must be an object of event types"));
	es_json_value(mapping, &all);
	count = es_json_pairs(&all, &pairs);
	for (int i = 0; i < count; i++)
		(void) read_targets(&reader, &pairs[i].value, es_json_quote(&pairs[i].key));
	return problems;
}

EsMapping *
es_mapping_compile(Jsonb *mapping, const char *to, Oid owner)
{
	EsMapping  *result = palloc0(sizeof(EsMapping));
	Reader		reader = {.scope = {.owner = owner}};
	JsonbValue	all;
	EsJsonPair *pairs;

	result->to = cstring_to_text(to);
	result->owner = owner;
	result->others = list_make1(palloc0(sizeof(EsMappingTarget)));
	if (mapping == NULL)
		return result;
	es_json_value(mapping, &all);
	result->n_rules = es_json_pairs(&all, &pairs);
	result->rules = palloc0(Max(1, result->n_rules) * sizeof(Rule));
	for (int i = 0; i < result->n_rules; i++)
	{
		Rule	   *rule = &result->rules[i];

		rule->type = es_json_string(&pairs[i].key);
		rule->length = strlen(rule->type);
		rule->targets = read_targets(&reader, &pairs[i].value, rule->type);
		if (strcmp(rule->type, "*") == 0)
			result->others = rule->targets;
	}
	qsort(result->rules, result->n_rules, sizeof(Rule), compare_rules);
	return result;
}

List *
es_mapping_targets(const EsMapping *mapping, const text *type)
{
	Rule		key = {.type = VARDATA_ANY(type),.length = VARSIZE_ANY_EXHDR(type)};
	Rule	   *rule = mapping->n_rules == 0 ? NULL :
		bsearch(&key, mapping->rules, mapping->n_rules, sizeof(Rule), compare_rules);

	return rule == NULL ? mapping->others : rule->targets;
}

bool
es_mapping_apply(const EsMapping *mapping, const EsMappingTarget *target, const EsEvent *event,
				 EsDraft *draft)
{
	EsExprUse	use = {.what = "mapping",.owner_kind = "copy to category",.owner = mapping->to};
	volatile bool becomes = false;

	es_expr_begin_use(&use, event);
	es_hall_enter();
	PG_TRY();
	{
		becomes = fill_draft(mapping, target, event, draft);
	}
	PG_FINALLY();
	{
		es_hall_leave();
	}
	PG_END_TRY();
	es_expr_end_use(&use);
	return becomes;
}

/* ---- reading ---- */

static List *
read_targets(Reader *reader, const JsonbValue *value, const char *type)
{
	List	   *targets = NIL;
	JsonbValue *elements;
	int			count;

	reader->place = type;
	if (value->type == jbvNull)
		return NIL;
	if (!es_json_is_array(value))
		return list_make1(read_target(reader, value));
	count = es_json_elements(value, &elements);
	if (count == 0)
		complain(reader, pstrdup("must not be an empty list; null drops an event"));
	for (int i = 0; i < count; i++)
	{
		reader->place = psprintf("%s[%d]", type, i);
		targets = lappend(targets, read_target(reader, &elements[i]));
	}
	return targets;
}

static EsMappingTarget *
read_target(Reader *reader, const JsonbValue *value)
{
	EsMappingTarget *target = palloc0(sizeof(EsMappingTarget));
	EsJsonPair *pairs;
	int			count;

	if (!es_json_is_object(value))
	{
		complain(reader, psprintf("must be null, an object or a list of objects, not %s", es_json_kind(value)));
		return target;
	}
	count = es_json_pairs(value, &pairs);
	for (int i = 0; i < count; i++)
		read_member(reader, target, es_json_string(&pairs[i].key), &pairs[i].value);
	if (es_json_find(value->val.binary.data, "stream", NULL) != NULL &&
		es_json_find(value->val.binary.data, "key", NULL) != NULL)
		complain(reader, pstrdup("has both stream and key; key is what stands behind the category"));
	return target;
}

static void
read_member(Reader *reader, EsMappingTarget *target, const char *name, const JsonbValue *value)
{
	if (strcmp(name, "type") == 0)
		target->type = read_type(reader, value);
	else if (strcmp(name, "schema_version") == 0)
		target->schema_version = read_version(reader, value);
	else
	{
		Part		part = 0;

		while (part < PARTS && strcmp(name, parts[part].name) != 0)
			part++;
		if (part == PARTS)
			complain(reader, psprintf("there is no \"%s\"; there are type, data, stream, key, when and schema_version", name));
		else
			target->part[part] = read_part(reader, part, value);
	}
}

static const text *
read_type(Reader *reader, const JsonbValue *value)
{
	if (value->type != jbvString || value->val.string.len == 0 || value->val.string.len > ES_MAX_WORD)
	{
		complain(reader, psprintf("type: must be a string of 1 to %d bytes", ES_MAX_WORD));
		return NULL;
	}
	return cstring_to_text_with_len(value->val.string.val, value->val.string.len);
}

static int32
read_version(Reader *reader, const JsonbValue *value)
{
	char	   *digits = value->type != jbvNumeric ? pstrdup("") : numeric_normalize(value->val.numeric);
	size_t		length = strlen(digits);

	if (length == 0 || length > 5 || strspn(digits, "0123456789") != length ||
		atoi(digits) < 1 || atoi(digits) > PG_INT16_MAX)
	{
		complain(reader, psprintf("schema_version: must be a number from 1 to %d", PG_INT16_MAX));
		return 0;
	}
	return atoi(digits);
}

static EsExpr *
read_part(Reader *reader, Part part, const JsonbValue *value)
{
	Compilation compilation = {.scope = &reader->scope,.type = parts[part].type};

	if (value->type != jbvString)
	{
		complain(reader, psprintf("%s: must be a string, an SQL expression", parts[part].name));
		return NULL;
	}
	compilation.source = es_json_string(value);
	if (reader->problems == NULL)
		compile_part(&compilation);
	else
	{
		char	   *problem = es_expr_problem(compile_part, &compilation);

		if (problem != NULL)
			complain(reader, psprintf("%s: %s", parts[part].name, problem));
	}
	return compilation.result;
}

static void
compile_part(void *arg)
{
	Compilation *compilation = arg;

	compilation->result = es_expr_compile(compilation->scope, compilation->source, compilation->type, -1);
}

/* What was checked when it was defined has no problem. */
static void
complain(Reader *reader, char *problem)
{
	if (reader->problems != NULL)
		*reader->problems = lappend(*reader->problems, psprintf("%s: %s", reader->place, problem));
}

static int
compare_rules(const void *a, const void *b)
{
	const Rule *left = a;
	const Rule *right = b;

	if (left->length != right->length)
		return left->length < right->length ? -1 : 1;
	return memcmp(left->type, right->type, left->length);
}

/* ---- applying ---- */

/* What expressions make of personal fields, nobody knows: they need the right. */
static void
expect_trusted(const EsMapping *mapping, const EsMappingTarget *target, const EsEvent *event)
{
	bool		is_plain = true;

	for (Part part = 0; part < PARTS; part++)
		is_plain = is_plain && target->part[part] == NULL;
	if (is_plain || event->personal == NULL || es_reading_is_trusted(mapping->owner))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("the mapping's expressions may not see the personal fields of event type \"%s\"",
					text_to_cstring(es_event_text(event, ES_EVENT_TYPE))),
			 errdetail("They have the rights of the role that began the copy, which may not see personal data."),
			 errhint("Let the owner of the extension call eventsource.grant_personal_data() for that role.")));
}

static bool
fill_draft(const EsMapping *mapping, const EsMappingTarget *target, const EsEvent *event, EsDraft *draft)
{
	EsBinding	binding = {.event = event};

	expect_trusted(mapping, target, event);
	if (target->part[PART_WHEN] != NULL && !es_expr_eval_bool(target->part[PART_WHEN], &binding))
		return false;
	draft->stream = new_stream(mapping, target, event);
	draft->type = target->type != NULL ? target->type :
		(text *) DatumGetPointer(datumCopy(event->value[ES_EVENT_TYPE], false, -1));
	draft->schema_version = target->schema_version;
	if (target->part[PART_DATA] != NULL)
		draft->data = DatumGetJsonbP(eval_part(target, PART_DATA, event));
	else
		draft->data = DatumGetJsonbPCopy(event->value[ES_EVENT_DATA]);
	return true;
}

static Datum
eval_part(const EsMappingTarget *target, Part part, const EsEvent *event)
{
	EsBinding	binding = {.event = event};
	bool		isnull;
	Datum		value = es_expr_eval(target->part[part], &binding, &isnull);

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s of a copied event must not be null", parts[part].name),
				 errdetail("The mapping's expression gives null for this event."),
				 errhint("Use \"when\" to leave an event out, or coalesce() for a default.")));
	return value;
}

/* Of the same key, unless the mapping says otherwise. */
static const text *
new_stream(const EsMapping *mapping, const EsMappingTarget *target, const EsEvent *event)
{
	const text *key = es_event_text(event, ES_EVENT_KEY);
	int			length = VARSIZE_ANY_EXHDR(mapping->to);
	text	   *stream;

	if (target->part[PART_STREAM] != NULL)
	{
		stream = DatumGetTextPP(eval_part(target, PART_STREAM, event));
		if (es_stream_category_length(stream) != length ||
			memcmp(VARDATA_ANY(stream), VARDATA_ANY(mapping->to), length) != 0)
			refuse_stream(mapping, stream);
		return stream;
	}
	if (target->part[PART_KEY] != NULL)
		key = DatumGetTextPP(eval_part(target, PART_KEY, event));
	stream = palloc(VARHDRSZ + length + 1 + VARSIZE_ANY_EXHDR(key));
	SET_VARSIZE(stream, VARHDRSZ + length + 1 + VARSIZE_ANY_EXHDR(key));
	memcpy(VARDATA(stream), VARDATA_ANY(mapping->to), length);
	VARDATA(stream)[length] = '-';
	memcpy(VARDATA(stream) + length + 1, VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));
	return stream;
}

static void
refuse_stream(const EsMapping *mapping, const text *stream)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("stream \"%s\" is not of category \"%s\"", text_to_cstring(stream), text_to_cstring(mapping->to)),
			 errdetail("A copy writes one category alone."),
			 errhint("Let the mapping's stream begin with '%s-', or say key instead.", text_to_cstring(mapping->to))));
}
