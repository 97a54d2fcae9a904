/*
 * user_table.h
 *		Tables of users: whose they are, and opening those that may be gone.
 */
#ifndef ES_LOG_USER_TABLE_H
#define ES_LOG_USER_TABLE_H

#include "eventsource.h"

#include "compat.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"

/*
 * 42501 unless the current user has the rights of the table's owner; what: what else he
 * may not do, "track it".  Says nothing of a table that is gone: opening it does.  Ask
 * before a lock is asked for, and again under it: it may go to somebody else until then.
 */
extern void es_user_table_expect_owner(Oid relid, const char *what);

/* 42P01 if it is gone. */
extern Relation es_user_table_open(Oid relid, LOCKMODE lockmode);
ES_NORETURN extern void es_user_table_report_gone(Oid relid);

#endif							/* ES_LOG_USER_TABLE_H */
