/*
 * fold_key.c
 *		The key of the row that an event folds into.
 */
#include "postgres.h"

#include "project/fold_row.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

typedef struct EachKey
{
	const EsProjection *projection;
	const EsRule *rule;
	const EsEvent *event;
	EsKeyTaker	take;
	void	   *arg;
} EachKey;

static void take_item(Datum item, bool isnull, void *arg);
static void take_key(EachKey *each, const EsBinding *binding);
static void expect_spelling(const EsProjection *projection, const EsRule *rule, const EsEvent *event,
							Datum key);

void
es_fold_key(const EsProjection *projection, const EsRule *rule, const EsBinding *binding, Datum *key)
{
	const EsTarget *target = projection->target;

	for (int i = 0; i < target->nkeys; i++)
	{
		bool		isnull;

		key[i] = es_expr_eval(rule->key[i], binding, &isnull);
		if (isnull)
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("event \"%s\" gives projection %s no key",
							text_to_cstring(es_event_text(binding->event, ES_EVENT_TYPE)), target->name),
					 errdetail("Key column \"%s\" would be null.",
							   NameStr(TupleDescAttr(target->desc, target->keys[i].attno - 1)->attname)),
					 errhint("Events of this type must carry what the key is made of.")));
		if (rule->identity.must_spell && rule->identity.key == i)
			expect_spelling(projection, rule, binding->event, key[i]);
	}
}

void
es_fold_each_key(const EsProjection *projection, const EsRule *rule, const EsEvent *event,
				 EsKeyTaker take, void *arg)
{
	EachKey		each = {projection, rule, event, take, arg};
	EsBinding	binding = {.event = event};

	if (rule->each != NULL)
		es_expr_eval_set(rule->each, &binding, take_item, &each);
	else
		take_key(&each, &binding);
}

static void
take_item(Datum item, bool isnull, void *arg)
{
	EachKey    *each = arg;
	EsBinding	binding = {.event = each->event,.item = item,.item_isnull = isnull};

	take_key(each, &binding);
}

static void
take_key(EachKey *each, const EsBinding *binding)
{
	Datum		key[INDEX_MAX_KEYS];

	es_fold_key(each->projection, each->rule, binding, key);
	each->take(key, each->arg);
}

/* "042" and "42" are two streams, but would be one row. */
static void
expect_spelling(const EsProjection *projection, const EsRule *rule, const EsEvent *event, Datum key)
{
	text	   *given = es_event_text(event, rule->identity.column);
	Oid			type = projection->target->keys[rule->identity.key].type;
	Oid			output;
	bool		is_varlena;
	char	   *printed;

	getTypeOutputInfo(type, &output, &is_varlena);
	printed = OidOutputFunctionCall(output, key);
	if (strlen(printed) == VARSIZE_ANY_EXHDR(given) &&
		memcmp(printed, VARDATA_ANY(given), strlen(printed)) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("stream \"%s\" cannot have a row in projection %s",
					text_to_cstring(es_event_text(event, ES_EVENT_STREAM)), projection->target->name),
			 errdetail("Its key is of type %s, which writes it \"%s\".", format_type_be(type), printed),
			 errhint("Name the stream with \"%s\".", printed)));
}
