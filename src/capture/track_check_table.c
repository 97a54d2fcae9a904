/*
 * track_check_table.c
 *		Why a table cannot be tracked, and what its key is.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "capture/track_check.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "log/guarded.h"
#include "project/target.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/varlena.h"

/* One table-wide reason. */
typedef struct TableFault
{
	bool		(*has) (Relation rel);
	const char *problem;
} TableFault;

static bool is_partition(Relation rel);
static bool is_parent(Relation rel);
static Oid	primary_key(Relation rel);
static List *columns_of(Relation rel, const char *key, List **problems);
static List *columns_of_index(Relation rel, Oid indexid, List **problems);
static bool has_unique_index(Relation rel, List *attnos);
static bool indexes_just(Relation index, List *attnos);

static const TableFault faults[] = {
	{is_partition, "the table is a partition: track the partitioned table"},
	{is_parent, "other tables inherit from it: their rows would be changed through it unseen"},
	{es_guarded_is, "the table is a projection: events write it, not the other way round"},
};

List *
es_tracking_check_table(Relation rel)
{
	List	   *problems;

	if (rel->rd_rel->relkind != RELKIND_RELATION && rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return list_make1(pstrdup("the target is no table (views and foreign tables have no rows of their own)"));
	problems = es_target_check_kind(rel);
	for (int i = 0; i < (int) lengthof(faults); i++)
		if (faults[i].has(rel))
			problems = lappend(problems, pstrdup(faults[i].problem));
	return problems;
}

static bool
is_partition(Relation rel)
{
	return rel->rd_rel->relispartition;
}

/* relhassubclass outlives what it tells of. */
static bool
is_parent(Relation rel)
{
	return rel->rd_rel->relkind == RELKIND_RELATION && rel->rd_rel->relhassubclass &&
		find_inheritance_children(RelationGetRelid(rel), NoLock) != NIL;
}

/* ---- the key ---- */

List *
es_tracking_check_key(Relation rel, const char *key, List **problems)
{
	Oid			primary;
	List	   *attnos;

	if (key == NULL)
	{
		primary = primary_key(rel);
		if (!OidIsValid(primary))
		{
			*problems = lappend(*problems, pstrdup("the table has no primary key: name columns that are NOT NULL and unique, as in key => 'id'"));
			return NIL;
		}
		return columns_of_index(rel, primary, problems);
	}
	attnos = columns_of(rel, key, problems);
	if (attnos != NIL && !has_unique_index(rel, attnos))
		*problems = lappend(*problems, psprintf("key: no unique index that is checked at once has just the columns %s", key));
	return attnos;
}

/* Deferrable or not. */
static Oid
primary_key(Relation rel)
{
	Oid			result = InvalidOid;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (index->rd_index->indisprimary)
			result = lfirst_oid(lc);
		index_close(index, AccessShareLock);
	}
	return result;
}

/* NIL if there is a problem. */
static List *
columns_of(Relation rel, const char *key, List **problems)
{
	List	   *names;
	List	   *attnos = NIL;
	ListCell   *lc;

	if (!SplitIdentifierString(pstrdup(key), ',', &names) || names == NIL)
	{
		*problems = lappend(*problems, psprintf("key: \"%s\" is no list of columns", key));
		return NIL;
	}
	foreach(lc, names)
	{
		AttrNumber	attno = get_attnum(RelationGetRelid(rel), lfirst(lc));

		if (attno <= 0)
			*problems = lappend(*problems, psprintf("key: there is no column \"%s\"", (char *) lfirst(lc)));
		else if (list_member_int(attnos, attno))
			*problems = lappend(*problems, psprintf("key: column \"%s\" is named twice", (char *) lfirst(lc)));
		else if (!TupleDescAttr(RelationGetDescr(rel), attno - 1)->attnotnull)
			*problems = lappend(*problems, psprintf("key: column \"%s\" must be NOT NULL", (char *) lfirst(lc)));
		else
			attnos = lappend_int(attnos, attno);
	}
	return list_length(attnos) == list_length(names) ? attnos : NIL;
}

static List *
columns_of_index(Relation rel, Oid indexid, List **problems)
{
	Relation	index = index_open(indexid, AccessShareLock);
	List	   *attnos = NIL;

	if (!index->rd_index->indimmediate)
		*problems = lappend(*problems, pstrdup("the primary key is deferrable: two rows could have one key for a while"));
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
		attnos = lappend_int(attnos, index->rd_index->indkey.values[i]);
	index_close(index, AccessShareLock);
	return attnos;
}

static bool
has_unique_index(Relation rel, List *attnos)
{
	bool		result = false;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		result |= indexes_just(index, attnos);
		index_close(index, AccessShareLock);
	}
	return result;
}

static bool
indexes_just(Relation index, List *attnos)
{
	Form_pg_index form = index->rd_index;

	if (!form->indisunique || !form->indimmediate || !form->indisvalid ||
		form->indnkeyatts != list_length(attnos) ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, NULL))
		return false;
	for (int i = 0; i < form->indnkeyatts; i++)
		if (!list_member_int(attnos, form->indkey.values[i]))
			return false;
	return true;
}
