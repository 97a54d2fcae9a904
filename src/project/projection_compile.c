/*
 * projection_compile.c
 *		From a definition in jsonb to rules with compiled expressions.
 *
 * The same code serves create_projection, which wants to hear of every problem
 * at once, and the cache, for which the first one is an error.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "errors.h"
#include "log/format.h"
#include "log/json.h"
#include "miscadmin.h"
#include "project/projection.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* A definition being compiled. */
typedef struct Compiler
{
	EsProjection *projection;
	const char *definer;
	List	  **problems;		/* NULL: raise the first */
	JsonbValue *key;			/* defaults of all rules, or NULL */
	JsonbValue *each;
	bool		single_category;

	/* The rule at hand. */
	const char *label;
	EsRule	   *rule;
	EsExprScope scope;
} Compiler;

/* What a rule's object says; NULL where it says nothing. */
typedef struct RuleText
{
	JsonbValue *set;
	JsonbValue *key;
	JsonbValue *where;
	JsonbValue *each;
	JsonbValue *missing;
} RuleText;

/* One expression to compile, and where it goes. */
typedef struct Part
{
	const EsExprScope *scope;
	const char *source;
	Oid			type;
	int32		typmod;
	EsExpr	   *expr;
	List	   *exprs;
	List	   *attnos;
	Oid			item_type;
	TupleDesc	item_row;
} Part;

static void compile_rules(Compiler *compiler, JsonbValue *rules);
static void compile_rule(Compiler *compiler, const JsonbValue *type, JsonbValue *value);
static bool read_rule(Compiler *compiler, JsonbValue *value, RuleText *text);
static void compile_each(Compiler *compiler, JsonbValue *each);
static void compile_keys(Compiler *compiler, JsonbValue *key);
static void compile_stream_key(Compiler *compiler);
static void refuse_other_keys(Compiler *compiler, JsonbValue *key);
static void compile_where(Compiler *compiler, JsonbValue *where);
static void compile_set(Compiler *compiler, JsonbValue *set);
static void read_missing(Compiler *compiler, JsonbValue *missing);
static void identify_row(Compiler *compiler);
static void settle_sharing(Compiler *compiler);
static bool tells_apart(const EsKeyColumn *key, bool *must_spell);
static bool depends_on_place(const EsRule *rule, int nkeys);
static bool follows_from_stream(const EsRule *rule, int nkeys);
static bool compile_part(Compiler *compiler, const char *what, void (*compile) (void *arg), Part *part);
static void compile_scalar_part(void *arg);
static void compile_set_part(void *arg);
static void compile_each_part(void *arg);
static void complain(Compiler *compiler, const char *format,...) pg_attribute_printf(2, 3);
static void raise_in_context(void *arg);
static bool get_string(Compiler *compiler, const char *what, JsonbValue *value, char **string);
static JsonbValue *find(Jsonb *data, const char *key);
static const char *column_name(const EsTarget *target, AttrNumber attno);

EsProjection *
es_projection_compile(const EsDefinition *definition, Oid relid, List **problems)
{
	EsProjection *projection = palloc0(sizeof(EsProjection));
	Compiler	compiler = {.projection = projection,.problems = problems};
	ErrorContextCallback context = {.callback = raise_in_context,.arg = &compiler};
	char	   *mode = es_json_find_string(&definition->data->root, "mode");
	JsonbValue *categories = find(definition->data, "category");
	JsonbValue *elements = NULL;
	int			count = categories != NULL && es_json_is_array(categories) ?
		es_json_elements(categories, &elements) : 0;

	context.previous = error_context_stack;
	projection->name = pstrdup(definition->name);
	projection->version = definition->version;
	projection->is_async = mode != NULL && strcmp(mode, "async") == 0;
	for (int i = 0; i < count; i++)
		if (elements[i].type == jbvString)
			projection->categories = lappend(projection->categories, es_json_string(&elements[i]));

	if (problems == NULL)
		error_context_stack = &context;
	projection->target = es_target_make(relid);
	projection->target->categories = projection->categories;
	projection->definer = es_expr_owner_beside(definition->owner, projection->target->desc);
	compiler.single_category = list_length(projection->categories) == 1;
	compiler.key = find(definition->data, "key");
	compiler.each = find(definition->data, "each");
	compile_rules(&compiler, find(definition->data, "rules"));
	if (problems == NULL || *problems == NIL)
		settle_sharing(&compiler);
	error_context_stack = context.previous;
	return problems != NULL && *problems != NIL ? NULL : projection;
}

