-- Grants on views, which install() keeps where it has to make one anew.

CREATE FUNCTION crm.view_grants() RETURNS TABLE (view_name name, column_name name, role text, privilege text, is_grantable boolean)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT c.relname, o.attname, CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END, g.privilege_type, g.is_grantable
	  FROM pg_class c
	 CROSS JOIN LATERAL (SELECT NULL::name AS attname, c.relacl AS acl
						  UNION ALL SELECT a.attname, a.attacl FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL) o
	 CROSS JOIN LATERAL aclexplode(o.acl) g
	 WHERE c.relnamespace = 'crm'::regnamespace AND c.relkind = 'v' AND g.grantee <> c.relowner
$$;
COMMENT ON FUNCTION crm.view_grants() IS 'Private, for install(): who may do what with views of the CRM, and with single columns of them.';

CREATE FUNCTION crm.grant_views_again(kept jsonb) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	g record;
BEGIN
	FOR g IN SELECT k.*
			   FROM jsonb_to_recordset(kept) k (view_name name, column_name name, role text, privilege text, is_grantable boolean)
			   JOIN pg_class c ON c.relname = k.view_name AND c.relnamespace = 'crm'::regnamespace AND c.relkind = 'v'
			  WHERE (k.column_name IS NULL OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = k.column_name))
				AND NOT EXISTS (SELECT FROM crm.view_grants() v
								 WHERE (v.view_name, v.column_name, v.role, v.privilege) IS NOT DISTINCT FROM (k.view_name, k.column_name, k.role,
									k.privilege)
								   AND v.is_grantable >= k.is_grantable) LOOP
		EXECUTE format('GRANT %s%s ON crm.%I TO %s%s', g.privilege, '(' || quote_ident(g.column_name) || ')', g.view_name, g.role,
					   CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' END);
	END LOOP;
END
$$;
COMMENT ON FUNCTION crm.grant_views_again(jsonb) IS
	'Private, for install(): views that had to be made anew are granted to whom they were; kept: view_grants() of before.';
