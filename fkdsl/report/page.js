"use strict";
// The page of a run. All texts come from the JSON in #data and go in by textContent alone.
(() => {
  const run = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const number = (x, digits = 4) => (x === null || x === undefined ? "" : x.toFixed(digits));
  const share = (p) => (p >= 0.0995 ? p.toFixed(2) : p >= 0.0005 ? p.toFixed(3) : p === 0 ? "0" : "<0.001");
  const precise = (p) => (p >= 0.0005 ? p.toFixed(4) : p === 0 ? "0" : p.toExponential(1));
  // What is neither 0 nor 1 is not shown as one of them; null is not known.
  const probability = (p) =>
    p === null ? "unknown" : p > 0 && p < 5e-5 ? "<0.0001" : p < 1 - 1e-9 && p > 1 - 5e-5 ? ">0.9999" : p.toFixed(4);
  const quoted = (text) => JSON.stringify(text);
  const nats = (x) => (x === null ? "-inf" : Math.abs(x) < 5e-5 ? "0.0000" : (x >= 0 ? "+" : "") + x.toFixed(4));

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined) made.setAttribute(key, value);
    }
    made.append(...children.map((child) => (child instanceof Node ? child : String(child))));
    return made;
  }

  // A column without a heading has an empty cell there, which is no heading.
  const heading = (text) => (text ? element("th", { scope: "col" }, text) : element("td"));

  function table(heads, rows, attributes = {}) {
    const cell = (value) =>
      value instanceof Node && value.nodeName === "TD" ? value : element("td", {}, value);
    return element(
      "table",
      attributes,
      element("thead", {}, element("tr", {}, ...heads.map(heading))),
      element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map(cell)))),
    );
  }

  const figure = (text) => element("td", { class: "number" }, text);
  const value = (text) => element("td", { class: "value" }, text);

  // ------------------------------------------------------------- head and posterior

  function head() {
    const result = run.result;
    const options = Object.entries(run.options).map(([k, v]) => `${k}=${JSON.stringify(v)}`);
    const interval = result.log_z_interval;
    const error = interval
      ? ` in [${number(interval[0])}, ${number(interval[1])}]`
      : result.log_z_se !== null && result.log_z_se !== undefined
        ? ` ± ${number(result.log_z_se, 3)}`
        : "";
    const facts = [
      `${run.method}(${options.join(", ")})`,
      run.log_z === null ? null : `log Z ~ ${number(run.log_z)}${error}`,
      result.ess ? `ESS ${number(result.ess, 1)}` : null,
      result.steps ? `${result.steps} steps` : null,
      result.forwarded_tokens ? `${result.forwarded_tokens} tokens forwarded` : null,
      result.seconds ? `${number(result.seconds, 1)} s` : null,
      `seed ${run.seed}`,
      run.finished ? null : "not finished",
    ];
    at("title").textContent = run.title;
    at("facts").textContent = facts.filter(Boolean).join("   ·   ");
    for (const note of result.notes ?? []) at("notes").append(element("li", {}, note));
  }

  function posterior() {
    const rows = run.result.posterior.map((a) => {
      const p = a.probability;
      const bounds = "low" in a && a.high - a.low > 1e-9 ? ` [${number(a.low)}, ${number(a.high)}]` : "";
      const meter = p === null
        ? `this rests on one surviving ${run.result.sole}`
        : element("meter", { min: 0, max: 1, value: p, "aria-label": `probability ${probability(p)}` });
      return [figure(probability(p) + bounds), element("td", {}, meter), value(a.value)];
    });
    if (rows.length) at("answers").append(element("div", { class: "tall", tabindex: 0 }, table(["probability", "", "value"], rows)));
    else at("answers").append(element("p", {}, run.finished ? "The run has no answer: every particle died." : "The run has not ended."));
    const more = run.result.answers - rows.length;
    if (more > 0) at("answers").append(element("p", { class: "hint" }, `and ${more} further values`));
    const queries = Object.entries(run.result.queries ?? {});
    if (queries.length) {
      at("queries").append(element("h3", {}, "Queries"), table(
        ["query", "mean", "standard error", "interval"],
        queries.map(([name, q]) => [
          value(name), figure(number(q.mean)), figure(q.se === 0 && q.interval ? "" : number(q.se)),
          figure(q.interval ? `${number(q.interval[0])} to ${number(q.interval[1])}` : ""),
        ]),
      ));
    }
    const documents = run.result.documents;
    if (documents.length) {
      at("documents").append(element("h3", {}, "Documents that the answers rest on"), table(
        ["probability", "standard error", "document", "text"],
        documents.map((d) => [figure(probability(d.probability)), figure(number(d.se)), value(d.place), value(d.text)]),
      ));
    }
  }

  // ------------------------------------------------------------------------- draws

  // What the draws of a node gave, and what else they might have given; the last of them has no
  // value where it left nothing.
  function drawsOf(c, k) {
    const n = Math.max(c.drawn[k].length, c.alternatives[k].length);
    return Array.from({ length: n }, (_, j) => {
      const [place, string] = c.drawn[k][j] ?? [null, null];
      const row = run.alternatives[c.alternatives[k][j]];
      const options = row ? optionsOf(row) : null;
      return { place, text: string === null ? null : run.strings[string], options, p: options?.find((o) => o.drawn)?.p ?? null };
    });
  }

  function optionsOf(row) {
    const options = [];
    for (let at = 1; at < row.length; at += 3) {
      const by = row[at + 2];
      options.push({
        text: run.strings[row[at]], p: row[at + 1], drawn: (at - 1) / 3 === row[0],
        refused: by < 0 ? null : { place: run.places[by >> 1], tried: by % 2 === 1 },
      });
    }
    return options;
  }

  const where = (place) => (place.file === run.sources[0]?.name ? `line ${place.line}` : `${place.file.split("/").pop()}:${place.line}`);
  const why = (refused) => `${refused.tried ? "died in a trial at" : "refused by a mask of"} ${where(refused.place)}`;

  // Options on one line, the drawn one left out: "a" 0.31, and struck through what was refused.
  function optionsLine(options) {
    const others = options.filter((o) => !o.drawn).map((o) => {
      const text = o.refused ? element("s", { title: `${why(o.refused)}: ${o.refused.place.source}` }, quoted(o.text)) : quoted(o.text);
      return element("span", { class: "option" }, text, ` ${share(o.p)}`, o.refused ? ` (${where(o.refused.place)})` : "");
    });
    return others.length ? [element("div", { class: "others" }, ...others)] : [];
  }

  function optionsTable(options) {
    const most = Math.max(...options.map((o) => o.p));
    const rows = options.map((o) => {
      const bar = element("div", { class: o.refused ? "bar refused" : "bar" });
      bar.style.width = `${Math.max(1, (100 * o.p) / most)}%`;
      const text = quoted(o.text);
      const told = element("td", { title: o.refused?.place.source }, o.drawn ? "drawn" : o.refused ? why(o.refused) : "");
      return [figure(precise(o.p)), element("td", { class: "bars" }, bar), value(o.refused ? element("s", {}, text) : text), told];
    });
    return table(["probability", "", "outcome", ""], rows, { class: "options" });
  }

  // ------------------------------------------------------------------------ charts

  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  function theme() {
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const [ink, line] = [colour("--ink"), colour("--line")];
    const words = { labelColor: ink, titleColor: ink };
    return {
      background: "transparent",
      font: "system-ui, sans-serif",
      axis: { ...words, domainColor: ink, tickColor: ink, gridColor: line },
      legend: words,
      rule: { color: ink },
      view: { stroke: line },
    };
  }
  // By an interpreter of Vega's expressions (ast), so that the page's policy needs no unsafe-eval.
  // Errors alone are logged: a path of one node is a warning for Vega.
  const choices = (tooltip) => ({
    actions: { export: true, source: false, compiled: false, editor: false }, ast: true, logLevel: 1, config: theme(), renderer: "canvas", mode: "vega-lite", tooltip,
  });

  let stepsView = null;
  let treeView = null;
  let chosen = { island: run.islands.length ? run.islands[0].island : 0, node: null, t: null };
  let trail = [];
  const islandOf = (n) => run.islands.find((one) => one.island === n);

  async function embedded(id, spec, tooltip) {
    const made = await vegaEmbed(`#${id}`, spec, choices(tooltip));
    at(id).querySelector("summary")?.setAttribute("aria-label", "save the chart");
    return made.view;
  }

  async function drawSteps() {
    const steps = run.islands.flatMap((one) => one.steps.map((s) => ({ ...s, island: one.island })));
    // Vega-Lite cannot make a column of charts as wide as its window.
    const width = Math.max(160, at("steps-chart").clientWidth - 72);
    const vconcat = run.charts.steps.vconcat.map((panel) => ({ ...panel, width }));
    const spec = { ...run.charts.steps, vconcat, datasets: { steps, chosen: chosen.t === null ? [] : [{ t: chosen.t }] } };
    stepsView = await embedded("steps-chart", spec, true);
    stepsView.addEventListener("click", (event, item) => {
      if (item && item.datum && item.datum.t !== undefined) chooseStep(item.datum.t, item.datum.island);
    });
    mark();
  }

  function stepsTable() {
    const rows = run.islands.flatMap((one) => one.steps.map((s) => {
      const button = element("button", { type: "button", class: "plain", "aria-label": `choose step ${s.t}` }, s.t);
      button.addEventListener("click", () => chooseStep(s.t, one.island));
      return [
        figure(one.island), element("td", { class: "number" }, button), figure(number(s.ess, 1)), figure(number(s.entropy, 3)),
        figure(number(s.log_z)), figure(s.alive), figure(s.unfinished), s.resampled ? "yes" : "",
      ];
    }));
    const heads = ["island", "step", "ESS", "entropy", "log Z", "alive", "running", "resampled"];
    at("steps-table").append(element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "The figures of the steps" }, table(heads, rows)));
  }

  const edge = ([t0, row0, t1, row1, survives]) => ({ t0, row0, t1, row1, survives: survives === 1 });

  function edgesAlong(c) {
    const path = chosen.node === null ? [] : pathOf(chosen.island, chosen.node);
    return path.slice(1).map((k) => edge([c.t[c.parent[k]], c.row[c.parent[k]], c.t[k], c.row[k], 1]));
  }

  const here = (c) => (chosen.node === null ? [] : [{ t: c.t[chosen.node], row: c.row[chosen.node] }]);

  // Points of a large tree that are drawn at once: more are a blot, and slow. Where there are more
  // in view, those are left out where nothing happened.
  const MOST_POINTS = 4000;

  function pointsInView(c, [t0, t1], [row0, row1]) {
    const inside = (k) => c.t[k] >= t0 && c.t[k] <= t1 && c.row[k] >= row0 && c.row[k] <= row1;
    let shown = c.t.map((_, k) => k).filter(inside);
    if (shown.length > MOST_POINTS) shown = shown.filter((k) => c.copied[k] || c.status[k] !== "running");
    if (shown.length > MOST_POINTS) shown = shown.sort((a, b) => c.survives[b] - c.survives[a] || c.weight[b] - c.weight[a]).slice(0, MOST_POINTS);
    return shown.map((k) => ({ t: c.t[k], row: c.row[k], status: c.status[k], weight: c.weight[k], copied: c.copied[k] === 1, survives: c.survives[k] === 1 }));
  }

  const EVERYTHING = [-Infinity, Infinity];

  function treeData(island) {
    const one = islandOf(island);
    return { nodes: pointsInView(one.nodes, EVERYTHING, EVERYTHING), edges: one.segments.map(edge), path: edgesAlong(one.nodes), here: here(one.nodes) };
  }

  let waiting = false;
  function redrawPoints() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      const domains = ["x", "y"].map((name) => treeView.scale(name).domain());
      treeView.data("nodes", pointsInView(islandOf(chosen.island).nodes, ...domains)).run();
    });
  }

  // The node nearest to the mouse, null where none is near.
  function nodeAt(event) {
    const canvas = at("tree").querySelector("canvas");
    if (!treeView || !canvas) return null;
    const box = canvas.getBoundingClientRect();
    const [left, top] = treeView.origin();
    const padding = treeView.padding();
    const place = [event.clientX - box.left - left - padding.left, event.clientY - box.top - top - padding.top];
    const [x, y] = ["x", "y"].map((name) => treeView.scale(name));
    if (place[0] < -NEAR || place[0] > x.range()[1] + NEAR || place[1] < -NEAR || place[1] > y.range()[0] + NEAR) return null;
    const c = islandOf(chosen.island).nodes;
    const far = (k) => Math.hypot(x(c.t[k]) - place[0], y(c.row[k]) - place[1]);
    const steps = [Math.floor(x.invert(place[0])), Math.ceil(x.invert(place[0]))];
    const near = c.t.flatMap((t, k) => (steps.includes(t) ? [k] : []));
    const best = near.reduce((a, k) => (a === null || far(k) < far(a) ? k : a), null);
    return best !== null && far(best) <= NEAR ? best : null;
  }
  const NEAR = 12;

  function tellNode(event) {
    const box = at("tooltip");
    const k = event.buttons ? null : nodeAt(event);
    box.hidden = k === null;
    at("tree").style.cursor = k === null ? "" : "pointer";
    if (k === null) return;
    box.replaceChildren(...nodeWords(islandOf(chosen.island).nodes, k).map((line) => element("div", {}, line)));
    const room = [window.innerWidth - box.offsetWidth - 12, window.innerHeight - box.offsetHeight - 12];
    box.style.left = `${Math.max(0, Math.min(event.clientX + 14, room[0]))}px`;
    box.style.top = `${Math.max(0, Math.min(event.clientY + 14, room[1]))}px`;
  }

  let pressed = null;
  function clickTree(event) {
    const moved = pressed && Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) > 4;
    const k = moved ? null : nodeAt(event);
    if (k !== null) choose(chosen.island, k);
  }

  // What a node is, for the tooltip and for screen readers.
  function nodeWords(c, k) {
    const draws = drawsOf(c, k);
    const potential = c.charges[k].reduce((sum, [, x]) => (sum === null || x === null ? null : sum + x), 0);
    const lines = [...new Set([...c.drawn[k], ...c.charges[k]].map(([p]) => where(run.places[p])))];
    return [
      `step ${c.t[k]}, particle ${c.i[k]}, ${c.status[k]}`,
      c.parent[k] === null ? "begins" : c.copied[k] ? `a copy of particle ${c.i[c.parent[k]]}` : null,
      ...draws.map((d) => (d.text === null ? "the draw left nothing" : `drew ${quoted(d.text)}${d.p === null ? "" : `, probability ${share(d.p)}`}`)),
      `weight ${number(c.weight[k])}, ${nats(potential)} nats in this step`,
      lines.length ? lines.join(", ") : null,
    ].filter((line) => line !== null);
  }

  async function drawTree() {
    if (!run.islands.length) return;
    const spec = { ...run.charts.genealogy, datasets: treeData(chosen.island) };
    treeView = await embedded("tree", spec, false);
    for (const signal of ["zoom_t0", "zoom_row0"]) treeView.addSignalListener(signal, redrawPoints);
    mark();
  }

  function zoom(factor) {
    if (!treeView) return;
    for (const [signal, scale] of [["zoom_t0", "x"], ["zoom_row0", "y"]]) {
      const c = islandOf(chosen.island).nodes;
      if (factor === null) {
        treeView.signal(signal, null);
        continue;
      }
      const domain = treeView.scale(scale).domain();
      const centre = chosen.node === null ? (domain[0] + domain[1]) / 2 : (scale === "x" ? c.t : c.row)[chosen.node];
      treeView.signal(signal, domain.map((x) => centre + (x - centre) * factor));
    }
    treeView.run();
  }

  // ------------------------------------------------------------------------- choice

  function pathOf(island, node) {
    const parents = islandOf(island).nodes.parent;
    const found = [];
    for (let k = node; k !== null; k = parents[k]) found.unshift(k);
    return found;
  }

  // Of the last step: a particle that waits has its node in an earlier one, at another weight.
  const logWeights = (one) => one.weights.map((w) => w ?? -Infinity);

  function heaviest(island) {
    const one = islandOf(island);
    const weights = logWeights(one);
    return one.last[weights.reduce((best, w, i) => (w > weights[best] ? i : best), 0)];
  }

  function choose(island, node, said = true) {
    const other = chosen.island !== island;
    chosen = { island, node, t: islandOf(island).nodes.t[node] };
    if (!trail.includes(node) || other) trail = pathOf(island, node);
    if (other) drawTree();
    mark();
    if (said) at("said").textContent = nodeWords(islandOf(island).nodes, node).join("; ");
  }

  function chooseStep(t, island) {
    const c = islandOf(island).nodes;
    const along = chosen.island === island ? trail.find((k) => c.t[k] === t) : undefined;
    const node = along ?? c.t.indexOf(t);
    if (node >= 0) choose(island, node);
  }

  // The node that an arrow key leads to: along the path that was chosen, or to the neighbour.
  function neighbour(key) {
    const c = islandOf(chosen.island).nodes;
    const k = chosen.node;
    if (key === "ArrowLeft") return c.parent[k];
    if (key === "ArrowRight") {
      const ahead = trail[trail.indexOf(k) + 1];
      if (ahead !== undefined) return ahead;
      const children = c.parent.flatMap((p, child) => (p === k ? [child] : []));
      return children.sort((a, b) => c.survives[b] - c.survives[a] || c.weight[b] - c.weight[a])[0] ?? null;
    }
    const step = key === "ArrowUp" ? 1 : -1;
    const beside = c.t.flatMap((t, n) => (t === c.t[k] && (c.row[n] - c.row[k]) * step > 0 ? [n] : []));
    return beside.sort((a, b) => (c.row[a] - c.row[b]) * step)[0] ?? null;
  }

  function treeKeys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || chosen.node === null) return;
    const { key } = event;
    if (key.startsWith("Arrow")) {
      const next = neighbour(key);
      if (next !== null) choose(chosen.island, next);
    } else if (key === "Home") choose(chosen.island, pathOf(chosen.island, chosen.node)[0]);
    else if (key === "End") choose(chosen.island, heaviest(chosen.island));
    else if (key === "+" || key === "=") zoom(1 / 1.5);
    else if (key === "-") zoom(1.5);
    else if (key === "0") zoom(null);
    else return;
    event.preventDefault();
  }

  function mark() {
    if (!run.islands.length) return;
    const c = islandOf(chosen.island).nodes;
    at("island").value = String(chosen.island);
    at("step").value = chosen.t ?? "";
    at("particle").value = chosen.node === null ? "" : c.i[chosen.node];
    if (stepsView) stepsView.data("chosen", chosen.t === null ? [] : [{ t: chosen.t }]).run();
    if (treeView) treeView.data("path", edgesAlong(c)).data("here", here(c)).run();
    showPath(c, chosen.node === null ? [] : pathOf(chosen.island, chosen.node));
    showLines(c);
  }

  function showPath(c, path) {
    const box = at("path");
    box.replaceChildren();
    if (!path.length) return;
    const end = path[path.length - 1];
    box.append(element("h3", {}, `Particle ${c.i[end]} of step ${c.t[end]}`));
    const outcome = islandOf(chosen.island).outcomes[islandOf(chosen.island).last.indexOf(end)];
    if (outcome) {
      const [what, text] = Object.entries(outcome)[0];
      const verb = { value: "It returned", died: "It died at", text: "It is running; its text so far" }[what];
      box.append(element("p", {}, `${verb}:`), element("div", { class: "tokens" }, text));
    }
    const rows = path.slice().reverse().flatMap((k) => {
      const parts = [
        ...drawsOf(c, k).map((d) => [
          d.place === null ? "" : where(run.places[d.place]),
          element("td", { class: "value" }, d.text === null ? "the draw left nothing" : quoted(d.text),
            d.p === null ? "" : element("span", { class: "soft" }, ` ${share(d.p)}`), ...(d.options ? optionsLine(d.options) : [])),
        ]),
        ...c.charges[k].filter(([, x]) => x === null || Math.abs(x) >= 5e-5).map(([p, x]) => [where(run.places[p]), value(`${nats(x)} nats`)]),
      ];
      if (c.copied[k]) parts.unshift(["", value(`a copy of particle ${c.i[c.parent[k]]}`)]);
      if (!parts.length) parts.push(["", value(c.parent[k] === null ? "begins" : "")]);
      return parts.map(([place, what], j) => [
        figure(j ? "" : c.t[k]), element("td", { class: "where" }, place), what, figure(j ? "" : number(c.log_weight[k], 3) || "-inf"),
      ]);
    });
    box.append(table(["step", "where", "drew (probability; what else was likely), or nats", "log weight"], rows));
  }

  function controls() {
    for (const one of run.islands) at("island").append(element("option", { value: one.island }, one.island));
    at("island").addEventListener("change", () => {
      const island = Number(at("island").value);
      choose(island, heaviest(island));
    });
    const find = () => {
      const c = islandOf(chosen.island).nodes;
      const [t, i] = [Number(at("step").value), Number(at("particle").value)];
      // A particle that waits has its last node in an earlier step.
      let node = -1;
      c.t.forEach((x, k) => {
        if (x <= t && c.i[k] === i) node = k;
      });
      if (node >= 0) choose(chosen.island, node);
      else mark();
    };
    at("step").addEventListener("change", find);
    at("particle").addEventListener("change", find);
    at("heaviest").addEventListener("click", () => choose(chosen.island, heaviest(chosen.island)));
    at("earlier").addEventListener("click", () => {
      const parent = islandOf(chosen.island).nodes.parent[chosen.node];
      if (parent !== null) choose(chosen.island, parent);
    });
    at("closer").addEventListener("click", () => zoom(1 / 1.5));
    at("wider").addEventListener("click", () => zoom(1.5));
    at("whole").addEventListener("click", () => zoom(null));
    at("tree").addEventListener("keydown", treeKeys);
    at("tree").addEventListener("mousedown", (event) => (pressed = [event.clientX, event.clientY]), true);
    at("tree").addEventListener("click", clickTree);
    at("tree").addEventListener("mousemove", tellNode);
    at("tree").addEventListener("mouseleave", () => (at("tooltip").hidden = true));
    at("choice").addEventListener("submit", (event) => event.preventDefault());
  }

  // ------------------------------------------------------------------------ program

  const rowsOfLines = new Map();
  function program() {
    const percent = (x) => (x === null || x === undefined ? "" : `${(100 * x).toFixed(0)}%`);
    for (const source of run.sources) {
      const timed = run.lines.some((l) => l.time_share !== null && l.time_share !== undefined);
      const heads = ["", "", "deaths", "nats", "variance", ...(timed ? ["time"] : [])];
      const body = source.lines.map((pieces, k) => {
        const spans = pieces.map(([name, text]) =>
          name ? element("span", { class: name === "number" ? "number-literal" : name }, text) : text);
        const told = run.lines.filter((l) => l.file === source.name && l.line === k + 1);
        const sum = (key) => told.reduce((all, l) => all + (l[key] ?? 0), 0);
        const known = (key) => told.some((l) => l[key] !== null && l[key] !== undefined);
        const row = element("tr", {},
          element("td", { class: "row-number" }, k + 1), element("td", { class: "source" }, ...spans),
          element("td", { class: "number deaths" }, sum("deaths") || ""),
          figure(told.length && sum("log_weight") ? nats(sum("log_weight")) : ""),
          figure(known("variance_share") ? percent(sum("variance_share")) : ""),
          ...(timed ? [figure(known("time_share") ? percent(sum("time_share")) : "")] : []));
        rowsOfLines.set(`${source.name}:${k + 1}`, row);
        return row;
      });
      const head = element("tr", {}, ...heads.map(heading));
      at("sources").append(element("h3", {}, source.name),
        element("table", { class: "code" }, element("thead", {}, head), element("tbody", {}, ...body)));
    }
  }

  function showLines(c) {
    for (const row of rowsOfLines.values()) row.classList.remove("active");
    if (chosen.t === null) return;
    const places = new Set();
    c.t.forEach((t, k) => {
      if (t === chosen.t) for (const [p] of [...c.drawn[k], ...c.charges[k]]) places.add(p);
    });
    for (const p of places) rowsOfLines.get(`${run.places[p].file}:${run.places[p].line}`)?.classList.add("active");
  }

  // -------------------------------------------------------------------------- texts

  const MOST_TEXTS = 12;

  // The heaviest particles of all islands that drew different things, heaviest first.
  function heaviestPaths() {
    const ends = run.islands.flatMap((one) => {
      const weights = logWeights(one);
      return one.last.map((node, i) => ({ island: one.island, node, weight: weights[i] }));
    });
    const total = Math.max(...ends.map((e) => e.weight));
    const sum = ends.reduce((all, e) => all + Math.exp(e.weight - total), 0);
    const found = new Map();
    for (const end of ends.filter((e) => e.weight > -Infinity).sort((a, b) => b.weight - a.weight)) {
      const c = islandOf(end.island).nodes;
      const path = pathOf(end.island, end.node);
      const key = JSON.stringify(path.map((k) => c.drawn[k]));
      const one = found.get(key) ?? { ...end, path, particles: 0, share: 0 };
      one.particles += 1;
      one.share += Math.exp(end.weight - total) / sum;
      found.set(key, one);
    }
    return [...found.values()].sort((a, b) => b.share - a.share).slice(0, MOST_TEXTS);
  }

  function texts() {
    const paths = run.islands.length ? heaviestPaths() : [];
    const known = run.alternatives.length > 0;
    at("texts-hint").textContent = !paths.length
      ? "The run has no answer whose text could be shown."
      : known
      ? "The redder a token, the less probable the model found it before any condition. Point at one for what else was likely there and what was refused; click it to see its step. By keyboard: tab to a text, then arrows and Enter."
      : "This trace has no probabilities: a run has them that was made with --report or --trace, and without --alternatives 0.";
    paths.forEach((one, n) => {
      const c = islandOf(one.island).nodes;
      const draws = one.path.flatMap((k) => drawsOf(c, k).filter((d) => d.text !== null).map((d) => ({ ...d, node: k })));
      const spans = draws.map((draw, j) => {
        const label = `${quoted(draw.text)}${draw.p === null ? "" : ` ${share(draw.p)}`}`;
        const span = element("span", { role: "option", id: `token-${n}-${j}`, "aria-selected": "false", "aria-label": label }, draw.text === "" ? "∅" : draw.text.replaceAll("\n", "⏎\n"));
        if (draw.p !== null) {
          const alpha = Math.min(0.5, -Math.log(Math.max(draw.p, 1e-9)) / 14);
          span.style.backgroundColor = `rgba(var(--improbable), ${alpha.toFixed(3)})`;
        }
        return span;
      });
      const box = element("div", { class: "tokens", role: "listbox", tabindex: 0, "aria-label": `the draws of text ${n + 1}` }, ...spans);
      let current = -1;
      const point = (j) => {
        spans[current]?.setAttribute("aria-selected", "false");
        current = j;
        spans[j].setAttribute("aria-selected", "true");
        box.setAttribute("aria-activedescendant", spans[j].id);
        tellDraw(c, draws[j]);
      };
      const pick = (event) => spans.indexOf(event.target);
      box.addEventListener("mouseover", (event) => pick(event) >= 0 && point(pick(event)));
      box.addEventListener("click", (event) => pick(event) >= 0 && choose(one.island, draws[pick(event)].node));
      box.addEventListener("focus", () => spans.length && point(Math.max(current, 0)));
      box.addEventListener("keydown", (event) => {
        const to = { ArrowRight: current + 1, ArrowLeft: current - 1, Home: 0, End: spans.length - 1 }[event.key];
        if (to !== undefined && spans[to]) point(to);
        else if (event.key === "Enter") choose(one.island, draws[current].node);
        else return;
        event.preventDefault();
      });
      if (!n && known && spans.length) point(tellingDraw(draws));
      const many = one.particles > 1 ? `${one.particles} particles` : `particle ${c.i[one.path[one.path.length - 1]]}`;
      const island = run.islands.length > 1 ? ` of island ${one.island}${one.particles > 1 ? " and others" : ""}` : "";
      at("tokens").append(element("h3", {}, `${number(one.share)}   `, element("span", { class: "soft" }, many + island)), box);
    });
    at("alternatives").hidden = !known || !paths.length;
  }

  // The draw to show first: one where something was refused, or else the least probable.
  function tellingDraw(draws) {
    const refused = draws.findIndex((d) => d.options?.some((o) => o.refused));
    const p = draws.map((d) => d.p ?? 1);
    return refused >= 0 ? refused : p.indexOf(Math.min(...p));
  }

  function tellDraw(c, draw) {
    const box = at("alternatives");
    const place = run.places[draw.place];
    box.replaceChildren(
      element("h3", {}, `${quoted(draw.text)} `, element("span", { class: "soft" }, `step ${c.t[draw.node]}, ${where(place)}`)),
      draw.options ? optionsTable(draw.options) : element("p", { class: "hint" }, "The outcomes of this draw cannot be listed."),
    );
  }

  function repeat() {
    at("command").textContent = run.command ?? "";
    at("command").hidden = !run.command;
    at("facts-json").textContent = JSON.stringify(run.repeat, null, 2);
  }

  head();
  posterior();
  stepsTable();
  controls();
  program();
  texts();
  repeat();
  if (run.islands.length) {
    choose(chosen.island, heaviest(chosen.island), false);
    drawSteps();
    drawTree();
    dark.addEventListener("change", () => { drawSteps(); drawTree(); });
    let resized = null;
    window.addEventListener("resize", () => {
      clearTimeout(resized);
      resized = setTimeout(drawSteps, 200);
    });
  } else {
    for (const id of ["steps", "genealogy", "texts"]) at(id).hidden = true;
  }
})();
