/*
 * target_check.c
 *		Why a table cannot be the target of a projection.
 *
 * Rows are written past triggers, rules and policies, by the fold alone, and
 * must come out the same at every replay: whatever would have to be passed by,
 * or would bring in other values, is refused when the projection is defined.
 * And whether a column of it could be without a value.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "commands/trigger.h"
#include "compat.h"
#include "log/attempt.h"
#include "log/guarded.h"
#include "project/target.h"
#include "rewrite/rewriteHandler.h"
#include "rules/expr_parts.h"
#include "rules/pii_use.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* One for rows, one for TRUNCATE. */
#define GUARDS	2

/* One table-wide reason. */
typedef struct TargetFault
{
	bool		(*has) (Relation rel);
	const char *problem;
} TargetFault;

/* An expression of the table, to be compiled. */
typedef struct OwnExpression
{
	EsExprScope scope;
	Node	   *node;
} OwnExpression;

static bool is_not_table(Relation rel);
static bool is_temporary(Relation rel);
static bool is_unlogged(Relation rel);
static bool is_reserved(Relation rel);
static bool is_inherited(Relation rel);
static bool has_policies(Relation rel);
static bool has_rules(Relation rel);
static bool has_no_key(Relation rel);
static bool has_other_key(Relation rel);
static List *check_triggers(Relation rel, List *problems);
static List *check_indexes(Relation rel, List *problems);
static List *check_columns(Relation rel, List *problems);
static List *check_constraints(Relation rel, List *problems);
static char *check_expression(Relation rel, bool has_row, Node *node);
static void compile_expression(void *arg);

/* Of any table that a definition names. */
static const TargetFault common_faults[] = {
	{is_temporary, "the table is temporary: it would be gone with this session, the events are not"},
	{is_unlogged, "the table is unlogged: it would be empty after a crash, the events are not"},
	{is_reserved, "the table belongs to the system or to eventsource"},
};

static const TargetFault table_faults[] = {
	{is_inherited, "the table inherits, is inherited from, or is a partition"},
	{has_policies, "the table has row level security: rows would be hidden from verification"},
	{has_rules, "the table has rules: they would be passed by"},
	{has_no_key, "the table has no primary key that is checked at once"},
	{has_other_key, "the primary key is no B-tree: it does not find rows by equal keys"},
};

List *
es_target_check(Relation rel)
{
	EsExprTraits traits = {.foreign = true};
	EsRoom		room;
	List	   *problems;

	if (is_not_table(rel))
		return list_make1(pstrdup("the target is not an ordinary table (partitioned tables, views and foreign tables cannot be folded into)"));
	problems = es_target_check_kind(rel);
	for (int i = 0; i < (int) lengthof(table_faults); i++)
		if (table_faults[i].has(rel))
			problems = lappend(problems, pstrdup(table_faults[i].problem));
	problems = check_triggers(rel, problems);
	problems = check_indexes(rel, problems);
	/* Planning may already call what belongs to the table. */
	es_expr_enter_room(&room, rel->rd_rel->relowner, false, &traits);
	problems = check_columns(rel, problems);
	problems = check_constraints(rel, problems);
	es_expr_leave_room(&room);
	return problems;
}

List *
es_target_check_kind(Relation rel)
{
	List	   *problems = NIL;

	for (int i = 0; i < (int) lengthof(common_faults); i++)
		if (common_faults[i].has(rel))
			problems = lappend(problems, pstrdup(common_faults[i].problem));
	return problems;
}

List *
es_target_check_guards(Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;
	List	   *problems = NIL;
	int			count = 0;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (!es_guarded_is_guard(trigger))
			continue;
		count++;
		if (trigger->tgenabled != TRIGGER_FIRES_ALWAYS)
			problems = lappend(problems, psprintf("guard \"%s\" is not enabled ALWAYS: the rows can be changed by hand",
												  trigger->tgname));
	}
	if (count < GUARDS)
		problems = lappend(problems, pstrdup("a guard is missing: the rows can be changed by hand"));
	return problems;
}

static bool
is_not_table(Relation rel)
{
	return rel->rd_rel->relkind != RELKIND_RELATION;
}

static bool
is_temporary(Relation rel)
{
	return rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP;
}

static bool
is_unlogged(Relation rel)
{
	return rel->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED;
}

static bool
is_reserved(Relation rel)
{
	return IsSystemRelation(rel) ||
		RelationGetNamespace(rel) == get_namespace_oid(ES_SCHEMA, true);
}

static bool
is_inherited(Relation rel)
{
	/* relhassubclass and relhasrules outlive what they tell of. */
	return rel->rd_rel->relispartition || has_superclass(RelationGetRelid(rel)) ||
		(rel->rd_rel->relhassubclass && find_inheritance_children(RelationGetRelid(rel), NoLock) != NIL);
}

static bool
has_policies(Relation rel)
{
	return rel->rd_rel->relrowsecurity;
}

static bool
has_rules(Relation rel)
{
	return rel->rd_rules != NULL && rel->rd_rules->numLocks > 0;
}

static bool
has_no_key(Relation rel)
{
	return !OidIsValid(es_compat_primary_key_index(rel));
}

