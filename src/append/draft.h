/*
 * draft.h
 *		From what a caller says to a draft, and the defaults that settings give.
 */
#ifndef ES_APPEND_DRAFT_H
#define ES_APPEND_DRAFT_H

#include "append/hall.h"

/* Idempotency keys that begin so are of what the database appends by itself. */
#define ES_KEY_REACTION	"reaction:"
#define ES_KEY_TIMEOUT	"timeout:"
#define ES_KEY_DELIVERY	"delivery:"

extern void es_draft_init(EsDraft *draft);

/* A version that was said; 0, which stands for none in a draft, is refused as out of range. */
static inline void
es_draft_set_schema_version(EsDraft *draft, int32 version)
{
	draft->schema_version = version == 0 ? -1 : version;
}

/* Draft from an object with append()'s argument names as keys. */
extern void es_draft_from_json(EsDraft *draft, JsonbContainer *object, int number);

/* Errors for missing and oversized values; returns the length of the category. */
extern int	es_draft_check(const EsDraft *draft);

/* Error if the stream is of the log's own categories; its name is known to be good. */
extern void es_draft_refuse_reserved(const text *stream);

/*
 * While it is in force, an error says in its CONTEXT which draft it met: its
 * number in a batch (0: a row of an INSERT), its stream and its type.  The
 * caller sets draft (NULL: none) and number.
 */
typedef struct EsDraftContext
{
	ErrorContextCallback callback;
	const EsDraft *draft;
	int			number;
} EsDraftContext;

extern void es_draft_begin_errors(EsDraftContext *context);
extern void es_draft_end_errors(EsDraftContext *context);

/* Metadata as given, with the settings' correlation and causation ids. */
extern Jsonb *es_draft_metadata(const EsDraft *draft);

extern const text *es_draft_actor(const EsDraft *draft);

/* The setting eventsource.reason, or NULL. */
extern const text *es_draft_default_reason(void);

/*
 * What is appended from now on has this in its metadata, unless it says so itself (but for the
 * reactions that led to it); NULL: no more.  Returns what was said before, to be said again
 * afterwards, after an error too.
 */
extern Jsonb *es_draft_caused_by(Jsonb *metadata);

/* Role of the session, or the one below. */
extern const text *es_draft_recorded_by(void);

/*
 * What is appended from now on is recorded by this role, and not by the session's
 * (InvalidOid).  Returns what was said before, to be said again afterwards, after
 * an error too.
 */
extern Oid	es_draft_record_as(Oid role);

/* Up to the end of the GUC level no setting supplies defaults. */
extern void es_draft_forget_settings(void);

/*
 * Digest of what was asked for, to tell a repetition from another event.  Of personal
 * fields the commitment is in it, and of the data what is left (append/personal.h).
 */
extern void es_draft_digest(const EsDraft *draft, Jsonb *data, const uint8 *commitment, uint8 *digest);

/* At module load. */
extern void es_draft_register(void);

/* {} */
extern Jsonb *es_draft_empty_object(void);

#endif							/* ES_APPEND_DRAFT_H */
