/*
 * erase_args.h
 *		What the functions about erasures have in common: their arguments, and who
 *		may call them.
 */
#ifndef ES_TRUST_ERASE_ARGS_H
#define ES_TRUST_ERASE_ARGS_H

#include "fmgr.h"
#include "log/erased.h"

typedef struct EsErasureArgs
{
	const text *subject;
	EsErasedMode mode;
	const text *reason;
	const text *actor;			/* NULL: the default */
} EsErasureArgs;

/* By the numbers of the arguments; mode -1: there is none. */
extern void es_erasure_args(FunctionCallInfo fcinfo, int subject, int mode, int reason, int actor,
							EsErasureArgs *args);

/* Error (42501) unless the current user has the right to erase so. */
extern void es_erasure_expect_right(EsErasedMode mode);

/* A moment as the events about erasures spell it, whatever is set. */
extern char *es_erasure_time(TimestampTz time);

#endif							/* ES_TRUST_ERASE_ARGS_H */