static void
compile_rules(Compiler *compiler, JsonbValue *rules)
{
	EsJsonPair *pairs;
	int			count;

	compiler->label = "rules";
	if (rules == NULL || !es_json_is_object(rules))
	{
		complain(compiler, "must be an object from event types to rules");
		return;
	}
	count = es_json_pairs(rules, &pairs);
	if (count == 0)
		complain(compiler, "must name at least one event type, or \"*\"");
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		compile_rule(compiler, &pairs[i].key, &pairs[i].value);
	}
}

static void
compile_rule(Compiler *compiler, const JsonbValue *type, JsonbValue *value)
{
	EsProjection *projection = compiler->projection;
	EsRule	   *rule = palloc0(sizeof(EsRule));
	RuleText text = {0};

	compiler->label = psprintf("rule %s", es_json_quote(type));
	compiler->rule = rule;
	compiler->scope = (EsExprScope)
	{
		.owner = projection->definer
	};
	if (type->val.string.len == 0 || type->val.string.len > ES_MAX_WORD)
		complain(compiler, "an event type has 1 to %d bytes", ES_MAX_WORD);
	if (!read_rule(compiler, value, &text))
		return;

	compile_each(compiler, text.each != NULL ? text.each : compiler->each);
	compile_keys(compiler, text.key != NULL ? text.key : compiler->key);
	compiler->scope.row = projection->target->desc;
	compile_where(compiler, text.where);
	compile_set(compiler, text.set);
	read_missing(compiler, text.missing);

	if (type->val.string.len == 1 && type->val.string.val[0] == '*')
		projection->any = rule;
	else
	{
		rule->type = cstring_to_text_with_len(type->val.string.val, type->val.string.len);
		projection->rules = lappend(projection->rules, rule);
	}
	if (compiler->problems == NULL || *compiler->problems == NIL)
		identify_row(compiler);
}

/* A SET list alone, or an object that holds one. */
static bool
read_rule(Compiler *compiler, JsonbValue *value, RuleText *text)
{
	struct
	{
		const char *name;
		JsonbValue **place;
	}			keys[] = {
		{"set", &text->set},
		{"key", &text->key},
		{"where", &text->where},
		{"each", &text->each},
		{"missing", &text->missing},
	};
	EsJsonPair *pairs;
	int			count;

	if (value->type == jbvString)
	{
		text	  ->set = value;

		return true;
	}
	if (!es_json_is_object(value))
	{
		complain(compiler, "must be a SET list, \"DELETE\" or an object, not %s", es_json_kind(value));
		return false;
	}
	count = es_json_pairs(value, &pairs);
	for (int i = 0; i < count; i++)
	{
		char	   *name = es_json_string(&pairs[i].key);
		int			k;

		for (k = 0; k < (int) lengthof(keys); k++)
			if (strcmp(keys[k].name, name) == 0)
				break;
		if (k == (int) lengthof(keys))
			complain(compiler, "unknown key %s (there are set, key, where, each, missing)",
					 es_json_quote(&pairs[i].key));
		else if (pairs[i].value.type != jbvNull)
			*keys[k].place = &pairs[i].value;
	}
	return true;
}

static void
compile_each(Compiler *compiler, JsonbValue *each)
{
	Part		part = {.scope = &compiler->scope};

	if (!get_string(compiler, "each", each, (char **) &part.source))
		return;
	if (!compile_part(compiler, "each", compile_each_part, &part))
		return;
	compiler->rule->each = part.expr;
	compiler->scope.item_type = part.item_type;
	compiler->scope.item_row = part.item_row;
}

