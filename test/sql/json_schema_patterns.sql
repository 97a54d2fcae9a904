\set ECHO none
\i test/helpers.sql
-- Regular expressions as ECMA-262 has them, and the formats that can be asserted.
BEGIN;
CREATE TEMP TABLE c (n int GENERATED ALWAYS AS IDENTITY, keyword text, what text, schema jsonb, good jsonb, bad jsonb);
\i test/json_schema_judge.sql
INSERT INTO c (keyword, schema, good, bad)
SELECT 'pattern ' || p, jsonb_build_object('pattern', p), good::jsonb, bad::jsonb FROM (VALUES
('', '["", "x"]', '[]'),
('^abc$', '["abc"]', '["abc\n", "xabc", "ABC", "a\nabc"]'),
('^foo$|^bar$', '["foo", "bar"]', '["foobar", ""]'),
('a|', '["a", "b", ""]', '[]'),
('^(?:)$', '[""]', '["x"]'),
-- the dot and ends of lines
('^.$', '["a", "é", "💩", "\t"]', '["", "ab", "\n", "\r", "\u2028", "\u2029"]'),
('^[^]$', '["a", "\n", "💩"]', '["", "ab"]'),
('[]', '[]', '["", "a"]'),
('^[^a]$', '["b", "\n", "é"]', '["a", ""]'),
-- classes are ASCII's, spaces Unicode's
('^\d$', '["0", "9"]', '["߀", "٠", "a", "\n"]'),
('^\D$', '["߀", "a", "é"]', '["0", ""]'),
('^\w$', '["a", "Z", "0", "_"]', '["é", "-", "ä"]'),
('^\W$', '["é", "-", " "]', '["a", "_"]'),
('^\s$', '[" ", "\t", "\n", "\u000b", "\f", "\r", "\u00a0", "\ufeff", "\u1680", "\u2003", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"]', '["a", "\u200b", "\u0001", "\u2013", "\u180e"]'),
('^\S$', '["a", "\u0001", "\u2013"]', '[" ", "\u00a0", "\u2029", "\ufeff"]'),
('^[\s\d]+$', '["1 2", "\u3000"]', '["a"]'),
('^[\S]$', '["a"]', '[" "]'),
('^[^\s]$', '["a"]', '[" "]'),
('^[\d-x]$', '["1", "-", "x"]', '["y"]'),
('^[\w.-]+$', '["a.b-c_1"]', '["a b", "é"]'),
('^[a-c-]$', '["a", "-"]', '["d"]'),
('^[-a]$', '["a", "-"]', '["b"]'),
('^[\]\\^[]+$', '["]\\^["]', '["a"]'),
('^[\b]$', '["\b"]', '["b"]'),
('^[.*+?()|{}$]+$', '[".*+?()|{}$"]', '["a"]'),
('^[é-ü]$', '["é", "ö"]', '["a", "z"]'),
('^[💩-🤖]$', '["💩", "🤖", "😀"]', '["a", "é"]'),
('^🐲*$', '["", "🐲", "🐲🐲"]', '["🐉", "D"]'),
-- escapes
('^\t\n\v\f\r$', '["\t\n\u000b\f\r"]', '["tnvfr"]'),
('^\cC\cc$', '["\u0003\u0003"]', '["cC"]'),
('^\x41\u0042\u{43}\u{1F4A9}\ud83d\udca9$', '["ABC💩💩"]', '["abc"]'),
('^\u00e9$', '["é"]', '["e"]'),
('^\/\.\*\+\?\(\)\[\]\{\}\|\^\$\\$', '["/.*+?()[]{}|^$\\"]', '["x"]'),
('^\-\_\ \@\:$', '["-_ @:"]', '[""]'),
('\0', '[]', '["", "0"]'),
('^[\0-\x1f]$', '["\u0001", "\n"]', '[" ", ""]'),
('\ud800', '[]', '["", "x"]'),
('^{$', '["{"]', '[""]'),
('^a{,2}$', '["a{,2}"]', '["aa"]'),
('^a]}$', '["a]}"]', '["a"]'),
-- properties
('^\p{L}+$', '["a", "é", "日本", "Ω", "ß"]', '["1", "a1", " ", "_", "💩"]'),
('^\p{Letter}+$', '["LétterÉ"]', '["1"]'),
('^\p{Lu}\p{Ll}*$', '["Éa", "Za", "Ω"]', '["éa", "ZA"]'),
('^\p{gc=Nd}\p{General_Category=Decimal_Number}$', '["12", "٠߀"]', '["a1", "½1"]'),
('^\P{L}$', '["1", " ", "💩"]', '["a", "é"]'),
('^[\p{L}\d_]+$', '["aé1_"]', '["-"]'),
('^[^\p{L}]$', '["1"]', '["a"]'),
('^[^\P{Lu}]$', '["A", "É"]', '["a", "1"]'),
('^\p{Sc}\p{Any}\p{ASCII}\p{Assigned}$', '["€ a1"]', '["$éé1"]'),
('^\p{LC}\p{P}\p{Zs}$', '["a! "]', '["日! "]'),
-- boundaries and lookarounds
('\bfoo\b', '["foo", "a foo b", "(foo)", "éfoo"]', '["foobar", "1foo", "foo_"]'),
('\Boo', '["foo"]', '["oo", " oo"]'),
('^(?=.*\d)(?=.*[a-z]).{4,}$', '["abc1", "1abcd"]', '["abcd", "1234", "a1"]'),
('^(?!.*admin).*$', '["user"]', '["the admin"]'),
('(?<=\$)\d+', '["$42"]', '["42"]'),
('(?<!\$)\b\d+', '["42"]', '["$42"]'),
-- groups and references
('^(a)(b)\2\1$', '["abba"]', '["abab"]'),
('^(?<year>\d{4})-\k<year>$', '["2024-2024"]', '["2024-2025"]'),
('^(?:(a)|b)(c)\2$', '["acc", "bcc"]', '["aca"]'),
('^(''|").*\1$', '["''a''", "\"a\""]', '["''a\""]'),
('^\1(a)$', '["a"]', '["aa"]'),
-- repetition
('^a*?b+?c??$', '["b", "aabb", "abc"]', '["a", "ac"]'),
('^(ab){2,3}$', '["abab", "ababab"]', '["ab", "abababab"]'),
('^a{2}$', '["aa"]', '["a", "aaa"]'),
('^a{2,}$', '["aa", "aaaa"]', '["a"]'),
('^a{0}$', '[""]', '["a"]'),
('^(|a){3}b$', '["b", "aaab"]', '["aaaab"]')
) AS v(p, good, bad);
-- Counts above what PostgreSQL's engine takes.
INSERT INTO c (keyword, what, schema, good, bad)
SELECT 'pattern', format('^a{%s}$', q), jsonb_build_object('pattern', format('^a{%s}$', q)),
	(SELECT jsonb_agg(repeat('a', i)) FROM unnest(good) i), (SELECT jsonb_agg(repeat('a', i)) FROM unnest(bad) i)
  FROM (VALUES ('256', '{256}'::int[], '{0,1,255,257,512}'::int[]), ('1000', '{1000}', '{999,1001}'), ('0,1000', '{0,1,255,256,1000}', '{1001,1020}'),
	('300,', '{300,301,2000}', '{0,299}'), ('255,256', '{255,256}', '{254,257}'), ('3,600', '{3,255,256,300,599,600}', '{2,601,602}'), ('510,765', '{510,511,700,765}', '{509,766}')) AS v(q, good, bad);
