/*
 * guard_hooks.h
 *		Refuses DDL on what is guarded.
 */
#ifndef ES_TRUST_GUARD_HOOKS_H
#define ES_TRUST_GUARD_HOOKS_H

#include "postgres.h"

#include "nodes/nodes.h"

/* guard_statement.c: refuses a statement, by what it names. */
extern void es_guard_judge(Node *statement);

extern void es_guard_hooks_init(void);

#endif							/* ES_TRUST_GUARD_HOOKS_H */
