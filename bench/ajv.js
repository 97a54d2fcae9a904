// ajv.js FILE parse|parsed SECONDS: documents that ajv checks in a second. FILE has a
// schema in its first line and a document in each other. With "parse" they are text.
const fs = require('fs');
const Ajv = require('ajv/dist/2020');
const [file, mode, seconds] = process.argv.slice(2);
const [schema, ...documents] = fs.readFileSync(file, 'utf8').trim().split('\n');
const validate = new Ajv({ strict: false, unicodeRegExp: true }).compile(JSON.parse(schema));
const parsed = documents.map((document) => JSON.parse(document));

// All of them once; how many match.
function pass() {
	let matched = 0;
	for (let i = 0; i < documents.length; i++) {
		if (validate(mode === 'parse' ? JSON.parse(documents[i]) : parsed[i])) matched++;
	}
	return matched;
}

if (pass() !== documents.length) throw new Error('a document does not match');
let passes = 0;
const start = process.hrtime.bigint();
while (process.hrtime.bigint() - start < BigInt(seconds) * 1000000000n) {
	pass();
	passes++;
}
console.log((passes * documents.length) / (Number(process.hrtime.bigint() - start) / 1e9));