INSERT INTO c (keyword, schema, good, bad)
SELECT 'format ' || f, jsonb_build_object('format', f), good::jsonb || '[12, null, [], {}]', bad::jsonb FROM (VALUES
('date-time', '["1963-06-19T08:30:06.283185Z", "1963-06-19T08:30:06Z", "1937-01-01T12:00:27.87+00:20", "1990-12-31T15:59:50.123-08:00", "1998-12-31T23:59:60Z", "1998-12-31T15:59:60.123-08:00", "1963-06-19t08:30:06.283185z", "2024-02-29T00:00:00+23:59"]',
	'["", "1998-12-31T23:59:61Z", "1998-12-31T23:58:60Z", "1998-12-31T22:59:60Z", "1990-02-31T15:59:59.123-08:00", "1990-12-31T15:59:59-24:00", "1963-06-19T08:30:06.28123+01:00Z", "06/19/1963 08:30:06 PST", "2013-350T01:01:01", "1963-6-19T08:30:06Z", "1963-06-1T08:30:06Z", "1963-06-1৪T00:00:00Z", "1963-06-11T0৪:00:00Z", "1963-06-19T08:30:06", "1963-06-19 08:30:06Z", "1963-06-19T08:30Z", "1963-06-19T08:30:06.Z", "2023-02-29T00:00:00Z", "1963-06-19T24:00:00Z", "1963-06-19T08:60:00Z", "+11963-06-19T08:30:06Z"]'),
('date', '["1963-06-19", "2020-01-31", "2020-02-29", "2000-02-29", "2021-02-28", "0000-01-01"]',
	'["", "06/19/1963", "2013-350", "1998-1-20", "1998-01-1", "1998-13-01", "1998-00-01", "1998-04-31", "2021-02-29", "1900-02-29", "2020-01-32", "2020-01-00", "1963-06-1৪", "20230328", "2023-W01", "2022W527", "1963-06-19T", "1963-06-19 "]'),
('time', '["08:30:06Z", "23:59:60Z", "23:59:60+00:00", "01:29:60+01:30", "23:29:60+23:30", "15:59:60-08:00", "00:29:60-23:30", "23:20:50.52Z", "08:30:06.283185Z", "08:30:06+00:20", "08:30:06-08:00", "08:30:06z"]',
	'["", "008:030:006Z", "8:3:6Z", "8:0030:6Z", "22:59:60Z", "23:58:60Z", "23:59:61Z", "23:59:60+01:00", "23:59:60+00:30", "08:30:06-8:000", "24:00:00Z", "00:60:00Z", "00:00:61Z", "01:02:03+24:00", "01:02:03+00:60", "01:02:03Z+00:30", "08:30:06 PST", "01:01:01,1111", "12:00:00", "12:00:00.52", "1২:00:00Z", "08:30:06#00:20", "ab:cd:ef"]'),
('email', '["joe.bloggs@example.com", "te~st@example.com", "~test@example.com", "test~@example.com", "\"joe bloggs\"@example.com", "\"joe..bloggs\"@example.com", "\"joe@bloggs\"@example.com", "joe.bloggs@[127.0.0.1]", "joe.bloggs@[IPv6:::1]", "te.s.t@example.com", "a@b", "x+y@xn--4gbwdl.example"]',
	'["", "2962", ".test@example.com", "test.@example.com", "te..st@example.com", "joe.bloggs@invalid=domain.com", "joe.bloggs@[127.0.0.300]", "@example.com", "a@", "a b@example.com", "user1@oceania.org, user2@oceania.org", "\"a\"b\"@example.com", "\"@example.com", "é@example.com"]'),
('hostname', '["www.example.com", "xn--4gbwdl.xn--wgbh1c", "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk.com", "hostname", "host-name", "h0stn4me", "1host", "hostnam3", "a.b.c", "A"]',
	'["", ".", "-a-host-name-that-starts-with--", "not_a_valid_host_name", "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl.com", "-hostname", "hostname-", "_hostname", "hostname_", "host_name", ".example", "example.", "a..b", "a-.b", "exämple.com"]'),
('ipv4', '["192.168.0.1", "0.0.0.0", "255.255.255.255", "87.10.0.1"]',
	'["", "127.0.0.0.1", "256.256.256.256", "127.0", "0x7f000001", "2130706433", "087.10.0.1", "1২7.0.0.1", "192.168.1.0/24", "1.2.3.", ".1.2.3.4", "1.2.3.4 ", "00.1.2.3", "1.2.3.1000"]'),
('ipv6', '["::1", "::", "::abef", "abef::", "::42:ff:1", "d6::", "1:d6::42", "1::d6:192.168.0.1", "1:2::192.168.0.1", "::ffff:192.168.0.1", "1:2:3:4:5:6:7:8", "1000:1000:1000:1000:1000:1000:255.255.255.255", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8"]',
	'["", "12345::", "::abcef", "1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1", "::laptop", ":2:3:4:5:6:7:8", "1:2:3:4:5:6:7:", ":2:3:4::8", "1::d6::42", "1::2:192.168.256.1", "1::2:192.168.ff.1", "::ffff:192.168.0.1.2", "1:2:3:4:5:::8", "1:2:3:4:5:6:7", "1", "127.0.0.1", "1:2:3:4:1.2.3", "  ::1", "::1  ", "fe80::/64", "fe80::a%eth1", "1000:1000:1000:1000:1000:255.255.255.255", "100:100:100:100:100:100:100:255.255.255.255", "1:2:3:4:5:6:7:৪", "1:2::192.16৪.0.1", ":::", ":", "1:2:3:4::5:6:7:8"]'),
('uuid', '["2EB8AA08-AA98-11EA-B4AA-73B441D16380", "2eb8aa08-aa98-11ea-b4aa-73b441d16380", "2eb8aa08-AA98-11ea-B4Aa-73B441D16380", "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"]',
	'["", "2eb8aa08-aa98-11ea-b4aa-73b441d1638", "2eb8aa08-aa98-11ea-73b441d16380", "2eb8aa08-aa98-11ea-b4ga-73b441d16380", "2eb8aa08aa9811eab4aa73b441d16380", "2eb8aa08aa98-11ea-b4aa73b441d16380", "2eb8-aa08-aa98-11ea-b4aa73b44-1d16380", "{2eb8aa08-aa98-11ea-b4aa-73b441d16380}"]'),
('uri', '["http://foo.bar/?baz=qux#quux", "http://foo.com/blah_(wikipedia)_blah#cite-1", "http://foo.bar/?q=Test%20URL-encoded%20stuff", "http://xn--nw2a.xn--j6w193g/", "http://-.~_!$&''()*+,;=:%40:80%2f::::::@example.com", "http://223.255.255.254", "ftp://ftp.is.co.za/rfc/rfc1808.txt", "http://www.ietf.org/rfc/rfc2396.txt", "ldap://[2001:db8::7]/c=GB?objectClass?one", "mailto:John.Doe@example.com", "news:comp.infosystems.www.servers.unix", "tel:+1-816-555-1212", "urn:oasis:names:specification:docbook:dtd:xml:4.1.2", "http://a:8080", "file:///etc/hosts", "https://[v1.x:y]/", "a:"]',
	'["", "//foo.bar/?baz=qux#quux", "/abc", "\\\\WINDOWS\\fileshare", "abc", "http:// shouldfail.com", ":// should fail", "bar,baz:foo", "https://[@example.org/test.txt", "https://example.org/foobar\\\".txt", "https://example.org/foobar<>.txt", "https://example.org/foobar{}.txt", "https://example.org/foobar^.txt", "https://example.org/foobar`.txt", "https://example.org/foo bar.txt", "https://example.org/foobar|.txt", "http://a%2", "http://a%zz", "http://ex.org/é", "1http://a", "http://a:b:c", "http://[::1", "http://[::1]x", "#a"]')
) AS v(f, good, bad);
SET LOCAL eventsource.assert_formats = on;
SELECT plan(count(*)::int + 6) FROM c;
SELECT pg_temp.judge(c) FROM c ORDER BY n;
SELECT is(eventsource.jsonb_matches_schema('{"format": "iri"}', '"no such thing"'), true, 'formats that are not known are not asserted');
SET LOCAL eventsource.assert_formats = off;
SELECT is_empty($$ SELECT keyword, i FROM c, jsonb_array_elements(bad) i WHERE keyword LIKE 'format %' AND NOT eventsource.jsonb_matches_schema(schema, i) $$,
	'without the setting formats describe');
