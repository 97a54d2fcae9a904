/*
 * json_schema_column.h
 *		The properties of a schema as columns of SQL.
 */
#ifndef ES_RULES_JSON_SCHEMA_COLUMN_H
#define ES_RULES_JSON_SCHEMA_COLUMN_H

#include "rules/json_schema.h"

typedef struct EsSchemaColumn
{
	char	   *property;
	Oid			type;
	char	   *description;	/* NULL: none */
} EsSchemaColumn;

/*
 * List of EsSchemaColumn: the required ones in the order in which the schema names
 * them, then the others; as long as the schema lives.
 */
extern List *es_schema_columns(const EsSchema *schema);

#endif							/* ES_RULES_JSON_SCHEMA_COLUMN_H */
