/*
 * user_table.c
 *		Tables of users: whose they are, and opening those that may be gone.
 */
#include "log/user_table.h"

#include "access/relation.h"
#include "log/catalog.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"

void
es_user_table_expect_owner(Oid relid, const char *what)
{
	char	   *name = get_rel_name(relid);

	if (name != NULL && !has_privs_of_role(GetUserId(), es_catalog_relation_owner(relid)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of table %s", name),
				 errdetail("Only who owns the table may %s.", what),
				 errhint("Let the table's owner do it; grant_admin() gives the right to call the function.")));
}

Relation
es_user_table_open(Oid relid, LOCKMODE lockmode)
{
	Relation	rel = try_relation_open(relid, lockmode);

	if (rel == NULL)
		es_user_table_report_gone(relid);
	return rel;
}

void
es_user_table_report_gone(Oid relid)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("table with OID %u does not exist", relid),
			 errdetail("No relation has this OID, or it was dropped meanwhile."),
			 errhint("Name the table: 'schema.table'.")));
}