/* PRIMARY KEY (... WITHOUT OVERLAPS) lies in another kind of index. */
static bool
has_other_key(Relation rel)
{
	return !has_no_key(rel) && !OidIsValid(es_target_key_index(rel));
}

/* Foreign keys are triggers too. */
static List *
check_triggers(Relation rel, List *problems)
{
	TriggerDesc *triggers = rel->trigdesc;
	bool		references = false;
	bool		is_referenced = false;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];
		int			kind = RI_FKey_trigger_type(trigger->tgfoid);

		if (kind == RI_TRIGGER_FK)
			references = true;
		else if (kind == RI_TRIGGER_PK)
			is_referenced = true;
		else if (!trigger->tgisinternal && !es_guarded_is_guard(trigger))
			problems = lappend(problems, psprintf("the table has trigger \"%s\": it would be passed by",
												  trigger->tgname));
	}
	if (references)
		problems = lappend(problems, pstrdup("the table has a foreign key: an event cannot wait for other rows"));
	if (is_referenced)
		problems = lappend(problems, pstrdup("foreign keys refer to the table: they would not be checked when a fold deletes a row"));
	return problems;
}

static List *
check_indexes(Relation rel, List *problems)
{
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;

		if ((form->indisunique || form->indisexclusion) && !form->indimmediate)
			problems = lappend(problems, psprintf("constraint \"%s\" is deferrable",
												  RelationGetRelationName(index)));
		index_close(index, AccessShareLock);
	}
	return problems;
}

static List *
check_columns(Relation rel, List *problems)
{
	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);
		bool		is_stored = att->attgenerated == ATTRIBUTE_GENERATED_STORED;
		char	   *problem = NULL;

		if (att->attisdropped)
			continue;
		if (att->attgenerated != '\0' && !is_stored)
			problem = pstrdup("is a virtual generated column; make it STORED");
		else if (att->attidentity != '\0')
			problem = pstrdup("is an identity column: a replay would draw other numbers");
		else
		{
			problem = check_expression(rel, is_stored, build_column_default(rel, i + 1));
			if (problem != NULL)
				problem = psprintf("has a %s that is not deterministic: %s",
								   is_stored ? "value" : "default", problem);
		}
		if (problem != NULL)
			problems = lappend(problems, psprintf("column \"%s\" %s", NameStr(att->attname), problem));
	}
	return problems;
}

/* PostgreSQL lets a CHECK do what it likes: run queries, read the clock. */
static List *
check_constraints(Relation rel, List *problems)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;

	for (int i = 0; constr != NULL && i < constr->num_check; i++)
	{
		char	   *problem;

		if (!es_compat_is_enforced(&constr->check[i]))
			continue;
		problem = check_expression(rel, true, stringToNode(constr->check[i].ccbin));
		if (problem != NULL)
			problems = lappend(problems, psprintf("constraint \"%s\" is not deterministic: %s",
												  constr->check[i].ccname, problem));
	}
	return problems;
}

/* NULL if there is nothing to object to. */
static char *
check_expression(Relation rel, bool has_row, Node *node)
{
	OwnExpression expression = {.node = node};

	if (node == NULL)
		return NULL;
	expression.scope.owner = rel->rd_rel->relowner;
	expression.scope.row = has_row ? RelationGetDescr(rel) : NULL;
	return es_expr_problem(compile_expression, &expression);
}

static void
compile_expression(void *arg)
{
	OwnExpression *expression = arg;

	(void) es_expr_compile_node(&expression->scope, expression->node);
}

/* ---- NULL ---- */

/* A rule of the column, for a row that is all NULL. */
typedef struct NullTask
{
	const EsColumnRule *rule;
	bool		is_false;
} NullTask;

static void
try_null(void *arg)
{
	NullTask   *task = arg;
	EsBinding	nothing = {0};
	bool		isnull;
	Datum		value = es_expr_eval(task->rule->expr, &nothing, &isnull);

	task->is_false = task->rule->name != NULL && !isnull && !DatumGetBool(value);
}

static bool
is_violation(int sqlstate)
{
	int			category = ERRCODE_TO_CATEGORY(sqlstate);

	return category == ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION || category == ERRCODE_DATA_EXCEPTION;
}

bool
es_target_takes_null(const EsTarget *target, AttrNumber attno)
{
	ListCell   *lc;

	if (TupleDescAttr(target->desc, attno - 1)->attnotnull)
		return false;
	foreach(lc, target->domains)
	{
		NullTask	task = {.rule = lfirst(lc)};

		if (task.rule->attno == attno && es_attempt(try_null, &task, is_violation) != NULL)
			return false;
	}
	foreach(lc, target->checks)
	{
		NullTask	task = {.rule = lfirst(lc)};
		bool		uses_item;
		Bitmapset  *columns = es_pii_row_columns(task.rule->expr, &uses_item);

		if (bms_membership(columns) != BMS_SINGLETON || !bms_is_member(attno, columns))
			continue;
		if (es_attempt(try_null, &task, is_violation) != NULL || task.is_false)
			return false;
	}
	return true;
}
