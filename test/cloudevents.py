#!/usr/bin/python3
"""cloudevents.py SCHEMA: judges CloudEvents, one JSON object per line of stdin.

Prints a line for each that is not valid, then "N judged". Formats are asserted by
what stands here, since python3-jsonschema without further packages passes over them.
"""

import json
import re
import sys

import jsonschema

formats = jsonschema.FormatChecker(formats=())

# RFC 3986, appendix A: what a URI is made of.
PCHAR = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
REST = rf"(?://[^\s/?#\[\]]*(?:/{PCHAR}*)*|(?:/?{PCHAR}+(?:/{PCHAR}*)*)?|/)(?:\?(?:{PCHAR}|[/?])*)?(?:\#(?:{PCHAR}|[/?])*)?"
URI = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*:{REST}")
URI_REFERENCE = re.compile(rf"(?:[A-Za-z][A-Za-z0-9+.-]*:)?{REST}")
# RFC 8141 and RFC 9562, for those that say they are of these.
URN_UUID = re.compile(r"urn:uuid:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?:#.*)?")
DATE_TIME = re.compile(
    r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])[Tt](?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?"
    r"(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
)
MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(?:\s*;.*)?")


def is_urn_if_it_says_so(value):
    return not value.startswith("urn:uuid:") or URN_UUID.fullmatch(value) is not None


@formats.checks("uri")
def is_uri(value):
    return URI.fullmatch(value) is not None and is_urn_if_it_says_so(value)


@formats.checks("uri-reference")
def is_uri_reference(value):
    return URI_REFERENCE.fullmatch(value) is not None and is_urn_if_it_says_so(value)


@formats.checks("date-time")
def is_date_time(value):
    return DATE_TIME.fullmatch(value) is not None


@formats.checks("media-type")
def is_media_type(value):
    return MEDIA_TYPE.fullmatch(value) is not None


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        schema = json.load(file)
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema, format_checker=formats)
    judged = 0
    for line in sys.stdin:
        judged += 1
        for error in validator.iter_errors(json.loads(line)):
            print(f"line {judged}: {'/'.join(map(str, error.path))}: {error.message}")
    print(f"{judged} judged")


if __name__ == "__main__":
    main()
