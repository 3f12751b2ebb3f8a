// The arithmetic of the flame graphs: profiles over one shared call tree, their difference, search.
//
// Pure functions, no page: `node --test` runs them. Unit everywhere: CPU microseconds per request.
// A and B are two profiles of the page; a delta is B - A, so negative means that B costs less.
'use strict';

const flame = (() => {
  // Two-sided 99 % normal quantile, for the bound that follows from the sample counts.
  const kZ99 = 2.576;

  // The page's data: names interned, node 0 the root, every parent before its children.
  function decode(data) {
    return {
      size: data.parent.length,
      parent: data.parent,
      name: data.name.map((index) => data.names[index]),
      group: data.group,
      children: childrenOf(data.parent),
    };
  }

  function childrenOf(parent) {
    const children = parent.map(() => []);
    for (let node = 1; node < parent.length; node++) children[parent[node]].push(node);
    return children;
  }

  // A profile spread over the tree: counts, and noise as the half-width of a 99 % interval.
  function expand(tree, profile) {
    const self = new Float64Array(tree.size);
    let node = 0;
    profile.ids.forEach((step, index) => {
      node += step;
      self[node] = profile.self[index];
    });
    const total = sumUp(tree, self);
    const unit = profile.us / profile.samples;
    const spread = spreadOf(tree, profile.spread);
    return {
      profile, unit, self, total, bySpread: spread !== null,
      selfNoise: noise(self, unit, spread && spread.self),
      totalNoise: noise(total, unit, spread && spread.total),
    };
  }

  function sumUp(tree, self) {
    const total = Float64Array.from(self);
    for (let node = tree.size - 1; node > 0; node--) total[tree.parent[node]] += total[node];
    return total;
  }

  // Between-round half-widths arrive in nanoseconds; absent with too few rounds.
  function spreadOf(tree, spread) {
    if (!spread) return null;
    const self = new Float64Array(tree.size);
    const total = new Float64Array(tree.size);
    let node = 0;
    spread.ids.forEach((step, index) => {
      node += step;
      self[node] = spread.self[index] / 1000;
      total[node] = spread.total[index] / 1000;
    });
    return { self, total };
  }

  // Never narrower than counting statistics allow: a frame that happened to have the same few
  // samples in every round is not known exactly. One is added so that an absent frame is not
  // certainly absent.
  function noise(counts, unit, spread) {
    return Float64Array.from(counts, (count, node) =>
      Math.max(countNoise(count, unit), spread ? spread[node] : 0));
  }

  function countNoise(count, unit) {
    return kZ99 * Math.sqrt(count + 1) * unit;
  }

  function pick(side, metric) {
    return metric === 'self' ? [side.self, side.selfNoise] : [side.total, side.totalNoise];
  }

  function judged(a, b, noiseA, noiseB) {
    const delta = b - a;
    const bound = Math.hypot(noiseA, noiseB);
    return { a, b, delta, bound, real: Math.abs(delta) > bound, state: stateOf(a, b) };
  }

  function stateOf(a, b) {
    if (a > 0 && b === 0) return 'gone';
    if (a === 0 && b > 0) return 'new';
    return 'both';
  }

  // One node's figures in both profiles, by metric: 'self' or 'total'.
  function difference(A, B, node, metric) {
    const [countsA, noiseA] = pick(A, metric);
    const [countsB, noiseB] = pick(B, metric);
    return judged(countsA[node] * A.unit, countsB[node] * B.unit, noiseA[node], noiseB[node]);
  }

  // The nested form the renderer draws, `value` being a frame's own width. 'max' keeps room for
  // frames that only one of the two has; B is null for a single graph.
  function layout(tree, A, B, width) {
    const weight = weights(A, B, width);
    const total = sumUp(tree, weight);
    const build = (node) => ({
      id: node,
      name: tree.name[node],
      value: weight[node],
      children: tree.children[node].filter((child) => total[child] > 0).map(build),
    });
    return build(0);
  }

  function weights(A, B, width) {
    const a = (node) => A.self[node] * A.unit;
    const b = (node) => B.self[node] * B.unit;
    const choose = {
      a, b, max: (node) => Math.max(a(node), b(node)),
    }[B ? width : 'a'];
    return Float64Array.from(A.self, (_, node) => choose(node));
  }

  // Nodes that match, and what they and everything below them cost. A match inside a match is
  // counted once, with the outer one.
  function search(tree, sides, pattern) {
    const hits = new Set();
    const covered = new Uint8Array(tree.size);
    const sums = sides.map(() => 0);
    for (let node = 0; node < tree.size; node++) {
      const inside = node > 0 && covered[tree.parent[node]] === 1;
      const hit = pattern.test(tree.name[node]);
      if (hit) hits.add(node);
      if (hit && !inside) sides.forEach((side, i) => { sums[i] += side.total[node] * side.unit; });
      covered[node] = hit || inside ? 1 : 0;
    }
    return { hits, sums };
  }

  // Figures by function, whatever its callers. Recursion is counted once, at its outermost frame.
  function byName(tree, A, B) {
    const table = new Map();
    for (let node = 1; node < tree.size; node++) {
      if (A.total[node] === 0 && B.total[node] === 0) continue;
      addNode(entryOf(table, tree.name[node]), tree, A, B, node);
    }
    return [...table.values()].map((entry) => ({
      name: entry.name,
      self: judgedSums(entry.self, A, B),
      total: judgedSums(entry.total, A, B),
    }));
  }

  function entryOf(table, name) {
    if (!table.has(name)) table.set(name, { name, self: zeroSums(), total: zeroSums() });
    return table.get(name);
  }

  function zeroSums() {
    return { a: 0, b: 0, squareA: 0, squareB: 0 };
  }

  function addNode(entry, tree, A, B, node) {
    addTo(entry.self, A.self[node], B.self[node], A.selfNoise[node], B.selfNoise[node]);
    if (!hasAncestor(tree, node, entry.name)) {
      addTo(entry.total, A.total[node], B.total[node], A.totalNoise[node], B.totalNoise[node]);
    }
  }

  function addTo(sums, countA, countB, noiseA, noiseB) {
    sums.a += countA;
    sums.b += countB;
    sums.squareA += countA > 0 ? noiseA ** 2 : 0;
    sums.squareB += countB > 0 ? noiseB ** 2 : 0;
  }

  function hasAncestor(tree, node, name) {
    for (let up = tree.parent[node]; up > 0; up = tree.parent[up]) {
      if (tree.name[up] === name) return true;
    }
    return false;
  }

  function judgedSums(sums, A, B) {
    return judged(sums.a * A.unit, sums.b * B.unit,
      Math.max(Math.sqrt(sums.squareA), countNoise(sums.a, A.unit)),
      Math.max(Math.sqrt(sums.squareB), countNoise(sums.b, B.unit)));
  }

  // The functions whose cost differs most, largest first; differences within the noise last.
  function largest(entries, metric, limit) {
    const size = (entry) => Math.abs(entry[metric].delta);
    return entries.filter((entry) => size(entry) > 0)
      .sort((x, y) => (y[metric].real - x[metric].real) || size(y) - size(x)
        || (x.name < y.name ? -1 : 1))
      .slice(0, limit);
  }

  // Where a difference lies on the colour scale: -1 blue .. 0 grey .. 1 red. Square root, so that a
  // tenth of the largest difference is still seen.
  function shade(found, scale) {
    if (!found.real || scale <= 0) return 0;
    return Math.sign(found.delta) * Math.sqrt(Math.min(1, Math.abs(found.delta) / scale));
  }

  function largestDelta(tree, A, B, metric) {
    let most = 0;
    for (let node = 0; node < tree.size; node++) {
      const found = difference(A, B, node, metric);
      if (found.real) most = Math.max(most, Math.abs(found.delta));
    }
    return most;
  }

  return { decode, expand, difference, layout, search, byName, largest, shade, largestDelta };
})();

if (typeof module !== 'undefined') module.exports = flame;
