// The charts of one load point: distributions, requests one by one, the engine's counters over time; and the tables
// of their figures.
"use strict";

function quantiles(point, metric, width) {
  const rows = Object.entries(point.quantiles).flatMap(([side, of]) =>
    (of[metric] ?? []).flatMap((told, i) => (told === null ? [] : [{ side, level: of.levels[i], x: told[0], low: told[1], high: told[2] }])));
  if (!rows.length) return null;
  const positive = rows.map((row) => row.x).filter((x) => x > 0);
  const isLog = positive.length === rows.length && d3.max(positive) / d3.min(positive) > 20;
  const sides = [...new Set(rows.map((row) => row.side))];
  return svg(width, 200, {
    x: { type: isLog ? "log" : "linear", label: "ms", labelArrow: "none", tickFormat: short, ticks: isLog ? steps(d3.extent(positive)) : Math.max(3, width / 80), nice: !isLog, grid: true },
    y: { domain: [0, 1], ticks: [0, 0.25, 0.5, 0.75, 0.95], tickFormat: "~%", label: null, grid: true },
    marks: [
      ...sides.map((side) => Plot.areaX(rows.filter((row) => row.side === side), {
        y: "level", x1: "low", x2: "high", fill: COLOUR[side], fillOpacity: 0.16 })),
      ...sides.map((side) => Plot.line(rows.filter((row) => row.side === side), {
        x: "x", y: "level", stroke: COLOUR[side], strokeWidth: 1.8, strokeDasharray: DASHES[side] })),
    ],
  });
}

const records = (table) => table.rows.map((row) => Object.fromEntries(table.columns.map((name, i) => [name, row[i]])));

function waterfall(point, side, width) {
  const table = point.waterfall?.[side];
  if (!table) return null;
  const rows = records(table).map((row, at) => ({ ...row, at })).filter((row) => row.due_s !== null);
  const all = Object.values(point.waterfall).flatMap(records).filter((row) => row.due_s !== null);
  const last = d3.max(all, (row) => row.ended_s ?? row.first_token_s ?? row.sent_s ?? row.due_s);
  const bar = { y: "at", insetTop: 0.6, insetBottom: 0.6 };
  const colour = COLOUR[side];
  const begun = rows.filter((row) => row.sent_s !== null);
  const told = (row) => `request ${row.at + 1}: due ${short(row.due_s)} s` +
    (row.first_token_s === null ? "" : `, first token after ${short(1000 * (row.first_token_s - row.due_s))} ms`) +
    (row.ended_s === null ? "" : `, done after ${short(row.ended_s - row.due_s)} s`) +
    (row.output_tokens === null ? "" : `, ${row.output_tokens} tokens`) + (row.error ? `, ${row.error}` : "");
  return svg(width, 40 + 5 * rows.length, {
    marginLeft: 12, marginTop: 4,
    x: { label: "seconds from the start of the run", labelArrow: "none", grid: true, domain: [d3.min(all, (row) => row.due_s), last], ticks: Math.max(3, width / 80), nice: true },
    y: { type: "band", domain: rows.map((row) => row.at), axis: null, padding: 0 },
    marks: [
      Plot.barX(begun, { ...bar, x1: "due_s", x2: "sent_s", fill: "var(--bad)" }),
      Plot.barX(begun, { ...bar, x1: "sent_s", x2: (row) => row.first_token_s ?? row.ended_s ?? row.sent_s, fill: colour, fillOpacity: 0.35, title: told }),
      Plot.barX(rows.filter((row) => row.first_token_s !== null && row.ended_s !== null), {
        ...bar, x1: "first_token_s", x2: "ended_s", fill: colour, title: told }),
      Plot.dot(rows.filter((row) => row.error), { y: "at", x: (row) => row.ended_s ?? row.sent_s ?? row.due_s, symbol: "times", r: 3.5,
                                                   stroke: "var(--bad)", strokeWidth: 2, title: told }),
    ],
  });
}

const WATERFALL_KEYS = "pale: until the first token; full: until the last one; red: sent late; ×: failed";
const ENGINE_KEYS = "full line: running; dots: waiting";

function engine(point, what, width) {
  const sides = Object.entries(point.engine ?? {}).map(([side, table]) => [side, records(table)]);
  if (!sides.length) return null;
  const names = what === "cache" ? ["cache_use"] : ["running", "waiting"];
  const lines = sides.flatMap(([side, rows]) => names.map((name) => ({ side, name, rows: rows.filter((row) => row[name] !== null) })))
    .filter((line) => line.rows.length);
  if (!lines.length) return null;
  const y = what === "cache"
    ? { tickFormat: "~%", domain: [0, Math.max(0.05, d3.max(lines, (line) => d3.max(line.rows, (row) => row.cache_use)))] }
    : { tickFormat: short, domain: [0, Math.max(1, d3.max(lines, (line) => d3.max(line.rows, (row) => row[line.name])))] };
  return svg(width, 150, {
    x: { label: "seconds from the start of the run", labelArrow: "none", nice: true },
    y: { ...y, label: null, grid: true, ticks: 4 },
    marks: lines.map(({ side, name, rows }) => Plot.lineY(rows, {
      x: "at_s", y: name, curve: "step-after", stroke: COLOUR[side], strokeWidth: name === "waiting" ? 2 : 1.6,
      strokeDasharray: name === "waiting" ? "1.5,3" : null })),
  });
}

// -- the same as tables -----------------------------------------------------------------------------

function tableOf(point, kind, part, names) {
  if (kind === "quantiles") {
    const sides = Object.entries(point.quantiles).filter(([, of]) => of[part]);
    const levels = sides.length ? sides[0][1].levels : [];
    return [["share", ...sides.map(([side]) => `${names[side]}, ms`)],
            levels.map((level, i) => [d3.format(".3~%")(level), ...sides.map(([, of]) => of[part][i]?.[0] ?? "–")])];
  }
  if (kind === "waterfall") {
    const table = point.waterfall?.[part];
    return table ? [table.columns, table.rows] : [[], []];
  }
  const sides = Object.entries(point.engine ?? {});
  return [["side", ...(sides[0]?.[1].columns ?? [])], sides.flatMap(([side, table]) => table.rows.map((row) => [names[side], ...row]))];
}

function asTable([titles, rows], caption) {
  const table = document.createElement("table");
  table.createCaption().textContent = caption;
  const head = table.createTHead().insertRow();
  for (const title of titles) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = String(title).replace(/_s$/, ", s").replaceAll("_", " ");
    head.append(cell);
  }
  const body = table.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    for (const value of row) line.insertCell().textContent = value === null ? "–" : String(value);
  }
  return table;
}
