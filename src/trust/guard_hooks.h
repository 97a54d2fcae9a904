/*
 * guard_hooks.h
 *		Refuses DDL on what is guarded.
 */
#ifndef ES_TRUST_GUARD_HOOKS_H
#define ES_TRUST_GUARD_HOOKS_H

#include "postgres.h"

#include "nodes/nodes.h"

/*
 * guard_statement.c: refuses a statement, by what it names.  True: it changes only how what
 * is guarded is stored or planned for.
 */
extern bool es_guard_judge(Node *statement);

/* guard_catalog.c: is it a system catalog whose rows concern what is guarded? */
extern bool es_guard_is_watched_catalog(Oid relid);

/* guard_watch.c: a duty of the worker. */
extern long es_guard_watch_duty(void);

extern void es_guard_hooks_init(void);
extern void es_guard_catalog_init(void);
extern void es_guard_watch_init(void);

#endif							/* ES_TRUST_GUARD_HOOKS_H */
