// Compiles contracts with the solc beside it. Arguments: node_modules, then the files' names below it or paths.
// Writes {contract: {bytecode, linkReferences}} as JSON to standard output.
'use strict';

const fs = require('fs');
const path = require('path');

const [modules, ...files] = process.argv.slice(2);
const solc = require(path.join(modules, 'solc'));

const REMAPPED = [
  ['solidity-utils/', '@bgd-labs/solidity-utils/src/'],
  ['openzeppelin-contracts-upgradeable/contracts/', '@openzeppelin/contracts-upgradeable/'],
  ['openzeppelin-contracts/contracts/', '@openzeppelin/contracts/'],
];

function located(name) {
  for (const [prefix, target] of REMAPPED) {
    if (name.startsWith(prefix)) return path.join(modules, target + name.slice(prefix.length));
  }
  return path.isAbsolute(name) ? name : path.join(modules, name);
}

const read = (name) => fs.readFileSync(located(name), 'utf8');
const input = {
  language: 'Solidity',
  sources: Object.fromEntries(files.map((name) => [path.isAbsolute(name) ? path.basename(name) : name, { content: read(name) }])),
  settings: {
    optimizer: { enabled: true, runs: 200 },
    evmVersion: 'shanghai',
    metadata: { bytecodeHash: 'none' },
    outputSelection: { '*': { '*': ['evm.bytecode.object', 'evm.bytecode.linkReferences'] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input), { import: (name) => ({ contents: read(name) }) }));
const errors = (output.errors || []).filter((error) => error.severity === 'error');
if (errors.length) {
  process.stderr.write(errors.map((error) => error.formattedMessage).join('\n'));
  process.exit(1);
}
const built = {};
for (const contracts of Object.values(output.contracts)) {
  for (const [name, { evm }] of Object.entries(contracts)) {
    if (evm.bytecode.object) built[name] = { bytecode: '0x' + evm.bytecode.object, linkReferences: evm.bytecode.linkReferences };
  }
}
process.stdout.write(JSON.stringify(built));
