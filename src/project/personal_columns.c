/*
 * personal_columns.c
 *		What personal fields of events become in a projection.
 *
 * A column is personal if an expression that sets it reads a personal field, or a
 * personal column of the row; what "where" asks is not looked at.  Once a field is
 * erased it is NULL, and the rows are folded anew: so no key may be made of one, and
 * no column that takes no NULL.
 */
#include "postgres.h"

#include "log/reading.h"
#include "miscadmin.h"
#include "project/personal_columns.h"
#include "rules/pii_use.h"
#include "utils/builtins.h"

static void look_at_rule(const EsProjection *projection, const EsRule *rule, EsPersonalColumns *found);
static EsPiiUse use_of(const EsExpr *expr, List *declared);
static bool look_at_set(const EsProjection *projection, const EsRule *rule, List *declared, bool item,
						EsPersonalColumns *found);
static void check_keys(const EsProjection *projection, const EsRule *rule, List *declared,
					   EsPersonalColumns *found);
static void check_set(const EsProjection *projection, const EsRule *rule, List *declared,
					  EsPersonalColumns *found);
static const char *rule_name(const EsRule *rule);
static const char *column_name(const EsProjection *projection, AttrNumber attno);

void
es_personal_columns_find(const EsProjection *projection, EsPersonalColumns *found)
{
	int			before;
	ListCell   *lc;

	memset(found, 0, sizeof(*found));
	do
	{
		before = bms_num_members(found->columns);
		found->problems = NIL;
		foreach(lc, projection->rules)
			look_at_rule(projection, lfirst(lc), found);
		if (projection->any != NULL)
			look_at_rule(projection, projection->any, found);
	} while (bms_num_members(found->columns) > before);
}

/* Looked at once, and only for who has not the right. */
bool
es_personal_columns_hide(const EsProjection *projection)
{
	EsPersonalColumns found;

	if (es_reading_is_trusted(GetUserId()))
		return false;
	if (!projection->is_looked_at)
	{
		es_personal_columns_find(projection, &found);
		projection->target->sees_personal = found.reads;
		unconstify(EsProjection *, projection)->is_looked_at = true;
	}
	return projection->target->sees_personal;
}

static void
look_at_rule(const EsProjection *projection, const EsRule *rule, EsPersonalColumns *found)
{
	List	   *declared;
	bool		item;

	CHECK_FOR_INTERRUPTS();
	declared = es_pii_declared(projection->categories,
							   rule->type == NULL ? NULL : text_to_cstring(rule->type));
	item = rule->each != NULL && use_of(rule->each, declared).touches;
	found->reads |= item || (rule->where != NULL && use_of(rule->where, declared).touches);
	found->reads |= look_at_set(projection, rule, declared, item, found);
	check_keys(projection, rule, declared, found);
	check_set(projection, rule, declared, found);
}

static EsPiiUse
use_of(const EsExpr *expr, List *declared)
{
	EsPiiUse	use = {0};
	ListCell   *lc;

	foreach(lc, declared)
		es_pii_find_use(expr, lfirst(lc), &use);
	return use;
}

/* Does any column read a personal field? */
static bool
look_at_set(const EsProjection *projection, const EsRule *rule, List *declared, bool item,
			EsPersonalColumns *found)
{
	bool		reads = false;
	ListCell   *lc;
	ListCell   *attno;

	forboth(lc, rule->set, attno, rule->set_attnos)
	{
		bool		uses_item;
		Bitmapset  *row = es_pii_row_columns(lfirst(lc), &uses_item);
		bool		touches = use_of(lfirst(lc), declared).touches;

		reads |= touches;
		if (touches || (item && uses_item) || bms_overlap(row, found->columns))
			found->columns = bms_add_member(found->columns, lfirst_int(attno));
	}
	return reads;
}

static void
check_keys(const EsProjection *projection, const EsRule *rule, List *declared, EsPersonalColumns *found)
{
	for (int i = 0; i < projection->target->nkeys; i++)
	{
		EsPiiUse	use = use_of(rule->key[i], declared);

		found->reads |= use.touches;
		if (use.names != NULL)
			found->problems = lappend(found->problems,
									  psprintf("rule \"%s\": key \"%s\" is made of personal field \"%s\": "
											   "once that is erased, its row cannot be found",
											   rule_name(rule),
											   column_name(projection, projection->target->keys[i].attno),
											   use.names));
	}
}

static void
check_set(const EsProjection *projection, const EsRule *rule, List *declared, EsPersonalColumns *found)
{
	ListCell   *lc;
	ListCell   *attno;

	forboth(lc, rule->set, attno, rule->set_attnos)
	{
		EsPiiUse	use = use_of(lfirst(lc), declared);
		AttrNumber	number = lfirst_int(attno);

		if (use.exposed != NULL && TupleDescAttr(projection->target->desc, number - 1)->attnotnull)
			found->problems = lappend(found->problems,
									  psprintf("rule \"%s\": column \"%s\" takes no NULL, which personal field \"%s\" "
											   "is once it is erased: use coalesce()",
											   rule_name(rule), column_name(projection, number),
											   use.exposed));
	}
}

static const char *
rule_name(const EsRule *rule)
{
	return rule->type == NULL ? "*" : text_to_cstring(rule->type);
}

static const char *
column_name(const EsProjection *projection, AttrNumber attno)
{
	return NameStr(TupleDescAttr(projection->target->desc, attno - 1)->attname);
}