/* One expression per column of the primary key, from an object by column. */
static void
compile_keys(Compiler *compiler, JsonbValue *key)
{
	EsTarget   *target = compiler->projection->target;

	compiler->rule->key = palloc0(sizeof(EsExpr *) * target->nkeys);
	if (key == NULL)
	{
		compile_stream_key(compiler);
		return;
	}
	if (!es_json_is_object(key))
	{
		complain(compiler, "key must be an object from columns to expressions, not %s", es_json_kind(key));
		return;
	}
	for (int i = 0; i < target->nkeys; i++)
	{
		Form_pg_attribute att = TupleDescAttr(target->desc, target->keys[i].attno - 1);
		const char *name = NameStr(att->attname);
		JsonbValue	buffer;
		JsonbValue *value = es_json_find(key->val.binary.data, name, &buffer);
		Part		part = {.scope = &compiler->scope,.type = att->atttypid,.typmod = att->atttypmod};

		if (value == NULL)
			complain(compiler, "key has no expression for column \"%s\"", name);
		else if (get_string(compiler, "key", value, (char **) &part.source) &&
				 compile_part(compiler, psprintf("key \"%s\"", name), compile_scalar_part, &part))
			compiler->rule->key[i] = part.expr;
	}
	refuse_other_keys(compiler, key);
}

/* Without a word about it, the key is the stream's. */
static void
compile_stream_key(Compiler *compiler)
{
	EsTarget   *target = compiler->projection->target;
	Form_pg_attribute att = TupleDescAttr(target->desc, target->keys[0].attno - 1);
	Oid			base = getBaseType(att->atttypid);
	Part		part = {.scope = &compiler->scope,.type = att->atttypid,.typmod = att->atttypmod};

	if (target->nkeys > 1)
	{
		complain(compiler, "the primary key has %d columns: \"key\" must give an expression for each", target->nkeys);
		return;
	}
	part.source = base == TEXTOID || base == VARCHAROID ? "event.key" :
		psprintf("event.key::%s", format_type_extended(att->atttypid, -1, FORMAT_TYPE_FORCE_QUALIFY));
	if (compile_part(compiler, "key (event.key, as none is given)", compile_scalar_part, &part))
		compiler->rule->key[0] = part.expr;
}

static void
refuse_other_keys(Compiler *compiler, JsonbValue *key)
{
	EsTarget   *target = compiler->projection->target;
	EsJsonPair *pairs;
	int			count = es_json_pairs(key, &pairs);

	for (int i = 0; i < count; i++)
	{
		char	   *name = es_json_string(&pairs[i].key);
		int			k;

		for (k = 0; k < target->nkeys; k++)
			if (strcmp(column_name(target, target->keys[k].attno), name) == 0)
				break;
		if (k == target->nkeys)
			complain(compiler, "key %s is no column of the primary key", es_json_quote(&pairs[i].key));
	}
}

static void
compile_where(Compiler *compiler, JsonbValue *where)
{
	Part		part = {.scope = &compiler->scope,.type = BOOLOID,.typmod = -1};

	if (get_string(compiler, "where", where, (char **) &part.source) &&
		compile_part(compiler, "where", compile_scalar_part, &part))
		compiler->rule->where = part.expr;
}

static void
compile_set(Compiler *compiler, JsonbValue *set)
{
	EsTarget   *target = compiler->projection->target;
	Part		part = {.scope = &compiler->scope};

	if (set == NULL)
	{
		complain(compiler, "says nothing to set; \"DELETE\" would delete the row");
		return;
	}
	if (!get_string(compiler, "set", set, (char **) &part.source))
		return;
	if (pg_strcasecmp(part.source, "DELETE") == 0)
	{
		compiler->rule->deletes = true;
		return;
	}
	if (!compile_part(compiler, "set", compile_set_part, &part))
		return;
	for (int i = 0; i < target->nkeys; i++)
		if (list_member_int(part.attnos, target->keys[i].attno))
			complain(compiler, "column \"%s\" belongs to the primary key: say it in \"key\"",
					 column_name(target, target->keys[i].attno));
	compiler->rule->set = part.exprs;
	compiler->rule->set_attnos = part.attnos;
}

