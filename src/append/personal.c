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
#include "log/reading.h"
#include "log/vault.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

void
es_personal_take(EsEvent *event, const EsEventType *type, const EsDraft *draft)
{
	const EsPii *pii = es_event_type_pii(type, DatumGetInt32(event->value[ES_EVENT_SCHEMA_VERSION]));
	Jsonb	   *whole = DatumGetJsonbP(event->value[ES_EVENT_DATA]);
	Jsonb	   *data = whole;
	EsPersonalPath *paths = NULL;
	int			n = 0;

	if (draft->personal != NULL)
		event->personal = draft->personal;
	else if (pii != NULL && draft->pii == NULL && draft->like == NULL &&
			 (draft->flags & ES_EVENT_CAPTURED) == 0)
		data = es_personal_cut(data, pii->path, pii->n, &event->personal);
	else if (pii != NULL || draft->pii != NULL || draft->like != NULL)
	{
		paths = es_personal_add_paths(paths, &n, pii);
		paths = es_personal_add_paths(paths, &n, draft->pii);
		paths = es_personal_add_fields(paths, &n, draft->like);
		es_personal_keep_places(paths, n, draft->flags);
		data = es_personal_cut(data, paths, n, &event->personal);
	}
	if (event->personal == NULL)
		return;
	es_personal_commit(event->personal);
	event->commitment = event->personal->commitment;
	if (data != whole)
	{
		event->personal->whole = whole;
		event->personal->left = data;
	}
	es_event_set(event, ES_EVENT_DATA, JsonbPGetDatum(data));
}

EsPersonalPath *
es_personal_add_paths(EsPersonalPath *paths, int *n, const EsPii *pii)
{
	if (pii == NULL)
		return paths;
	paths = paths == NULL ? palloc((*n + pii->n) * sizeof(EsPersonalPath)) :
		repalloc(paths, (*n + pii->n) * sizeof(EsPersonalPath));
	memcpy(paths + *n, pii->path, pii->n * sizeof(EsPersonalPath));
	*n += pii->n;
	return paths;
}

/* What was captured tells by "old" and "new" what became of a row. */
void
es_personal_keep_places(EsPersonalPath *paths, int n, int flags)
{
	for (int i = 0; i < n; i++)
		paths[i].keeps_place = (flags & ES_EVENT_CAPTURED) != 0;
}

EsPersonalPath *
es_personal_add_fields(EsPersonalPath *paths, int *n, const EsPersonal *fields)
{
	if (fields == NULL || fields->n == 0)
		return paths;
	paths = paths == NULL ? palloc((*n + fields->n) * sizeof(EsPersonalPath)) :
		repalloc(paths, (*n + fields->n) * sizeof(EsPersonalPath));
	for (int i = 0; i < fields->n; i++)
		(void) es_personal_parse(pnstrdup(fields->field[i].path, fields->field[i].length), &paths[(*n)++]);
	return paths;
}

void
es_personal_refuse_filled(const EsEvent *event, const EsEventType *type)
{
	const EsPii *pii = es_event_type_pii(type, DatumGetInt32(event->value[ES_EVENT_SCHEMA_VERSION]));
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

/* What was cut, and nothing filled in since, is there whole. */
EsEvent *
es_personal_told(EsEvent *event, EsEvent *copy)
{
	Jsonb	   *data = DatumGetJsonbP(event->value[ES_EVENT_DATA]);

	if (event->personal == NULL)
		return event;
	*copy = *event;
	copy->value[ES_EVENT_DATA] =
		JsonbPGetDatum(data == event->personal->left ? event->personal->whole :
					   es_personal_put_back(data, event->personal));
	copy->vault = 0;
	return copy;
}

/*
 * A plain digest of personal fields would let anybody who reads it try values; so the
 * salts are in it.  Of a repetition the fields are found by the event's, and salted
 * as these are.  Who may not see them is not told whether his are the same: they count
 * as such, or he could try values one by one.
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
		if (!es_reading_is_trusted(GetUserId()))
			commitment = event->commitment;
	}
	es_draft_digest(draft, data, commitment, digest);
}
