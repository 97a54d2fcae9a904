/*
 * accounts.h
 *		What the log tells of erasures, for who verifies what they left.
 */
#ifndef ES_LOG_ACCOUNTS_H
#define ES_LOG_ACCOUNTS_H

#include "log/erased.h"

/* Members of the data of a completed erasure. */
#define ES_ERASURE_MODE		"mode"
#define ES_ERASURE_UPTO		"upto"
#define ES_ERASURE_LEFT		"left"

/* Digests in one string of the list, which a string of JSON could not hold. */
#define ES_ERASURE_LEFT_AT_ONCE 1024

/* In one event, which a jsonb could not hold either: those before are in events of their own. */
#define ES_ERASURE_LEFT_IN_EVENT (16 * ES_ERASURE_LEFT_AT_ONCE)

/* Of one subject that was erased ever. */
typedef struct EsAccount
{
	const text *subject;
	int			marks;			/* bits, by EsErasedMode, of those in force */
	int64		hidden_upto;	/* its personal fields are hidden up to this
								 * position; 0: shown */
	EsErasedMode mode;			/* the newest erasure that is for good, or
								 * ES_ERASED_NOT: nothing is about it beyond */
	int64		upto;			/* this position */
	int64		left;			/* so many events hold what it left */
	int64		met;			/* how many of them were met so far */

	int64		version;		/* of the first event that says so, in the
								 * subject's stream */
	int64		upto_version;	/* of the last, which completes it */
	int64		part_version;	/* of the first part of one that is not
								 * completed; 0: there is none */
	int64		part_left;		/* what these say */
	uint8	   *digests;		/* what it left, sorted; NULL: not at hand */
	struct EsAccount *next;		/* of the same hash */
} EsAccount;

/*
 * All of them, as the snapshot, registered, shows the log; in the current memory
 * context.  Memory: 200 bytes per subject, and the digests of those asked for last.
 */
typedef struct EsAccounts EsAccounts;
extern EsAccounts *es_accounts_begin(Snapshot snapshot);
extern void es_accounts_end(EsAccounts *accounts);

/* NULL: the subject was never erased. */
extern EsAccount *es_accounts_find(EsAccounts *accounts, const text *subject);

/* Is it what an event that the erasure left comes to (es_chain_left())? */
extern bool es_accounts_has_left(EsAccounts *accounts, EsAccount *account, const uint8 *digest);

typedef void (*EsAccountVisit) (EsAccount *account, void *arg);
extern void es_accounts_visit(EsAccounts *accounts, EsAccountVisit visit, void *arg);

#endif							/* ES_LOG_ACCOUNTS_H */