static void
read_missing(Compiler *compiler, JsonbValue *missing)
{
	static const char *const words[] = {
		[ES_MISSING_CREATE] = "create",
		[ES_MISSING_SKIP] = "skip",
		[ES_MISSING_ERROR] = "error",
	};
	char	   *word;

	if (!get_string(compiler, "missing", missing, &word))
		return;
	for (int i = 0; i < (int) lengthof(words); i++)
	{
		if (strcmp(words[i], word) == 0)
		{
			compiler->rule->missing = i;
			return;
		}
	}
	complain(compiler, "missing must be create, skip or error, not %s", es_json_quote(missing));
}

/*
 * A row is of one stream if its key holds the stream's name, or the stream's
 * key where the category is known; of one event if it holds the position.
 */
static void
identify_row(Compiler *compiler)
{
	EsTarget   *target = compiler->projection->target;
	EsRule	   *rule = compiler->rule;
	bool		has_category = compiler->single_category;
	EsRowIdentity found = {.sharing = ES_ROW_SHARED};

	for (int i = 0; i < target->nkeys; i++)
	{
		EsEventColumn column;

		if (es_expr_is_event(rule->key[i], &column) && column == ES_EVENT_CATEGORY &&
			getBaseType(target->keys[i].type) == TEXTOID)
			has_category = true;
	}
	for (int i = 0; i < target->nkeys && found.sharing == ES_ROW_SHARED; i++)
	{
		EsRowIdentity row = {.key = i};

		if (!es_expr_is_event(rule->key[i], &row.column) || !tells_apart(&target->keys[i], &row.must_spell))
			continue;
		if (row.column == ES_EVENT_POSITION && target->keys[i].type == INT8OID)
			row.sharing = ES_ROW_OF_EVENT;
		else if (row.column == ES_EVENT_STREAM || (row.column == ES_EVENT_KEY && has_category))
			row.sharing = ES_ROW_OF_STREAM;
		if (row.sharing != ES_ROW_SHARED)
			found = row;
	}
	if (found.sharing == ES_ROW_OF_EVENT)
		found.must_spell = false;
	rule->identity = found;
}

/* One rule that shares rows, or tells them apart in its own way: all share. */
static void
settle_sharing(Compiler *compiler)
{
	EsProjection *projection = compiler->projection;
	List	   *rules = list_copy(projection->rules);
	EsRule	   *first;
	ListCell   *lc;

	if (projection->any != NULL)
		rules = lappend(rules, projection->any);
	first = linitial(rules);
	projection->sharing = first->identity.sharing;
	foreach(lc, rules)
	{
		EsRule	   *rule = lfirst(lc);

		if (rule->identity.sharing != first->identity.sharing || rule->identity.key != first->identity.key ||
			rule->identity.column != first->identity.column)
			projection->sharing = ES_ROW_SHARED;
		if (rule->each == NULL && follows_from_stream(rule, projection->target->nkeys))
			projection->stream_row = rule;
	}
	if (projection->sharing != ES_ROW_OF_STREAM)
		projection->stream_row = NULL;
	foreach(lc, rules)
	{
		EsRule	   *rule = lfirst(lc);

		compiler->label = rule->type == NULL ? "rule \"*\"" : psprintf("rule \"%s\"", text_to_cstring(rule->type));
		if (projection->sharing == ES_ROW_SHARED)
			rule->identity.must_spell = false;
		if (projection->sharing == ES_ROW_SHARED && depends_on_place(rule, projection->target->nkeys))
			complain(compiler, "the key of a row that several streams share cannot depend on event.position or event.hash: it is locked before they are known");
	}
}

