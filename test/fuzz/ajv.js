// ajv.js: judges pairs of schemas and instances by ajv, a line of JSON each; prints a
// digit per instance, or "error" and why the schema is refused. For test/fuzz/json_schema.
const readline = require('readline');
const Ajv7 = require('ajv');
const Ajv2020 = require('ajv/dist/2020');
const options = { strict: false, validateFormats: false, allErrors: false, logger: false, unicodeRegExp: true };

readline.createInterface({ input: process.stdin }).on('line', (line) => {
	const { draft, schema, data } = JSON.parse(line);
	let answer;
	try {
		const ajv = draft === '2020' ? new Ajv2020(options) : new Ajv7(options);
		const validate = ajv.compile(schema);
		answer = data.map((instance) => (validate(instance) ? '1' : '0')).join('');
	} catch (e) {
		answer = 'error ' + e.message.replace(/\n/g, ' ').slice(0, 200);
	}
	process.stdout.write(answer + '\n');
});
