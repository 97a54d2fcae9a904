/*
 * personal.c
 *		Personal fields of an event on its way into the log.
 *
 * They are cut out of the data before any rule but the schema looks at it, and go
 * with the event (EsEvent.personal) until both are written.  Schemas and folds are
 * given a copy that has them.
 */
#include "append/personal.h"

#include "append/draft.h"
#include "errors.h"
#include "log/vault.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

static const EsPii *pii_of(const EsEvent *event, const EsEventType *type, const EsDraft *draft);

void
es_personal_take(EsEvent *event, const EsEventType *type, const EsDraft *draft)
{
	const EsPii *pii = pii_of(event, type, draft);
	Jsonb	   *data = DatumGetJsonbP(event->value[ES_EVENT_DATA]);

	if (draft->personal != NULL)
		event->personal = draft->personal;
	else if (pii != NULL)
		data = es_personal_cut(data, pii->path, pii->n, &event->personal);
	if (event->personal == NULL)
		return;
	es_personal_commit(event->personal);
	event->commitment = event->personal->commitment;
	es_event_set(event, ES_EVENT_DATA, JsonbPGetDatum(data));
}

static const EsPii *
pii_of(const EsEvent *event, const EsEventType *type, const EsDraft *draft)
{
	if (draft != NULL && draft->pii != NULL)
		return draft->pii;
	return es_event_type_pii(type, DatumGetInt32(event->value[ES_EVENT_SCHEMA_VERSION]));
}

void
es_personal_refuse_filled(const EsEvent *event, const EsEventType *type)
{
	const EsPii *pii = pii_of(event, type, NULL);
	EsPersonal *cut;

	if (pii == NULL)
		return;
	(void) es_personal_cut(DatumGetJsonbP(event->value[ES_EVENT_DATA]), pii->path, pii->n, &cut);
	if (cut != NULL)
		ereport(ERROR,
				(errcode(ES_ERRCODE_INVALID_DEFINITION),
				 errmsg("state machine fills in personal field \"%.*s\" of event type \"%s\"",
						cut->field[0].length, cut->field[0].path, type->name),
				 errdetail("What a state machine computes cannot be erased without changing what it decides."),
				 errhint("Take the field out of \"fill\", or out of the type's pii.")));
}

EsEvent *
es_personal_told(EsEvent *event, EsEvent *copy)
{
	if (event->personal == NULL)
		return event;
	*copy = *event;
	copy->value[ES_EVENT_DATA] =
		JsonbPGetDatum(es_personal_put_back(DatumGetJsonbP(event->value[ES_EVENT_DATA]), event->personal));
	copy->vault = 0;
	return copy;
}

/*
 * A plain digest of personal fields would let anybody who reads it try values; so the
 * salts are in it.  Of a repetition the fields are found by the event's, and salted
 * as these are.
 */
void
es_personal_digest(const EsDraft *draft, const EsEvent *event, uint8 *digest)
{
	Jsonb	   *data = draft->data != NULL ? draft->data : es_draft_empty_object();
	const uint8 *commitment = NULL;
	EsVaultRow	row;

	if (event->commitment != NULL)
	{
		if (event->personal != NULL)
			row.personal = *event->personal;
		else if (!es_vault_read(DatumGetInt64(event->value[ES_EVENT_POSITION]), SnapshotSelf, &row))
			row.personal.n = 0;
		commitment = es_vault_commit_again(&row.personal, data, &data);
	}
	es_draft_digest(draft, data, commitment, digest);
}