/*
 * True if two different texts can never be read as equal values, at least when
 * both are written the way the type prints them.
 */
static bool
tells_apart(const EsKeyColumn *key, bool *must_spell)
{
	Oid			base = getBaseType(key->type);

	*must_spell = base != TEXTOID;
	switch (base)
	{
		case TEXTOID:
		case VARCHAROID:
			return get_collation_isdeterministic(key->collation);
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case UUIDOID:
			return true;
		default:
			return false;
	}
}

static bool
depends_on_place(const EsRule *rule, int nkeys)
{
	bool		depends = rule->each != NULL &&
		(es_expr_uses_event(rule->each, ES_EVENT_POSITION) || es_expr_uses_event(rule->each, ES_EVENT_HASH));

	for (int i = 0; i < nkeys; i++)
		depends |= es_expr_uses_event(rule->key[i], ES_EVENT_POSITION) ||
			es_expr_uses_event(rule->key[i], ES_EVENT_HASH);
	return depends;
}

static bool
follows_from_stream(const EsRule *rule, int nkeys)
{
	for (int i = 0; i < nkeys; i++)
	{
		EsEventColumn column;

		if (!es_expr_is_event(rule->key[i], &column) ||
			(column != ES_EVENT_STREAM && column != ES_EVENT_KEY && column != ES_EVENT_CATEGORY))
			return false;
	}
	return true;
}

/* False if it could not be compiled. */
static bool
compile_part(Compiler *compiler, const char *what, void (*compile) (void *arg), Part *part)
{
	char	   *problem = es_expr_problem(compile, part);

	if (problem == NULL)
		return true;
	complain(compiler, "%s: %s", what, problem);
	return false;
}

static void
compile_scalar_part(void *arg)
{
	Part	   *part = arg;

	part->expr = es_expr_compile(part->scope, part->source, part->type, part->typmod);
}

static void
compile_set_part(void *arg)
{
	Part	   *part = arg;

	part->exprs = es_expr_compile_assignments(part->scope, part->source, &part->attnos);
}

static void
compile_each_part(void *arg)
{
	Part	   *part = arg;

	part->expr = es_expr_compile_set_returning(part->scope, part->source, &part->item_type, &part->item_row);
}

static void
complain(Compiler *compiler, const char *format,...)
{
	StringInfoData line;
	va_list		args;

	initStringInfo(&line);
	appendStringInfo(&line, "%s: ", compiler->label);
	va_start(args, format);
	es_append_va(&line, format, args);
	va_end(args);

	if (compiler->problems == NULL)
		ereport(ERROR,
				(errcode(ES_ERRCODE_INVALID_DEFINITION),
				 errmsg("projection %s cannot be compiled", compiler->projection->name),
				 errdetail("%s", line.data),
				 errhint("Its table or a function it uses has changed: change it back, or define the projection again.")));
	*compiler->problems = lappend(*compiler->problems, line.data);
}

static void
raise_in_context(void *arg)
{
	Compiler   *compiler = arg;

	errcontext("%s of projection %s", compiler->label == NULL ? "target" : compiler->label,
			   compiler->projection->name);
}

/* False if there is none; complains about what is not a string. */
static bool
get_string(Compiler *compiler, const char *what, JsonbValue *value, char **string)
{
	if (value == NULL)
		return false;
	if (value->type != jbvString)
	{
		complain(compiler, "%s must be a string, not %s", what, es_json_kind(value));
		return false;
	}
	*string = es_json_string(value);
	return true;
}

static JsonbValue *
find(Jsonb *data, const char *key)
{
	JsonbValue *value = es_json_find(&data->root, key, NULL);

	return value == NULL || value->type == jbvNull ? NULL : value;
}

static const char *
column_name(const EsTarget *target, AttrNumber attno)
{
	return NameStr(TupleDescAttr(target->desc, attno - 1)->attname);
}
