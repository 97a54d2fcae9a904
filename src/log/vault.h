/*
 * vault.h
 *		Where personal fields are kept, so that they can be erased, beside the events
 *		whose data lacks them.
 *
 *		One row per event that has any.  The event's row holds the commitment to them
 *		(log/chain.h), which stays; the chain is never broken by what happens here.
 */
#ifndef ES_LOG_VAULT_H
#define ES_LOG_VAULT_H

#include "eventsource.h"
#include "log/personal.h"
#include "utils/snapshot.h"

typedef enum EsVaultState
{
	ES_VAULT_OPEN,
	ES_VAULT_HIDDEN				/* nobody sees the fields, folds included;
								 * they can be shown again */
} EsVaultState;

typedef struct EsVaultRow
{
	int64		position;
	int64		stream_id;
	text	   *subject;
	EsPersonal	personal;		/* without commitments, which are computed
								 * where they are needed */
	EsVaultState state;
} EsVaultRow;

/* Rows of those events that have personal fields; the events are written with them. */
extern void es_vault_insert(const EsEvent *events, int count);

/* False: there is none.  Everything is palloc'd. */
extern bool es_vault_read(int64 position, Snapshot snapshot, EsVaultRow *row);

/*
 * Calls visit() for each row of a subject, in no order, until it says false.  What a
 * call allocates is gone after it.
 */
typedef bool (*EsVaultVisit) (const EsVaultRow *row, void *arg);
extern void es_vault_visit_subject(const text *subject, Snapshot snapshot, EsVaultVisit visit, void *arg);

/*
 * Erases fields of the event, or replaces them: replace() says of each field what
 * stands there from now on (a null: nothing), or false to keep it.  Their salts go,
 * what they were committed to stays.  Returns how many fields were changed.  Whoever
 * calls serialises writers of the row, and its snapshot is SnapshotSelf.
 */
typedef bool (*EsVaultReplace) (const EsVaultRow *row, const EsPersonalField *field, JsonbValue *value,
								void *arg);
extern int	es_vault_erase(int64 position, EsVaultReplace replace, void *arg);

/* Likewise; false if there is no row, or it is in that state. */
extern bool es_vault_set_state(int64 position, EsVaultState state);

/* Takes away the row of an event that is taken out of the log, if there is one. */
extern void es_vault_forget(int64 position);

/* What the vault has to say about an event with a commitment, as it is stored. */
typedef enum EsVaultVerdict
{
	ES_VAULT_INTACT,			/* every field is what was recorded */
	ES_VAULT_REDACTED,			/* some were erased or replaced; the rest is */
	ES_VAULT_MISSING,			/* there is no row */
	ES_VAULT_STRAY,				/* it is another stream's or subject's, so
								 * that no erasure would find it */
	ES_VAULT_TAMPERED			/* it is not what was committed to */
} EsVaultVerdict;

/* row: what there is, with commitments, unless it is missing or stray. */
extern EsVaultVerdict es_vault_verify(const EsEvent *event, Snapshot snapshot, EsVaultRow *row);

/*
 * The commitment to the personal fields that data has where those of the event are;
 * *cut: data without them.  For who asks whether both are the same: fields that are
 * erased count as same if they are there at all.
 */
extern const uint8 *es_vault_commit_again(const EsPersonal *personal, Jsonb *data, Jsonb **cut);

#endif							/* ES_LOG_VAULT_H */
