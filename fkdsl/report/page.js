"use strict";
// The page of a run. All texts come from the JSON in #data and go in by textContent alone.
(() => {
  const run = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const number = (x, digits = 4) => (x === null || x === undefined ? "" : x.toFixed(digits));
  const nats = (x) => (x === null ? "-inf" : (x >= 0 ? "+" : "") + x.toFixed(4));

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined) made.setAttribute(key, value);
    }
    made.append(...children.map((child) => (child instanceof Node ? child : String(child))));
    return made;
  }

  function table(heads, rows, attributes = {}) {
    const cell = (value) =>
      value instanceof Node && value.nodeName === "TD" ? value : element("td", {}, value);
    return element(
      "table",
      attributes,
      element("thead", {}, element("tr", {}, ...heads.map((h) => element("th", { scope: "col" }, h)))),
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
      const meter = element("meter", { min: 0, max: 1, value: p, "aria-label": `probability ${number(p)}` });
      return [figure(number(p) + bounds), element("td", {}, meter), value(a.value)];
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
          value(name), figure(number(q.mean)), figure(number(q.se)),
          figure(q.interval ? `${number(q.interval[0])} to ${number(q.interval[1])}` : ""),
        ]),
      ));
    }
  }

  // ------------------------------------------------------------------------ charts

  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  function theme() {
    const ink = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
    const line = getComputedStyle(document.documentElement).getPropertyValue("--line").trim();
    const words = { labelColor: ink, titleColor: ink };
    return {
      background: "transparent",
      axis: { ...words, domainColor: ink, tickColor: ink, gridColor: line },
      legend: words,
      rule: { color: ink },
      view: { stroke: line },
    };
  }
  const choices = () => ({ actions: { export: true, source: false, compiled: false, editor: false }, config: theme(), renderer: "canvas", mode: "vega-lite" });

  let stepsView = null;
  let treeView = null;
  let chosen = { island: run.islands.length ? run.islands[0].island : 0, node: null, t: null };
  const islandOf = (n) => run.islands.find((one) => one.island === n);

  async function drawSteps() {
    const steps = run.islands.flatMap((one) => one.steps.map((s) => ({ ...s, island: one.island })));
    const spec = { ...run.charts.steps, datasets: { steps, chosen: chosen.t === null ? [] : [{ t: chosen.t }] } };
    const made = await vegaEmbed("#steps-chart", spec, choices());
    stepsView = made.view;
    stepsView.addEventListener("click", (event, item) => {
      if (item && item.datum && item.datum.t !== undefined) chooseStep(item.datum.t, item.datum.island);
    });
    mark();
  }

  function stepsTable() {
    const rows = run.islands.flatMap((one) => one.steps.map((s) => [
      figure(one.island), figure(s.t), figure(number(s.ess, 1)), figure(number(s.entropy, 3)),
      figure(number(s.log_z)), figure(s.alive), figure(s.unfinished), s.resampled ? "yes" : "",
    ]));
    const heads = ["island", "step", "ESS", "entropy", "log Z", "alive", "running", "resampled"];
    at("steps-table").append(element("div", { class: "scroll" }, table(heads, rows)));
  }

  const edgeOf = (c, k) => ({
    t0: c.t[c.parent[k]], row0: c.row[c.parent[k]], t1: c.t[k], row1: c.row[k], survives: c.survives[k] === 1,
  });

  function edgesAlong(c) {
    const path = chosen.node === null ? [] : pathOf(chosen.island, chosen.node);
    return path.filter((k) => c.parent[k] !== null).map((k) => edgeOf(c, k));
  }

  function treeData(island) {
    const c = islandOf(island).nodes;
    const drawn = (k) => c.drawn[k].map(([, text]) => JSON.stringify(text)).join(" ");
    const potential = (k) => c.charges[k].reduce((sum, [, x]) => (sum === null || x === null ? null : sum + x), 0);
    const lines = (k) => [...new Set([...c.drawn[k], ...c.charges[k]].map(([p]) => run.places[p].line))].join(", ");
    const nodes = c.t.map((t, k) => ({
      node: k, t, i: c.i[k], row: c.row[k], status: c.status[k], weight: c.weight[k], copied: c.copied[k] === 1,
      drawn: drawn(k), potential: nats(potential(k)), line: lines(k),
      from: c.parent[k] === null ? "begins" : c.copied[k] ? `a copy of particle ${c.i[c.parent[k]]}` : "",
    }));
    const edges = c.t.map((_, k) => k).filter((k) => c.parent[k] !== null).map((k) => edgeOf(c, k));
    return { nodes, edges, path: edgesAlong(c) };
  }

  async function drawTree() {
    if (!run.islands.length) return;
    const spec = { ...run.charts.genealogy, datasets: treeData(chosen.island) };
    const made = await vegaEmbed("#tree", spec, choices());
    treeView = made.view;
    treeView.addEventListener("click", (event, item) => {
      if (item && item.datum && item.datum.node !== undefined) choose(chosen.island, item.datum.node);
    });
    mark();
  }

  // ------------------------------------------------------------------------- choice

  function pathOf(island, node) {
    const parents = islandOf(island).nodes.parent;
    const found = [];
    for (let k = node; k !== null; k = parents[k]) found.unshift(k);
    return found;
  }

  function heaviest(island) {
    const one = islandOf(island);
    const weights = one.last.map((k) => one.nodes.log_weight[k] ?? -Infinity);
    return one.last[weights.indexOf(Math.max(...weights))];
  }

  function choose(island, node) {
    chosen = { island, node, t: islandOf(island).nodes.t[node] };
    mark();
  }

  function chooseStep(t, island) {
    const c = islandOf(island).nodes;
    const wanted = chosen.node !== null && chosen.island === island ? pathOf(island, chosen.node) : [];
    const here = wanted.find((k) => c.t[k] === t) ?? c.t.findIndex((x) => x === t);
    const other = chosen.island !== island;
    chosen = { island, node: here >= 0 ? here : null, t };
    if (other) drawTree();
    mark();
  }

  function mark() {
    if (!run.islands.length) return;
    const c = islandOf(chosen.island).nodes;
    at("island").value = String(chosen.island);
    at("step").value = chosen.t ?? "";
    at("particle").value = chosen.node === null ? "" : c.i[chosen.node];
    if (stepsView) stepsView.data("chosen", chosen.t === null ? [] : [{ t: chosen.t }]).run();
    const path = chosen.node === null ? [] : pathOf(chosen.island, chosen.node);
    if (treeView) treeView.data("path", edgesAlong(c)).run();
    showPath(c, path);
    showLines(c);
  }

  function showPath(c, path) {
    const box = at("path");
    box.replaceChildren();
    if (!path.length) {
      box.append(element("p", { class: "hint" }, "No particle is chosen."));
      return;
    }
    const end = path[path.length - 1];
    box.append(element("h3", {}, `Particle ${c.i[end]} of step ${c.t[end]}`));
    const outcome = islandOf(chosen.island).outcomes[islandOf(chosen.island).last.indexOf(end)];
    if (outcome) {
      const [what, text] = Object.entries(outcome)[0];
      const verb = { value: "It returned", died: "It died at", text: "It is running; its text so far" }[what];
      box.append(element("p", {}, `${verb}:`), element("div", { class: "tokens" }, text));
    }
    const where = (p) => `line ${run.places[p].line}`;
    const rows = path.slice().reverse().flatMap((k) => {
      const parts = [
        ...c.drawn[k].map(([p, text]) => [where(p), JSON.stringify(text)]),
        ...c.charges[k].map(([p, x]) => [where(p), `${nats(x)} nats`]),
      ];
      if (c.copied[k]) parts.unshift(["", `a copy of particle ${c.i[c.parent[k]]}`]);
      if (!parts.length) parts.push(["", c.parent[k] === null ? "begins" : ""]);
      return parts.map(([place, what], j) => [
        figure(j ? "" : c.t[k]), place, value(what), figure(j ? "" : number(c.log_weight[k], 3) || "-inf"),
      ]);
    });
    box.append(table(["step", "where", "drew, or nats", "log weight"], rows));
  }

  function controls() {
    for (const one of run.islands) at("island").append(element("option", { value: one.island }, one.island));
    at("island").addEventListener("change", () => {
      chosen = { island: Number(at("island").value), node: null, t: null };
      choose(chosen.island, heaviest(chosen.island));
      drawTree();
    });
    const find = () => {
      const c = islandOf(chosen.island).nodes;
      const [t, i] = [Number(at("step").value), Number(at("particle").value)];
      const node = c.t.findIndex((x, k) => x === t && c.i[k] === i);
      if (node >= 0) choose(chosen.island, node);
    };
    at("step").addEventListener("change", find);
    at("particle").addEventListener("change", find);
    at("heaviest").addEventListener("click", () => choose(chosen.island, heaviest(chosen.island)));
    at("earlier").addEventListener("click", () => {
      const parent = chosen.node === null ? null : islandOf(chosen.island).nodes.parent[chosen.node];
      if (parent !== null) choose(chosen.island, parent);
    });
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
      const head = element("tr", {}, ...heads.map((h) => element("th", { scope: "col" }, h)));
      at("sources").append(element("h3", {}, source.name),
        element("table", { class: "code" }, element("thead", {}, head), element("tbody", {}, ...body)));
    }
  }

  function showLines(c) {
    for (const row of rowsOfLines.values()) row.classList.remove("active");
    if (chosen.t === null) return;
    c.t.forEach((t, k) => {
      if (t !== chosen.t) return;
      for (const [p] of [...c.drawn[k], ...c.charges[k]]) {
        rowsOfLines.get(`${run.places[p].file}:${run.places[p].line}`)?.classList.add("active");
      }
    });
  }

  // -------------------------------------------------------------------------- texts

  function texts() {
    at("texts-hint").textContent = run.texts.length
      ? "The redder a token, the less probable the model found it before any condition. Point at one, or tab to it, for what else was likely."
      : !run.result.posterior.length
      ? "The run has no answer whose text could be shown."
      : "This page was made from a trace alone, which has no probabilities: `fkdsl run --report` has them.";
    run.texts.forEach((one) => {
      const spans = one.tokens.map((token) => {
        const alpha = Math.min(0.75, -Math.log(Math.max(token.p, 1e-9)) / 10);
        const span = element("span", { tabindex: 0, role: "note" }, token.text.replaceAll("\n", "⏎\n"));
        span.style.backgroundColor = `rgba(var(--improbable), ${alpha.toFixed(3)})`;
        const tell = () => {
          const others = token.alternatives.map(([text, p]) => `${JSON.stringify(text)} ${number(p, 3)}`);
          at("alternatives").textContent = `${JSON.stringify(token.text)} has probability ${number(token.p, 4)}; most likely: ${others.join("   ")}`;
        };
        span.addEventListener("mouseenter", tell);
        span.addEventListener("focus", tell);
        return span;
      });
      const head = `particle ${one.index}${run.islands.length > 1 ? ` of island ${one.island}` : ""}, weight ${number(one.weight)}${one.model ? `, model ${one.model}` : ""}`;
      at("tokens").append(element("h3", {}, head), element("div", { class: "tokens" }, ...spans));
    });
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
    choose(chosen.island, heaviest(chosen.island));
    drawSteps();
    drawTree();
    dark.addEventListener("change", () => { drawSteps(); drawTree(); });
  } else {
    for (const id of ["steps", "genealogy"]) at(id).hidden = true;
  }
})();