CREATE FUNCTION pg_temp.one_site(setting text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('eventsource.assert_formats', setting, true);
	RETURN eventsource.jsonb_matches_schema('{"format": "date"}', '"today"');
END
$$;
SELECT is(array_agg(pg_temp.one_site(setting)), '{t,f,f,t}', 'a call site goes by the setting of the moment')
  FROM unnest('{off,on,on,off}'::text[]) setting;
SELECT is(array_agg(p || ': ' || eventsource.jsonschema_is_valid(jsonb_build_object('pattern', p)) ORDER BY n), ARRAY[]::text[] || array_agg(p || ': false' ORDER BY n), 'no regular expressions')
  FROM unnest(ARRAY['(', ')', '[', '[a', 'a**', '*', '+a', '{1}', 'a{2,1}', '[b-a]', '\', '\q', '\Z', '\a', '\1', '(?<n>a)\k<m>', '(?i:a)', '(?<a', '(?', '(?x)',
	'\p{Nope}', '\p', '\pL', '\x1', '\u12', '\u{110000}', '\u{', '\c', '\c1', '\00', '\b*', '^*', '(?=a)*', '(?=(a)\1)', 'a{1}{2}', '\k', '[\q]', '(a))', '\p{Script=Greek}']) WITH ORDINALITY AS v(p, n);
-- What goes without the engine says what the engine says, to which a group sends it.
CREATE FUNCTION pg_temp.simple_pattern(number int, OUT pattern text, OUT strings text[]) LANGUAGE plpgsql AS $$
DECLARE
	atoms text[] := ARRAY['a', 'b', '-', '\.', '\d', '\w', '[ab]', '[^ab]', '[a-c]', '[^a-c0]', '[\w.-]', '[-x]', '[a\]^]', '[^\d]', '[!-/]', 'é', '[é]', '.', '\-'];
	examples text[] := ARRAY['a', 'b', '-', '.', '07', 'aZ_9', 'ab', E'cé\n', 'abc', E'x日-\n', 'a.-', '-x', 'a]', E'a\né', '-+/', 'é', 'é', 'aé', '-'];
	quantifiers text[] := ARRAY['', '', '', '*', '+', '?', '{2}', '{0,2}', '{1,}', '{0}', '{2,3}', '*?'];
	n int;
	other int;
	more text;
BEGIN
	pattern := CASE WHEN random() < 0.95 THEN '^' ELSE '' END;
	strings := ARRAY['', '', '', '', '', ''];
	FOR part IN 1 .. 1 + floor(random() * 4) LOOP
		n := 1 + floor(random() * cardinality(atoms));
		pattern := pattern || atoms[n] || quantifiers[1 + floor(random() * cardinality(quantifiers))];
		FOR i IN 1 .. cardinality(strings) LOOP
			other := CASE WHEN random() < 0.1 THEN 1 + floor(random() * cardinality(atoms)) ELSE n END;
			SELECT coalesce(string_agg(substr(examples[other], (1 + floor(random() * length(examples[other])))::int, 1), ''), '')
			  INTO more FROM generate_series(1, CASE WHEN random() < 0.6 THEN 1 ELSE floor(random() * 4)::int END);
			strings[i] := strings[i] || more;
		END LOOP;
	END LOOP;
	pattern := pattern || CASE WHEN random() < 0.8 THEN '$' ELSE '' END;
END
$$;
SELECT setseed(0.5) \g /dev/null
CREATE TEMP TABLE simple AS
SELECT p.pattern, s AS string,
	   eventsource.jsonb_matches_schema(jsonb_build_object('pattern', p.pattern), to_jsonb(s)) AS alone,
	   eventsource.jsonb_matches_schema(jsonb_build_object('pattern', '(?:' || p.pattern || ')'), to_jsonb(s)) AS in_a_group
  FROM generate_series(1, 3000) n, LATERAL pg_temp.simple_pattern(n) p, unnest(p.strings) s;
SELECT is_empty('SELECT * FROM simple WHERE alone <> in_a_group', 'simple patterns say what the engine says');
SELECT ok(count(*) FILTER (WHERE alone) BETWEEN 3000 AND 15000, 'of matches and of others') FROM simple;
SELECT * FROM finish();
ROLLBACK;
