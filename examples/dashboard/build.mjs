// build.mjs [FILE]: reads the views as the role that PGUSER and the like name, and writes
// one page (default: dashboard.html here). psql does the reading: all of it in one
// snapshot, so that the charts agree with each other. Nothing is written where something
// fails.
import {spawnSync} from 'node:child_process';
import {readFileSync, renameSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {charts} from './charts.mjs';
import {page} from './page.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const sources = charts.flatMap((chart) => Object.values(chart.data));

function fail(message) {
	console.error(message);
	process.exit(1);
}

async function compiler() {
	try {
		return (await import('vega-lite')).compile;
	} catch (error) {
		return fail(`${error.message}\nInstall what the page is drawn with: npm ci --ignore-scripts`);
	}
}

// What psql is told, a line of JSON back for each. Names are those of charts.mjs.
function script() {
	const queries = sources.flatMap(({view, columns, where = 'true', order}) => [
		`SELECT coalesce(jsonb_agg(v), '[]') FROM (SELECT ${Object.keys(columns)} FROM crm.${view} WHERE ${where} ORDER BY ${order}) v;`,
		`SELECT jsonb_build_object('comment', obj_description('crm.${view}'::regclass), 'comments', jsonb_object_agg(a.attname, col_description(a.attrelid, a.attnum)))
		   FROM pg_attribute a WHERE a.attrelid = 'crm.${view}'::regclass AND a.attnum > 0;`.replace(/\s+/g, ' '),
	]);
	return ['BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;', "SET LOCAL timezone = 'UTC';", 'SELECT to_jsonb(now());', ...queries, 'COMMIT;'].join('\n');
}

function read() {
	const psql = spawnSync('psql', ['-XAtq', '-v', 'ON_ERROR_STOP=1', '-f', '-'], {input: script(), encoding: 'utf8', maxBuffer: 1 << 28});
	if (psql.error)
		fail(`psql: ${psql.error.message}`);
	if (psql.status !== 0)
		fail(`${psql.stderr.trim()}\nThe database needs crm.install(), and the role crm.grant_reader().`);
	const [at, ...lines] = psql.stdout.trim().split('\n').map((line) => JSON.parse(line));
	return {at, results: sources.map((source, i) => [source, lines[2 * i], lines[2 * i + 1]])};
}

const compile = await compiler();
const {at, results} = read();
const rows = {};
const specs = {};

for (const chart of charts) {
	rows[chart.id] = {};
	for (const [name, source] of Object.entries(chart.data)) {
		const [, found, told] = results.find(([s]) => s === source);
		Object.assign(source, told);
		rows[chart.id][name] = found;
	}
	if (Object.values(rows[chart.id]).every((found) => found.length > 0)) {
		const spec = {
			$schema: 'https://vega.github.io/schema/vega-lite/v6.json',
			description: `${chart.title}. ${chart.text}`,
			datasets: rows[chart.id],
			config: {font: 'system-ui, sans-serif', view: {stroke: null}, axis: {grid: false}, axisY: {grid: true}},
			...chart.spec(rows[chart.id]),
		};
		const warn = (...what) => fail(`chart ${chart.id}: ${what.join(' ')}`);
		specs[chart.id] = compile(spec, {logger: {level: () => 0, error: warn, warn, info: () => {}, debug: () => {}}}).spec;
	}
}

const file = process.argv[2] ?? join(here, 'dashboard.html');
const library = readFileSync(join(here, 'node_modules/vega/build/vega.min.js'), 'utf8');
writeFileSync(`${file}.tmp`, page({charts, rows, specs, at, library}));
renameSync(`${file}.tmp`, file);
console.log(file);
