'use strict';

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const test = require('node:test');
const vm = require('node:vm');
const flame = require('./flame.js');

// all ─ main ─ run ─┬ list::rearm      (A only)
//                   ├ parse
//                   ├ wheel::rearm     (B only)
//                   └ parse ─ parse    (recursion, under its own parent)
const kData = {
  names: ['all', 'main', 'run', 'list::rearm', 'parse', 'wheel::rearm'],
  parent: [-1, 0, 1, 2, 2, 2, 4],
  name: [0, 1, 2, 3, 4, 5, 4],
  group: [0, 0, 0, 1, 2, 1, 2],
};
// A: 1000 samples over 100 us; B: 100 samples over 10 us. One sample is 0.1 us in both.
const kA = { us: 100, samples: 1000, ids: [3, 1, 2], self: [900, 60, 40], spread: null };
const kB = { us: 10, samples: 100, ids: [4, 1, 1], self: [60, 1, 39], spread: null };

const tree = flame.decode(kData);
const A = flame.expand(tree, kA);
const B = flame.expand(tree, kB);

function near(actual, expected) {
  assert.ok(Math.abs(actual - expected) < 1e-9, `${actual} is not ${expected}`);
}

test('inclusive counts sum up to the root', () => {
  assert.strictEqual(A.total[0], 1000);
  assert.strictEqual(A.total[4], 100);
  assert.strictEqual(B.total[0], 100);
});

test('a frame that costs the same per request is grey though its share grew tenfold', () => {
  const parse = flame.difference(A, B, 4, 'total');
  near(parse.a, 10);
  near(parse.b, 9.9);
  assert.strictEqual(parse.real, false);
  assert.strictEqual(flame.shade(parse, 90), 0);
});

test('a vanished frame is gone, blue and beyond the noise', () => {
  const rearm = flame.difference(A, B, 3, 'total');
  assert.strictEqual(rearm.state, 'gone');
  near(rearm.delta, -90);
  assert.strictEqual(rearm.real, true);
  assert.strictEqual(flame.shade(rearm, 90), -1);
});

test('one sample against none is no difference', () => {
  const rearm = flame.difference(A, B, 5, 'total');
  assert.strictEqual(rearm.state, 'new');
  assert.strictEqual(rearm.real, false);
});

test('self and inclusive differ', () => {
  near(flame.difference(A, B, 2, 'self').delta, 0);
  near(flame.difference(A, B, 2, 'total').delta, -90);
});

test('the widest layout keeps frames of either profile', () => {
  const root = flame.layout(tree, A, B, 'max');
  const run = root.children[0].children[0];
  assert.deepStrictEqual(run.children.map((c) => c.name),
    ['list::rearm', 'parse', 'wheel::rearm']);
  near(run.children[0].value, 90);
  near(run.children[2].value, 0.1);
});

test('the layout by B drops what only A has; a single graph ignores the width asked for', () => {
  const byB = flame.layout(tree, A, B, 'b').children[0].children[0];
  assert.deepStrictEqual(byB.children.map((c) => c.name), ['parse', 'wheel::rearm']);
  const single = flame.layout(tree, A, null, 'max').children[0].children[0];
  assert.deepStrictEqual(single.children.map((c) => c.name), ['list::rearm', 'parse']);
});

test('search counts a match inside a match once', () => {
  const { hits, sums } = flame.search(tree, [A, B], /parse/);
  assert.deepStrictEqual([...hits], [4, 6]);
  near(sums[0], 10);
  near(sums[1], 9.9);
});

test('a match far below another match is not counted again', () => {
  const { hits, sums } = flame.search(tree, [A, B], /main|rearm/);
  assert.deepStrictEqual([...hits], [1, 3, 5]);
  near(sums[0], 100);
  near(sums[1], 10);
});

test('search for the root matches everything once', () => {
  const { sums } = flame.search(tree, [A], /./);
  near(sums[0], 100);
});

test('by name, recursion is counted once', () => {
  const parse = flame.byName(tree, A, B).find((entry) => entry.name === 'parse');
  near(parse.self.a, 10);
  near(parse.total.a, 10);
});

test('the largest difference is the rearm that vanished; noise comes last', () => {
  const list = flame.largest(flame.byName(tree, A, B), 'self', 10);
  assert.strictEqual(list[0].name, 'list::rearm');
  assert.strictEqual(list[0].self.state, 'gone');
  assert.strictEqual(list.at(-1).self.real, false);
});

test('the colour scale spans the largest real difference', () => {
  near(flame.largestDelta(tree, A, B, 'total'), 90);
  assert.strictEqual(flame.largestDelta(tree, A, A, 'total'), 0);
});

test('the spread between rounds widens the noise, never narrows it', () => {
  const wide = { ids: [3], self: [200000], total: [200000] };
  const spread = flame.expand(tree, { ...kA, spread: wide });
  assert.strictEqual(spread.bySpread, true);
  near(spread.totalNoise[3], 200);
  near(spread.totalNoise[4], A.totalNoise[4]);
  assert.strictEqual(flame.difference(spread, B, 3, 'total').real, false);
});

test('the page script parses, and asks only for elements that the viewer has', () => {
  const read = (name) => fs.readFileSync(path.join(__dirname, name), 'utf8');
  const script = read('report.js');
  assert.doesNotThrow(() => new vm.Script(script));
  const elsewhere = ['flame-data', 'ticks-of', 'flame'];
  const asked = [...script.matchAll(/\$\('([\w-]+)'\)/g)].map((match) => match[1]);
  assert.ok(asked.length > 20);
  for (const id of asked.filter((each) => !elsewhere.includes(each))) {
    assert.ok(read('viewer.html').includes(`id="${id}"`), id);
  }
});
