// The page: choosing, drawing and searching the flame graphs; the arithmetic is flame.js.
'use strict';

(() => {
  const kCellHeight = 19;
  const kListed = 25;
  const kRed = [205, 60, 50];
  const kBlue = [45, 110, 200];
  const data = JSON.parse(document.getElementById('flame-data').textContent);
  const tree = flame.decode(data);
  const expanded = new Map();
  const darkMode = window.matchMedia('(prefers-color-scheme: dark)');
  const $ = (id) => document.getElementById(id);
  const state = { a: '', b: '', view: 'diff', metric: 'total', width: 'max', list: 'self', q: '' };
  let chart = null;
  let hits = null;
  let scale = 0;

  function profileOf(key) {
    return data.profiles.find((profile) => profile.key === key);
  }

  function side(key) {
    if (!expanded.has(key)) expanded.set(key, flame.expand(tree, profileOf(key)));
    return expanded.get(key);
  }

  const A = () => side(state.a);
  const B = () => side(state.b);
  const isDiff = () => state.view === 'diff';
  const sides = () => (isDiff() ? [A(), B()] : [A()]);

  // --- words -----------------------------------------------------------------------------------

  function micros(us) {
    const digits = Math.abs(us) < 0.1 ? 3 : Math.abs(us) < 10 ? 2 : 1;
    return us.toFixed(digits);
  }

  function signed(us) {
    return `${us > 0 ? '+' : us < 0 ? '−' : ''}${micros(Math.abs(us))}`;
  }

  function percent(part, whole) {
    return `${(100 * part / whole).toFixed(2)} %`;
  }

  function element(tag, text, tone) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (tone) made.className = tone;
    return made;
  }

  function row(cells, tag = 'td') {
    const made = element('tr');
    for (const [text, tone] of cells) made.append(element(tag, text, tone));
    return made;
  }

  // --- colours ---------------------------------------------------------------------------------

  function neutral() {
    return darkMode.matches ? [168, 172, 180] : [226, 228, 232];
  }

  function mixed(part) {
    const grey = neutral();
    const end = part > 0 ? kRed : kBlue;
    const most = 0.85 * Math.abs(part);
    return grey.map((channel, i) => Math.round(channel + (end[i] - channel) * most));
  }

  function colour(node) {
    const alpha = hits && !hits.has(node) ? 0.28 : 1;
    if (!isDiff()) return withAlpha(groupColour(tree.group[node]), alpha);
    const part = flame.shade(flame.difference(A(), B(), node, state.metric), scale);
    return withAlpha(mixed(part), alpha);
  }

  function withAlpha([r, g, b], alpha) {
    return `rgba(${r},${g},${b},${alpha})`;
  }

  function groupColour(group) {
    const name = `--g-${data.groups[group].replaceAll(' ', '-')}`;
    const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const value = parseInt(hex.slice(1), 16);
    const light = [value >> 16, (value >> 8) & 255, value & 255];
    return light.map((channel) => Math.round(channel + (255 - channel) * 0.35));
  }

  // --- the graph -------------------------------------------------------------------------------

  function draw() {
    hideTip();
    scale = isDiff() ? flame.largestDelta(tree, A(), B(), state.metric) : 0;
    hits = state.q ? found().hits : null;
    const nested = flame.layout(tree, A(), isDiff() ? B() : null, state.width);
    $('graph').replaceChildren();
    chart = flamegraph().width(graphWidth()).cellHeight(kCellHeight).inverted(true)
      .selfValue(true).minFrameSize(0.4).transitionDuration(0).resetHeightOnZoom(true)
      .sort((x, y) => (x.data.name < y.data.name ? -1 : x.data.name > y.data.name ? 1 : 0))
      .tooltip(tip).setColorMapper((d) => colour(d.data.id)).onClick(decorate);
    d3.select($('graph')).datum(nested).call(chart);
    decorate();
  }

  function graphWidth() {
    return Math.max(320, $('graph').clientWidth);
  }

  // Frames that only one profile has are outlined, frames that no search matched are dimmed: the
  // renderer itself knows fills only, and sets the class anew at each update.
  function decorate() {
    for (const frame of document.querySelectorAll('#graph g.frame')) {
      const node = frame.__data__.data.id;
      frame.classList.toggle('dim', hits !== null && !hits.has(node));
      const found = isDiff() ? flame.difference(A(), B(), node, 'total') : { state: 'both' };
      Object.assign(frame.querySelector('rect').dataset, { state: found.state, real: found.real });
    }
  }

  function redrawColours() {
    chart.update();
    decorate();
  }

  // --- search ----------------------------------------------------------------------------------

  function pattern() {
    try {
      return new RegExp(state.q, 'i');
    } catch {
      return null;
    }
  }

  function found() {
    return flame.search(tree, sides(), pattern() || /[^\s\S]/);
  }

  function search() {
    hits = null;
    $('matched').textContent = '';
    if (!state.q) return;
    if (!pattern()) {
      $('matched').textContent = 'not a regular expression';
      return;
    }
    const result = found();
    hits = result.hits;
    $('matched').textContent = 'matched: ' + sides().map((each, i) =>
      `${isDiff() ? 'AB'[i] + ' ' : ''}${micros(result.sums[i])} µs (` +
      `${percent(result.sums[i], each.profile.us)})`).join(', ');
  }

  // --- tooltip ---------------------------------------------------------------------------------

  function tip() {}
  tip.show = (d) => showTip(d.data.id);
  tip.hide = hideTip;

  function hideTip() {
    $('tip').hidden = true;
  }

  function showTip(node) {
    const box = $('tip');
    box.replaceChildren(element('strong', tree.name[node]),
      element('span', data.groups[tree.group[node]], 'muted'), tipTable(node));
    if (isDiff()) box.append(element('span', tipVerdict(node), 'muted'));
    box.hidden = false;
  }

  function tipTable(node) {
    const table = element('table');
    table.append(row([[''], ['inclusive µs'], ['%'], ['stacks'], ['self µs'], ['%'],
      ['stacks']], 'th'));
    sides().forEach((each, i) => table.append(tipRow('AB'[i], each, node)));
    if (isDiff()) {
      const total = flame.difference(A(), B(), node, 'total');
      const self = flame.difference(A(), B(), node, 'self');
      table.append(row([['B − A'], [signed(total.delta)], [''], [''], [signed(self.delta)], [''],
        ['']]));
    }
    return table;
  }

  function tipRow(name, each, node) {
    const cells = [[name]];
    for (const counts of [each.total, each.self]) {
      cells.push([micros(counts[node] * each.unit)],
        [percent(counts[node], each.profile.samples)], [String(counts[node])]);
    }
    return row(cells);
  }

  function tipVerdict(node) {
    const found = flame.difference(A(), B(), node, state.metric);
    const word = { gone: 'Only in A. ', new: 'Only in B. ', both: '' }[found.state];
    const metric = state.metric === 'self' ? 'self' : 'inclusive';
    return `${word}The ${metric} difference is ${found.real ? 'beyond' : 'within'} the noise ` +
      `(±${micros(found.bound)} µs).`;
  }

  function moveTip(event) {
    const box = $('tip');
    if (box.hidden) return;
    const left = Math.min(event.clientX + 14, window.innerWidth - box.offsetWidth - 8);
    const below = event.clientY + 18 + box.offsetHeight < window.innerHeight;
    box.style.left = `${Math.max(4, left)}px`;
    box.style.top = `${below ? event.clientY + 18 : event.clientY - box.offsetHeight - 12}px`;
  }

  // --- words around the graph ------------------------------------------------------------------

  function describe() {
    $('totals').textContent = sides().map((each, i) =>
      `${'AB'[i]} = ${each.profile.label}: ${micros(each.profile.us)} µs per ` +
      `${each.profile.unit}, ${each.profile.samples} stacks`).join('  ·  ') +
      (isDiff() ? `  ·  B − A = ${signed(B().profile.us - A().profile.us)} µs` : '');
    $('method').textContent = isDiff() ? method() : '';
    $('scale').replaceChildren(...(isDiff() ? scaleLegend() : groupLegend()));
  }

  function method() {
    const how = (each) => (each.bySpread
      ? `the spread between its ${each.profile.rounds} rounds, and the number of its stacks`
      : 'the number of its stacks alone (too few rounds for a spread)');
    return 'A frame is coloured where |B − A| exceeds the noise: 99 % interval of A from ' +
      `${how(A())}; of B from ${how(B())}. Grey is no difference that this profile can prove.`;
  }

  function scaleLegend() {
    const steps = scale > 0 ? [-1, -0.25, 0, 0.25, 1] : [0];
    const swatches = steps.map((part) => {
      const at = Math.sign(part) * Math.sqrt(Math.abs(part));
      return swatch(withAlpha(mixed(at), 1), part === 0 ? 'no difference proven'
        : `${signed(part * scale)} µs`);
    });
    return [...swatches, outlined('gone', 'only in A'), outlined('new', 'only in B')];
  }

  function groupLegend() {
    return data.groups.map((name, i) => swatch(withAlpha(groupColour(i), 1), name));
  }

  function swatch(background, text) {
    const made = element('span');
    const box = element('i');
    box.style.background = background;
    made.append(box, text);
    return made;
  }

  function outlined(kind, text) {
    const made = element('span');
    made.append(element('i', undefined, kind), text);
    return made;
  }

  function listLargest() {
    const table = $('largest');
    table.replaceChildren();
    if (!isDiff()) return;
    const list = flame.largest(flame.byName(tree, A(), B()), state.list, kListed);
    const body = element('tbody');
    list.forEach((entry) => body.append(listRow(entry)));
    table.append(listHead(), body);
  }

  function listHead() {
    const head = element('thead');
    const titles = row([['function'], [''], ['A self µs'], ['B self µs'], [''],
      ['A inclusive µs'], ['B inclusive µs'], ['']], 'th');
    titles.children[4].append(sortButton('self', 'B − A self'));
    titles.children[7].append(sortButton('total', 'B − A inclusive'));
    head.append(titles);
    return head;
  }

  function sortButton(metric, text) {
    const button = element('button', state.list === metric ? `${text} ▾` : text, 'sort');
    button.type = 'button';
    button.title = 'Order by this column';
    button.addEventListener('click', () => change('list', metric));
    return button;
  }

  function listRow(entry) {
    const figures = (each) => [[micros(each.a)], [micros(each.b)],
      [signed(each.delta), each.real ? (each.delta > 0 ? 'more' : 'less') : 'muted']];
    const words = { gone: 'gone', new: 'new', both: entry[state.list].real ? '' : 'noise' };
    const made = row([['', 'name'], [words[entry.total.state], 'muted'], ...figures(entry.self),
      ...figures(entry.total)]);
    const button = element('button', entry.name, 'link');
    button.type = 'button';
    button.title = 'Search for it in the graph';
    button.addEventListener('click', () => setQuery(`^${escaped(entry.name)}$`));
    made.firstChild.append(button);
    return made;
  }

  function escaped(name) {
    return name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  }

  // --- state: the page's controls and the address ----------------------------------------------

  function setQuery(query) {
    $('query').value = query;
    state.q = query;
    refresh();
    $('graph').scrollIntoView({ block: 'nearest' });
  }

  function fromAddress() {
    const given = new URLSearchParams(window.location.hash.slice(1));
    const allowed = {
      view: ['diff', 'single'], metric: ['total', 'self'], width: ['max', 'a', 'b'],
      list: ['self', 'total'],
    };
    for (const key of ['a', 'b']) if (profileOf(given.get(key))) state[key] = given.get(key);
    for (const [key, values] of Object.entries(allowed)) {
      if (values.includes(given.get(key))) state[key] = given.get(key);
    }
    if (given.has('q')) state.q = given.get('q');
    return given.has('a') || given.has('view');
  }

  function toAddress() {
    const given = new URLSearchParams({ a: state.a, b: state.b, view: state.view });
    const usual = { metric: 'total', width: 'max', list: 'self', q: '' };
    for (const [key, value] of Object.entries(usual)) {
      if (state[key] !== value) given.set(key, state[key]);
    }
    window.history.replaceState(null, '', `#${given}`);
  }

  function showControls() {
    $('pick-a').value = state.a;
    $('pick-b').value = state.b;
    $('query').value = state.q;
    for (const name of ['view', 'metric', 'width']) {
      document.querySelector(`input[name=${name}][value=${state[name]}]`).checked = true;
    }
    for (const each of document.querySelectorAll('.both')) each.hidden = !isDiff();
  }

  function refresh() {
    showControls();
    search();
    draw();
    describe();
    listLargest();
  }

  function change(key, value) {
    state[key] = value;
    refresh();
    toAddress();
  }

  function fillPickers() {
    for (const id of ['pick-a', 'pick-b']) {
      const groups = new Map();
      for (const profile of data.profiles) {
        const name = `${profile.group}${profile.short ? ', short timeouts' : ''} · ` +
          `${profile.connections} connections`;
        if (!groups.has(name)) groups.set(name, element('optgroup'));
        groups.get(name).label = name;
        const option = element('option', profile.label);
        option.value = profile.key;
        groups.get(name).append(option);
      }
      $(id).append(...groups.values());
    }
  }

  function listen() {
    $('pick-a').addEventListener('change', (event) => change('a', event.target.value));
    $('pick-b').addEventListener('change', (event) => change('b', event.target.value));
    $('swap').addEventListener('click', () => {
      [state.a, state.b] = [state.b, state.a];
      change('view', 'diff');
    });
    for (const input of document.querySelectorAll('#viewer input[type=radio]')) {
      input.addEventListener('change', () => change(input.name, input.value));
    }
    $('query').addEventListener('input', (event) => {
      state.q = event.target.value;
      search();
      redrawColours();
      toAddress();
    });
    $('reset').addEventListener('click', () => { chart.resetZoom(); decorate(); });
    $('graph').addEventListener('mousemove', moveTip);
    window.addEventListener('resize', afterResize);
    window.addEventListener('hashchange', () => { if (fromAddress()) refresh(); });
    darkMode.addEventListener('change', refresh);
  }

  let resizing = 0;
  function afterResize() {
    window.clearTimeout(resizing);
    resizing = window.setTimeout(refresh, 150);
  }

  // --- the study's table -----------------------------------------------------------------------

  function chooseTicks() {
    for (const block of document.querySelectorAll('.ticks')) {
      block.hidden = block.dataset.profile !== $('ticks-of').value;
    }
  }

  [state.a, state.b] = data.start;
  fillPickers();
  if (data.profiles.length < 2) state.view = 'single';
  const linked = fromAddress();
  listen();
  $('ticks-of').addEventListener('change', chooseTicks);
  refresh();
  if (linked) $('flame').scrollIntoView();
})();
