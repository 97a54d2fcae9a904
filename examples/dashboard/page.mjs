// page.mjs: the page as text. All that comes from the database is escaped, and the page
// loads nothing: its policy forbids it.

const escapes = {'&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;'};
const escape = (text) => String(text).replace(/[&<>"']/g, (c) => escapes[c]);
// JSON within a script: no tag ends it.
const json = (value) => JSON.stringify(value).replace(/</g, '\\u003c');
const script = (code) => code.replace(/<\/script/gi, '<\\/script');

const percent = new Intl.NumberFormat('en', {style: 'percent', minimumFractionDigits: 1, maximumFractionDigits: 1});
const money = new Intl.NumberFormat('en', {minimumFractionDigits: 2, maximumFractionDigits: 2});
const plain = new Intl.NumberFormat('en', {maximumFractionDigits: 2});

function cell(row, column, {format = {}, missing = {}}) {
	const value = row[column];
	if (value === null)
		return `<td>${escape(missing[column] ?? '–')}</td>`;
	if (typeof value !== 'number')
		return `<td>${escape(value)}</td>`;
	const how = {percent, money}[format[column]] ?? plain;
	return `<td class="number" data-value="${value}">${escape(how.format(value))}</td>`;
}

// Figures for who does not see the chart, or wants them exact.
function table(name, source, rows) {
	const heads = Object.entries(source.columns)
		.map(([column, label]) => `<th scope="col" title="${escape(source.comments[column])}">${escape(label)}</th>`);
	const lines = rows.map((row) => `<tr>${Object.keys(source.columns).map((c) => cell(row, c, source)).join('')}</tr>`);
	return `<table data-source="${escape(name)}">
<caption>View crm.${escape(source.view)}: ${escape(source.comment)}</caption>
<thead><tr>${heads.join('')}</tr></thead>
<tbody>
${lines.join('\n')}
</tbody>
</table>`;
}

function section(chart, rows) {
	const [name, source] = Object.entries(chart.data)[0];
	const empty = Object.keys(chart.data).some((n) => rows[n].length === 0);
	return `<section aria-labelledby="title-${chart.id}">
<h2 id="title-${chart.id}">${escape(chart.title)}</h2>
<p>${escape(chart.text)}</p>
${empty ? '<p class="empty">Nothing yet.</p>' : `<div class="chart" id="${chart.id}"></div>`}
<details>
<summary>The figures</summary>
${table(name, source, rows[name])}
</details>
</section>`;
}

const style = `
body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #f4f4f1; margin: 0; }
main { max-width: 1160px; margin: 0 auto; padding: 24px; }
h1 { font-size: 26px; margin: 0; }
h2 { font-size: 18px; margin: 0; }
p { margin: 2px 0 10px; color: #555; }
section { background: #fff; border: 1px solid #ddd; border-radius: 6px; padding: 16px 20px; margin: 16px 0; }
.chart { overflow-x: auto; }
.empty { font-style: italic; }
.error { color: #b00; }
summary { cursor: pointer; color: #0072b2; }
table { border-collapse: collapse; margin-top: 8px; font-size: 14px; }
caption { text-align: left; color: #555; padding-bottom: 4px; }
th, td { text-align: left; padding: 3px 12px 3px 0; border-bottom: 1px solid #eee; }
td.number { font-variant-numeric: tabular-nums; text-align: right; }
`;

const draw = `
const specs = JSON.parse(document.getElementById('specs').textContent);
let drawn = 0;
for (const [id, spec] of Object.entries(specs)) {
	const place = document.getElementById(id);
	try {
		new vega.View(vega.parse(spec), {renderer: 'svg', container: place, hover: true}).run();
		drawn += 1;
	} catch (error) {
		console.error(id, error);
		place.innerHTML = '<p class="error">The chart could not be drawn. Its figures are below.</p>';
	}
}
document.documentElement.dataset.drawn = drawn;
`;

export function page({charts, rows, specs, at, library}) {
	return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'">
<meta name="viewport" content="width=device-width">
<title>CRM dashboard</title>
<style>${style}</style>
</head>
<body>
<main>
<header>
<h1>CRM dashboard</h1>
<p>Figures of <time datetime="${escape(at)}">${escape(at.slice(0, 16).replace('T', ' '))} UTC</time>, from the views of schema crm.</p>
</header>
${charts.map((chart) => section(chart, rows[chart.id])).join('\n')}
</main>
<script type="application/json" id="specs">${json(specs)}</script>
<script>${script(library)}</script>
<script>${draw}</script>
</body>
</html>
`;
}
